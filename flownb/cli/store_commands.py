"""The commands about all that a server stores: `ls` and `doctor`."""

from __future__ import annotations

import argparse

import flownb
from flownb.cli.console import connect, print_rows
from flownb.diagnosis import reason_words


def ls(options: argparse.Namespace) -> int:
    """Print the stored flows, the newest first."""
    with connect(read_only=True) as connection:
        frame = flownb.flows(options.queue, options.state, options.limit, connection=connection)
    rows = frame.to_dict("records")
    if not options.json:
        rows = [
            {"flow": row["flow"], "name": row["name"], "state": row["state"]}
            | {"jobs": f"{row['completed'] + row['failed']:,} of {row['total']:,}", "failed": row["failed"]}
            | {"age": reason_words.span(row["age_s"] * 1000), "why": row["why"]}
            for row in rows
        ]
    print_rows(rows, as_json=options.json, nothing="no flows")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Print what is wrong with what is stored; return 0 when nothing is, or when all was mended, else 1."""
    from flownb.api.doctor import examine

    with connect(read_only=not options.fix) as connection:
        found = examine(options.queue, fix=options.fix, connection=connection)
    rows = [line._asdict() for line in found]
    if not options.json:
        rows = [{name: row[name] for name in ("job", "what", "fix")} for row in rows]
    print_rows(rows, as_json=options.json, nothing="all is well")
    return int(any(not line.mended for line in found))
