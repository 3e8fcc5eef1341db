"""A flow as a folder of files that need no flownb: its page, its tree as JSON, its logs; a batch adds its tables."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flownb import arguments
from flownb.api import display
from flownb.errors import FlowError
from flownb.state.stored_flow import StoredFlow
from flownb.wire import codec, keys
from flownb.wire.log_lines import PrintedLine
from flownb.wire.records import JobRecord
from flownb.wire.secret_names import masked_values
from flownb.wire.store.limits import CHUNK_JOBS, in_pieces

TREE, LOGS, PAGE = "tree.json", "logs.jsonl", "report.html"


@contextmanager
def new_folder(folder: Any) -> Iterator[Path]:
    """Give a folder to write into, which gets its name when all is written: whoever finds it finds it whole.

    Raises `FlowError` where something is in the way.
    """
    target = Path(arguments.path("folder", folder)).expanduser()
    try:
        _refuse_what_is_there(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.parent / f".{target.name}.{secrets.token_hex(4)}"
        unfinished.mkdir()
    except OSError as error:
        raise FlowError(f"folder: {target} cannot be written: {error.strerror}") from None
    try:
        yield unfinished
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _refuse_what_is_there(target: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise FlowError(f"folder: {target} holds files already; give a new folder, or an empty one")
    if target.exists() and not target.is_dir():
        raise FlowError(f"folder: {target} is a file; give a new folder, or an empty one")


def write_flow(stored: StoredFlow, folder: Path) -> None:
    """Write the tree with every job, and their logs."""
    stored.flow_state.explore()
    with (
        open(folder / TREE, "w", encoding="utf-8") as tree,
        open(folder / LOGS, "w", encoding="utf-8") as logs,
    ):
        tree.write(f'{{"flow": {_json(_about(stored))},\n"jobs": [\n')
        for number, jobs in enumerate(in_pieces(list(stored.flow_state.shape.jobs()), CHUNK_JOBS)):
            records = stored.store.jobs.read(jobs)
            parts = [_job(stored, key, record) for key, record in zip(jobs, records, strict=True)]
            tree.write((",\n" if number else "") + ",\n".join(map(_json, parts)))
            logs.writelines(_log_lines(stored, jobs))
        tree.write("\n]}\n")


def write_page(stored: StoredFlow, folder: Path, table: Any = None, table_of: int | None = None) -> None:
    """Write the page that `to_html` gives."""
    display.page(stored, folder / PAGE, table=table, table_of=table_of)


def _about(stored: StoredFlow) -> dict[str, Any]:
    snapshot = stored.snapshot(nodes=False)
    return {
        "name": snapshot.name,
        "state": snapshot.state,
        "paused": snapshot.paused or None,
        "root": keys.short(stored.root, stored.store.prefix),
        "created": _moment(snapshot.created),
        "finished": _moment(snapshot.finished),
        "exported": _moment(snapshot.now),
    }


def _job(stored: StoredFlow, key: str, record: JobRecord | None) -> dict[str, Any]:
    """What a job's handle has, under the same names, and its children in declared order."""
    prefix = stored.store.prefix
    if record is None:
        return {"job": keys.short(key, prefix), "state": "removed"}
    return {
        "job": keys.short(key, prefix),
        "name": record.name,
        "queue": record.queue,
        "id": record.id,
        "state": record.state,
        "data": masked_values(_value(record.data)),
        "opts": _value(record.opts),
        "returnvalue": masked_values(_value(record.returnvalue)),
        "failed_reason": record.failed_reason,
        "stacktrace": _value(record.stacktrace),
        "attempts_made": record.attempts_made,
        "timestamp": _moment(record.timestamp),
        "processed_on": _moment(record.processed_on),
        "finished_on": _moment(record.finished_on),
        "children": [keys.short(child, prefix) for child in stored.flow_state.shape.children(key)],
    }


def _log_lines(stored: StoredFlow, jobs: Sequence[str]) -> Iterator[str]:
    for key, lines in zip(jobs, stored.store.jobs.read_logs_of_each(jobs), strict=True):
        for line in map(PrintedLine.read, lines):
            about = {
                "row": line.row,
                "attempt": line.attempt,
                "time": _moment(line.time),
                "stream": line.stream,
            }
            known = {name: value for name, value in about.items() if value is not None}
            yield _json({"job": keys.short(key, stored.store.prefix), **known, "line": line.text}) + "\n"


def _value(text: str | None) -> Any:
    """The value of a stored JSON text; the text itself where another program stored something else."""
    if text is None:
        return None
    try:
        return codec.decode(text)
    except (ValueError, FlowError):
        return text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _moment(ms: int | None) -> str | None:
    return None if not ms else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
