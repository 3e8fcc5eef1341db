"""The commands about all that a server stores: `ls`, `du`, `prune` and `doctor`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import flownb
from flownb.cli.console import connect, is_confirmed, print_rows
from flownb.diagnosis import reason_words
from flownb.files.file import size_in_words
from flownb.views.words import state_word

if TYPE_CHECKING:
    import pandas as pd


def ls(options: argparse.Namespace) -> int:
    """Print the stored flows, the newest first."""
    with connect(read_only=True) as connection:
        frame = flownb.flows(options.queue, options.state, options.limit, connection=connection)
    _print_flows(frame, as_json=options.json, nothing="no flows")
    return 0


def prune(options: argparse.Namespace) -> int:
    """Remove flows that have ended, and print them."""
    with connect(read_only=options.dry_run) as connection:
        asked = {"older_than": options.older_than, "state": options.state, "connection": connection}
        if not options.dry_run and not options.yes:
            going = len(flownb.prune(**asked, dry_run=True))
            if going and not is_confirmed(f"remove {going:,} flow{'s' if going > 1 else ''}?"):
                print("left as it is", file=sys.stderr)
                return 1
        frame = flownb.prune(**asked, dry_run=options.dry_run)
    _print_flows(frame, as_json=options.json, nothing="nothing to remove")
    return 0


def du(options: argparse.Namespace) -> int:
    """Print what each flow takes of the server's memory and of files, the largest first, and the sum."""
    with connect(read_only=True) as connection:
        frame = flownb.du(connection=connection)
    rows = frame.to_dict("records")
    if not options.json:
        sums: dict[Any, Any] = {"flow": "all", "name": "", "state": "", "jobs": int(frame["jobs"].sum())}
        rows += [sums | {where: int(frame[where].sum()) for where in ("server", "files")}] if rows else []
        rows = [
            row
            | {"state": state_word(row["state"])}
            | {where: size_in_words(row[where]) for where in ("server", "files")}
            for row in rows
        ]
    print_rows(rows, as_json=options.json, nothing="no flows")
    return 0


def _print_flows(frame: pd.DataFrame, *, as_json: bool, nothing: str) -> None:
    rows = frame.to_dict("records")
    if not as_json:
        rows = [
            {"flow": row["flow"], "name": row["name"], "state": state_word(row["state"])}
            | {"jobs": f"{row['completed'] + row['failed']:,} of {row['total']:,}", "failed": row["failed"]}
            | {"age": reason_words.span(row["age_s"] * 1000), "why": row["why"]}
            | ({"spent": row["spent"]} if any(frame["spent"]) else {})
            for row in rows
        ]
    print_rows(rows, as_json=as_json, nothing=nothing)


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
