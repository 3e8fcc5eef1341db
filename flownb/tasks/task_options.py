"""What is said of a task beside its function, read or refused: options of its jobs, version, concurrency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb.arguments import is_whole, seconds, shown, whole
from flownb.errors import OptionError
from flownb.options import MOST_AT_A_TIME, JobOptions

_IN_SECONDS = ("timeout", "delay")  # Python arguments say seconds where a tree's options say milliseconds


def read_task_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check options given as Python arguments and return them as a tree's: in milliseconds."""
    in_ms = dict(options)
    for name in _IN_SECONDS:
        if in_ms.get(name) is not None:
            in_ms[name] = round(seconds(in_ms[name], f"{where}.{name}") * 1000)
    if "job_id" in in_ms or "jobId" in in_ms:
        raise OptionError(f"{where}: a task has no jobId; give it to one node: opts={{'jobId': ...}}")
    JobOptions.read(in_ms, where)
    return in_ms


def read_version(version: Any, where: str) -> str:
    """Return a version as text."""
    if not isinstance(version, str) and not is_whole(version):
        raise OptionError(f"{where}.version: text or a whole number, not {shown(version)}")
    if isinstance(version, str):
        return str.__str__(version)
    return str(whole(f"{where}.version", version, -(2**53), 2**53))


def read_concurrency(concurrency: Any, where: str) -> int | None:
    """Return how many may run at a time; None where nobody has said."""
    return None if concurrency is None else whole(f"{where}.concurrency", concurrency, 1, MOST_AT_A_TIME)
