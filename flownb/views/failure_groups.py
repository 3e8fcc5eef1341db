"""Failed jobs by the kind of their error, as tables of failures and live views alike show them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from flownb.views.words import jobs
from flownb.wire.error_kinds import kind_of, type_and_message
from flownb.wire.records import FAILED, MOST_FAILURES, JobRecord, Snapshot


class FailureGroup(NamedTuple):
    """Failed jobs whose errors are of one kind."""

    message: str  #: the error's text where all have the same, else what they have in common
    example: str  #: one of the texts where they differ, else empty
    records: list[JobRecord]


def by_kind(records: Iterable[JobRecord]) -> list[FailureGroup]:
    """Group failed jobs by the kind of their error, as `batch.failures` has it, the most frequent first.

    >>> about = {"key": "k", "id": "1", "queue": "q", "name": "n", "state": "failed"}
    >>> failed = [JobRecord(**about, failed_reason=f"no row {n}") for n in range(3)]
    >>> [(group.message, group.example, len(group.records)) for group in by_kind(failed)]
    [('no row …', 'no row 0', 3)]
    """
    kinds: dict[str, list[JobRecord]] = {}
    for record in records:
        kinds.setdefault(kind_of_record(record), []).append(record)
    ranked = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return [_group(kind, its) for kind, its in ranked]


def kind_of_record(record: JobRecord) -> str:
    """The kind of a failed job's error; not by its traceback, which is read of some of them only."""
    return kind_of(*type_and_message(record.failed_reason)) or "no message"


def _group(kind: str, records: list[JobRecord]) -> FailureGroup:
    texts = {(record.failed_reason or "").strip() for record in records}
    first = (records[0].failed_reason or "").strip()
    return (
        FailureGroup(first or kind, "", records)
        if len(texts) == 1
        else FailureGroup(readable_kind(kind), first, records)
    )


def readable_kind(kind: str) -> str:
    """What the messages of a kind have in common, as a person reads it.

    >>> readable_kind("KeyError: <q>"), readable_kind("ValueError: page <n> of [<q>, ...]")
    ("KeyError: '…'", "ValueError: page … of ['…', …]")
    """
    return _FOLDED.sub("…", kind.replace("<q>", "'…'"))


_FOLDED = re.compile(r"<(?:url|path|id|n)>|(?<=, )\.\.\.")


def unread(snapshot: Snapshot) -> int:
    """How many failed jobs a snapshot only counts: it holds the first `MOST_FAILURES`."""
    read = len(snapshot.failures)
    return max(snapshot.counts.count(FAILED) - read, 0) if read >= MOST_FAILURES else 0


def rest_in_words(count: int) -> str:
    """What stands below the groups that are shown.

    >>> rest_in_words(92)
    'and 92 jobs more that failed'
    """
    return f"and {jobs(count)} more that failed"


def last_traceback(record: JobRecord) -> str:
    """The last of a job's tracebacks; empty where none is stored or what is stored is broken."""
    try:
        texts = json.loads(record.stacktrace or "[]")
    except ValueError:
        return ""
    return texts[-1] if isinstance(texts, list) and texts and isinstance(texts[-1], str) else ""
