"""What a many-row job holds and returns: ``{"rows": [...]}`` in, ``{"values": [...], "errors": {...}}`` out.

The same shape is kept in the job's field ``part`` while some of its rows are still to be run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flownb.wire import keys
from flownb.wire.records import COMPLETED, FAILED, WAITING, FlowCounts

MOST_ROWS = 500  #: a job
PAUSED = "paused@"  #: of a flow's counts: no number, a mark, or why it is paused
PAUSED_BY_HAND = "1"
_SHORT = (",", ":")
_MARK = '{"rows":'


@dataclass(slots=True)
class RowsValue:
    """What the rows of one job have come to. A row is named by its place in the job, from 0."""

    values: list[Any] = field(default_factory=list)  #: what each returned; None where there is nothing
    errors: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Of each failed row: ``error`` (``Type: message``), ``traceback``, ``attempts``, perhaps ``why``."""
    attempts: dict[int, int] = field(default_factory=dict)  #: of rows that are done and needed more than one
    seconds: list[float] = field(default_factory=list)  #: of each row's last attempt
    open: list[int] | None = None  #: places still to be run; None in a value, where nothing is
    version: str | None = None  #: name of the code that ran them
    versions: dict[int, str] = field(default_factory=dict)  #: of rows that another code ran
    rest: int | None = None
    """The rows behind these have been handed on: to jobs ``<id>-1``, ``<id>-2``, ... of so many rows each."""

    @classmethod
    def read(cls, text: str) -> RowsValue:
        """Read a job's value or its ``part``."""
        found: dict[str, Any] = json.loads(text)
        return cls(
            found["values"],
            {int(place): error for place, error in found["errors"].items()},
            {int(place): made for place, made in found.get("attempts", {}).items()},
            found.get("seconds", []),
            found.get("open"),
            found.get("version"),
            {int(place): version for place, version in found.get("versions", {}).items()},
            found.get("rest"),
        )

    def text(self, values: list[str]) -> str:
        """Return it as JSON text, with these texts as its values."""
        also: dict[str, Any] = {"errors": self.errors, "seconds": self.seconds}
        if self.attempts:
            also["attempts"] = self.attempts
        if self.version is not None:
            also["version"] = self.version
        if self.versions:
            also["versions"] = self.versions
        if self.open is not None:
            also["open"] = self.open
        if self.rest is not None:
            also["rest"] = self.rest
        return (
            f'{{"values":[{",".join(values)}],{json.dumps(also, ensure_ascii=False, separators=_SHORT)[1:]}'
        )

    def is_done(self, place: int) -> bool:
        """Has this row returned something?"""
        return place < len(self.values) and place not in self.errors and place not in (self.open or ())


def reopened(part: str, rows: Iterable[int]) -> tuple[str, list[int], int]:
    """Return a job's ``part`` with these rows open as well, the rows that are open now, and how many were before.

    >>> reopened('{"values":[1,null,null],"errors":{"1":{}},"open":[2]}', [1])
    ('{"values":[1,null,null],"errors":{"1":{}},"open":[1,2]}', [1, 2], 1)
    """
    found = json.loads(part)
    before = found.get("open") or ()
    found["open"] = sorted({*before, *rows})
    return json.dumps(found, ensure_ascii=False, separators=_SHORT), found["open"], len(before)


def refer(bind: str | None, paths: Sequence[Sequence[str]]) -> str:
    """Return the ``bind`` of a job in whose rows large inputs may be referred to, at these paths.

    >>> refer(None, [["a"]]), refer(bind_of(2, 0), [["row", "a"]])
    ('{"large":[["a"]]}', '{"rows":2,"first":0,"large":[["row","a"]]}')
    """
    also = f'"large":{json.dumps(paths, ensure_ascii=False, separators=_SHORT)}}}'
    return f"{{{also}" if bind is None else f"{bind[:-1]},{also}"


def paths_of(columns: Iterable[str], whole_row: bool) -> list[list[str]]:
    """Return where in a row's data these columns stand."""
    return [["row", name] if whole_row else [name] for name in columns]


def bind_of(rows: int, first: int, slice_ms: int | None = None) -> str:
    """Return the ``bind`` of a job of so many rows, the first of which stands at position `first` of its batch.

    With `slice_ms` the job hands on the rows that it cannot run in about that time.

    >>> bind_of(100, 0)
    '{"rows":100,"first":0}'
    """
    more = "" if slice_ms is None else f',"slice":{slice_ms}'
    return f'{_MARK}{rows},"first":{first}{more}}}'


