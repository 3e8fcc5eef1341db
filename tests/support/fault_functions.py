"""What the workers of fault tests run: each begin and end stands in the execution log, each value holds its job's own key."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import flownb as fn
from tests.support.execution_log import note

LEAK = "FLOWNB_PLANTED_LEAK"  # environment variable: what `run` leaves behind each time


def run(job: Any) -> Any:
    """A leaf says its key and number; a parent adds up its children's numbers, and says how many there are."""
    if job.name == "bad":
        raise ValueError("as it was to be")
    if kinds := os.environ.get(LEAK):
        leak(kinds, job)
    if not isinstance(job.data, dict) or "key" not in job.data:
        values = list(job.get_children_values().values())
        return {"sum": sum(value["sum"] for value in values), "n": sum(value["n"] for value in values)}
    note("+", job.data["key"])
    if job.data["seconds"]:
        time.sleep(job.data["seconds"])
    note("-", job.data["key"])
    return {"key": job.data["key"], "sum": job.data["number"], "n": 1}


def sum_after_a_while(job: Any) -> Any:
    """As `run`, but a parent takes its time before it asks for its children's values."""
    if not isinstance(job.data, dict) or "key" not in job.data:
        time.sleep(1)
    return run(job)


def _row(key: str, number: int, seconds: float) -> dict[str, Any]:
    note("+", key)
    if seconds:
        time.sleep(seconds)
    note("-", key)
    return {"said": key, "square": number * number}


def one_row(key: str, number: int, seconds: float) -> dict[str, Any]:
    return _row(key, number, seconds)


def many_rows(key: str, number: int, seconds: float) -> dict[str, Any]:
    return _row(key, number, seconds)


def tasks() -> dict[str, Any]:
    """Return both functions as tasks of this process."""
    return {function.__name__: fn.task(function) for function in (one_row, many_rows)}


def hungry(job: Any) -> int:
    """Take as many bytes as the data say."""
    return len(bytearray(job.data))


# ---- planted leaks ------------------------------------------------------------------------------------

_kept: list[Any] = []


def leak(kinds: str, job: Any) -> None:
    """Leave something of these kinds behind with each run."""
    if "memory" in kinds:
        _kept.append(bytearray(20_000))
    if "files" in kinds:
        _kept.append(open(os.devnull))  # noqa: SIM115
    if "threads" in kinds:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if "keys" in kinds:
        job._store.server.client.set(f"left-by-{job.id}", 1)