def holds_rows(bind: str | None) -> bool:
    """Is this the ``bind`` of a many-row job?

    >>> holds_rows(None), holds_rows(bind_of(2, 0))
    (False, True)
    """
    return bind is not None and bind.startswith(_MARK)


def rows_in(bind: str) -> int:
    """Return how many rows a many-row job holds, from its ``bind``.

    >>> rows_in(bind_of(100, 0))
    100
    """
    rows: int = json.loads(bind)["rows"]
    return rows


def data_of(texts: list[str]) -> str:
    """Return the data of a job that holds these rows, each the JSON text of what its own job would hold.

    >>> data_of(['{"n":1}', '{"n":2}'])
    '{"rows":[{"n":1},{"n":2}]}'
    """
    return f"{_MARK}[{','.join(texts)}]}}"


def note_of(rows: int, done: int, failed: int) -> bytes:
    """Return what a flow's counts say of a stage of so many rows, some of which had ended before it was added."""
    return f"{rows} {done} {failed}".encode()


def counts_of(fields: Mapping[str, str]) -> FlowCounts:
    """Read a flow's counts: fields ``<what>@<queue key>``, and ``paused@`` while it is held.

    Where a stage says of how many rows it is, its jobs are turned into rows: those that have ended are counted,
    the others stand where their jobs do, taken as equally large.

    >>> counts_of({"waiting@bull:q": "3", "active@bull:q": "1", "completed@bull:q": "1",
    ...            "rows@bull:q": "100 0 0", "rows-completed@bull:q": "18", "rows-failed@bull:q": "2"}).by_stage
    {'q': {'completed': 18, 'failed': 2, 'active': 20, 'waiting': 60}}
    """
    stages: dict[str, dict[str, int]] = {}
    notes: dict[str, dict[str, str]] = {}
    for name, count in fields.items():
        what, _, base = name.partition("@")
        if not base:
            continue
        queue = keys.queue_of_base(base)
        states = stages.setdefault(queue, {})
        if what.startswith("rows"):
            notes.setdefault(queue, {})[what] = count
        elif n := max(count_in(count), 0):
            states[what] = states.get(what, 0) + n
    rows_a_job = {}
    for queue, note in notes.items():
        if "rows" in note:
            with suppress(ValueError):  # damaged: then the stage is counted in jobs
                stages[queue], rows_a_job[queue] = _in_rows(stages[queue], note)
    why = fields.get(PAUSED, PAUSED_BY_HAND)
    return FlowCounts(
        by_stage=stages,
        rows_a_job=rows_a_job,
        paused=PAUSED in fields,
        paused_why="" if why == PAUSED_BY_HAND else why,
    )


def jobs_counted(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return of a flow's counts those of jobs alone: ``state@queue key`` -> jobs.

    >>> jobs_counted({"waiting@bull:q": "3", "rows@bull:q": "100 0 0", "paused@": "1"})
    {'waiting@bull:q': 3}
    """
    return {name: count_in(n) for name, n in fields.items() if not name.startswith("rows") and name != PAUSED}


def count_in(text: str) -> int:
    """Return a count as it is stored, -1 where that is no number: no true count is below 0.

    >>> count_in("3"), count_in("x")
    (3, -1)
    """
    try:
        return int(text)
    except ValueError:
        return -1


def _in_rows(jobs: Mapping[str, int], note: Mapping[str, str]) -> tuple[dict[str, int], float]:
    total, done, failed = map(int, note["rows"].split())
    ended = int(note.get("rows-completed", 0)), int(note.get("rows-failed", 0))
    ended_jobs = jobs.get(COMPLETED, 0) + jobs.get(FAILED, 0)
    states = {COMPLETED: max(min(done + ended[0], total), 0), FAILED: max(failed + ended[1], 0)}
    left = max(total - sum(states.values()), 0)
    open_jobs = {state: n for state, n in jobs.items() if state not in states}
    size = left / sum(open_jobs.values()) if open_jobs else 0
    for state, n in sorted(open_jobs.items(), key=lambda item: item[0] == WAITING):  # the odd ones wait
        states[state] = left if state == WAITING else min(round(n * size), left)
        left -= states[state]
    if left:  # of jobs that ended as a whole without having run, such as cancelled ones
        states[WAITING if open_jobs else FAILED] = states.get(WAITING if open_jobs else FAILED, 0) + left
    return {state: n for state, n in states.items() if n}, max(sum(ended) / max(ended_jobs, 1), 1.0)
