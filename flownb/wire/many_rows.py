"""What a many-row job holds and returns: ``{"rows": [...]}`` in, ``{"values": [...], "errors": {...}}`` out.

The same shape is kept in the job's field ``part`` while some of its rows are still to be run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flownb.wire import amounts, keys, pauses, stored_steps
from flownb.wire.records import COMPLETED, FAILED, WAITING, FlowCounts

MOST_ROWS = 500  #: a job
PAUSED = "paused@"  #: of a flow's counts: no number, a mark, or why it is paused
_SHORT = (",", ":")
_MARK = '{"rows":'


@dataclass(slots=True)
class RowsValue:
    """What the rows of one job have come to. A row is named by its place in the job, from 0."""

    values: list[Any] = field(default_factory=list)  #: what each returned; None where there is nothing
    errors: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Of each failed row: ``error`` (``Type: message``), ``traceback``, ``attempts``, perhaps ``why`` and ``step``."""
    attempts: dict[int, int] = field(default_factory=dict)  #: of rows that are done and needed more than one
    ms: list[int] = field(default_factory=list)  #: that each row's last attempt took
    step_ms: dict[int, list[int | None]] = field(default_factory=dict)
    """How long each of its steps took last, of rows with several: None of one that ran in another job."""
    open: list[int] | None = None  #: places still to be run; None in a value, where nothing is
    version: str | None = None  #: name of the code that ran them
    versions: dict[int, str] = field(default_factory=dict)  #: of rows that another code ran
    calls: list[list[int]] | None = None
    """Of a task that takes many rows at a time: the calls in which open ones are run, where an earlier one has hung."""
    spent: dict[int, dict[str, int]] = field(default_factory=dict)
    """What each row has spent, over all its attempts; of rows that have spent something."""
    step_spent: dict[int, list[dict[str, int]]] = field(default_factory=dict)
    """Of that, what each of its steps has spent in runs of this job; of rows with several."""
    due: dict[int, int] = field(default_factory=dict)
    """Of open rows that are put off: not to be run before (ms)."""
    rest: int | None = None
    """The rows behind these have been handed on: to jobs ``<id>-1``, ``<id>-2``, ... of so many rows each."""
    moved: list[tuple[str, list[int]]] = field(default_factory=list)
    """Where rows go on whose next step has jobs of its own: keys of jobs, each with the places of its rows here."""

    @classmethod
    def read(cls, text: str) -> RowsValue:
        """Read a job's value or its ``part``."""
        found: dict[str, Any] = json.loads(text)
        return cls(
            found["values"],
            {int(place): error for place, error in found["errors"].items()},
            {int(place): made for place, made in found.get("attempts", {}).items()},
            found.get("ms") or [0] * len(found["values"]),
            {int(place): ms for place, ms in found.get("step_ms", {}).items()},
            found.get("open"),
            found.get("version"),
            {int(place): version for place, version in found.get("versions", {}).items()},
            found.get("calls"),
            {int(place): spent for place, spent in found.get("spent", {}).items()},
            {int(place): spent for place, spent in found.get("step_spent", {}).items()},
            {int(place): due for place, due in found.get("due", {}).items()},
            found.get("rest"),
            [(key, places) for key, places in found.get("moved", ())],
        )

    def text(self, values: list[str]) -> str:
        """Return it as JSON text, with these texts as its values."""
        also: dict[str, Any] = {"errors": self.errors, "ms": self.ms if any(self.ms) else 0}
        if slow := {place: ms for place, ms in self.step_ms.items() if any(one != 0 for one in ms)}:
            also["step_ms"] = slow
        more: dict[str, Any] = {
            "attempts": self.attempts or None,
            "version": self.version,
            "versions": self.versions or None,
            "spent": self.spent or None,
            "step_spent": self.step_spent or None,
            "open": self.open,
            "due": self.due or None,
            "calls": self.calls or None,
            "rest": self.rest,
            "moved": self.moved or None,
        }
        also |= {name: value for name, value in more.items() if value is not None}
        return (
            f'{{"values":[{",".join(values)}],{json.dumps(also, ensure_ascii=False, separators=_SHORT)[1:]}'
        )

    def is_done(self, place: int) -> bool:
        """Has this row returned something?"""
        return (
            place < len(self.values)
            and place not in self.errors
            and place not in (self.open or ())
            and not (self.moved and place in self.moved_places)
        )

    @property
    def moved_places(self) -> set[int]:
        """The rows that go on in other jobs, and are not this one's any more."""
        return {place for _, places in self.moved for place in places}

    def moved_to(self, place: int) -> tuple[str, int] | None:
        """Where a row goes on: the key of the job, and its place in that."""
        for key, places in self.moved:
            if place in places:
                return key, places.index(place)
        return None

    def steps_counted(self, steps: int, places: Iterable[int], *, are_open_counted: bool) -> list[int]:
        """Return what was counted of so many steps for the ends of these rows: done at each, failed at each.

        Of a failed row the steps before stay done. A row that was open when its job failed has failed where it was,
        unless its job was cancelled; so has one that was to go on in another job.
        """
        done, failed, open = [0] * steps, [0] * steps, {*(self.open or ()), *self.moved_places}
        for place in places:
            returned = self.values[place] if place < len(self.values) else None
            if place not in open and place not in self.errors:
                done = [n + 1 for n in done]
            elif place not in open or are_open_counted:
                failed[min(len(returned or ()), steps - 1)] += 1
        return [*done, *failed]


def reopened(part: str, open: Sequence[int]) -> str:
    """Return a job's ``part`` with these rows open.

    >>> reopened('{"values":[1,null,null],"errors":{"1":{}},"open":[2]}', [1, 2])
    '{"values":[1,null,null],"errors":{"1":{}},"open":[1,2]}'
    """
    found = json.loads(part)
    found.pop("calls", None)
    return json.dumps({**found, "open": open}, ensure_ascii=False, separators=_SHORT)


def refer(bind: str | None, paths: Sequence[Sequence[str]]) -> str:
    """Return the ``bind`` of a job in whose rows large inputs may be referred to, at these paths.

    >>> refer(None, [["a"]]), refer(bind_of(range(2)), [["row", "a"]])
    ('{"large":[["a"]]}', '{"rows":2,"first":0,"large":[["row","a"]]}')
    """
    also = f'"large":{json.dumps(paths, ensure_ascii=False, separators=_SHORT)}}}'
    return f"{{{also}" if bind is None else f"{bind[:-1]},{also}"


def note_files(bind: str | None) -> str:
    """Return the ``bind`` of a job in whose data references to files stand, which readers follow only where it says so.

    >>> note_files(None), note_files(bind_of(range(2)))
    ('{"files":true}', '{"rows":2,"first":0,"files":true}')
    """
    return '{"files":true}' if bind is None else f'{bind[:-1]},"files":true}}'


def note_together(bind: str) -> str:
    """Return the ``bind`` of a job whose rows have a step that takes many at a time: they go on to it together.

    >>> note_together(bind_of(range(2)))
    '{"rows":2,"first":0,"together":1}'
    """
    return f'{bind[:-1]},"together":1}}'


def with_notes_of(other: Mapping[str, Any], bind: str) -> str:
    """Return the ``bind`` of a job that has rows of another one's, with what the other's notes of all its rows.

    >>> with_notes_of({"rows": 3, "first": 0, "files": True}, bind_of(range(2)))
    '{"rows":2,"first":0,"files":true}'
    """
    if "together" in other:
        bind = note_together(bind)
    if "large" in other:
        bind = refer(bind, other["large"])
    return note_files(bind) if "files" in other else bind


def paths_of(columns: Iterable[str], whole_row: bool) -> list[list[str]]:
    """Return where in a row's data these columns stand."""
    return [["row", name] if whole_row else [name] for name in columns]


def bind_of(
    positions: Sequence[int],
    slice_ms: int | None = None,
    labels: Sequence[Any] | None = None,
    steps: str = "",
    *,
    in_file: bool = False,
    has_kept: bool = False,
) -> str:
    """Return the ``bind`` of a job of the rows at these positions of its batch, in rising order.

    With `slice_ms` the job hands on the rows that it cannot run in about that time. `labels` are those of rows that
    a task takes many at a time. The rows may stand `in_file`. `steps` is the text of the rows' steps; `has_kept` says
    that the data have ``kept``.

    >>> bind_of(range(100)), bind_of([3, 10, 17])
    ('{"rows":100,"first":0}', '{"rows":3,"first":3,"at":[3,10,17]}')
    >>> bind_of(range(2), labels=["a", "b"], in_file=True)
    '{"rows":2,"first":0,"file":1,"labels":["a","b"]}'
    """
    more = "" if slice_ms is None else f',"slice":{slice_ms}'
    if positions[-1] - positions[0] + 1 != len(positions):
        more = f',"at":[{",".join(map(str, positions))}]{more}'
    if in_file:
        more += ',"file":1'
    if labels is not None:
        more += f',"labels":{json.dumps(labels, ensure_ascii=False, separators=_SHORT)}'
    if steps:
        more += f',"steps":{steps}'
    if has_kept:
        more += ',"kept":1'
    return f'{_MARK}{len(positions)},"first":{positions[0]}{more}}}'


def positions_in(bind: Mapping[str, Any]) -> Sequence[int]:
    """Return where in its batch the rows of a many-row job stand, from its decoded ``bind``.

    >>> positions_in({"rows": 2, "first": 5}), positions_in({"rows": 2, "first": 3, "at": [3, 10]})
    (range(5, 7), [3, 10])
    """
    first = bind.get("first", 0)
    positions: Sequence[int] = bind.get("at") or range(first, first + bind.get("rows", 1))
    return positions


def holds_rows(bind: str | None) -> bool:
    """Is this the ``bind`` of a many-row job?

    >>> holds_rows(None), holds_rows(bind_of(range(2)))
    (False, True)
    """
    return bind is not None and bind.startswith(_MARK)


def is_in_file(bind: str | None) -> bool:
    """Is this the ``bind`` of a many-row job whose rows stand in a file?

    >>> is_in_file(bind_of(range(2))), is_in_file(bind_of(range(2), in_file=True))
    (False, True)
    """
    return bind is not None and bind.startswith(_MARK) and "file" in json.loads(bind)


def rows_in(bind: str) -> int:
    """Return how many rows a many-row job holds, from its ``bind``.

    >>> rows_in(bind_of(range(100)))
    100
    """
    rows: int = json.loads(bind)["rows"]
    return rows


def data_of(texts: list[str], kept: Sequence[str] = (), spent: Sequence[amounts.Amounts] = ()) -> str:
    """Return the data of a job that holds these rows, each the JSON text of what its own job would hold.

    `kept` are lists of what those of its steps returned, row by row, that an earlier job has done; `spent` is what
    the rows have spent there.

    >>> data_of(['{"n":1}', '{"n":2}']), data_of(['{"n":1}'], ["[7]"])
    ('{"rows":[{"n":1},{"n":2}]}', '{"rows":[{"n":1}],"kept":[[7]]}')
    """
    more = f',"kept":[{",".join(kept)}]' if kept else ""
    return amounts.noted(f"{_MARK}[{','.join(texts)}]{more}}}", spent)


def data_in_file(name: str, size: int, start: int, stop: int) -> str:
    """Return the data of a job whose rows stand in a file of so many bytes, which holds `data_of` them and maybe more.

    >>> data_in_file("m1.rows.json", 20, 0, 2)
    '{"rows":{"flownb:file":"m1.rows.json","bytes":20,"from":0,"to":2}}'
    """
    return f'{_MARK}{{"flownb:file":"{name}","bytes":{size},"from":{start},"to":{stop}}}}}'


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

    A row that ended before this flow had its job is counted by none: where no job has failed, it has completed.

    >>> counts_of({"completed@bull:q": "2", "rows@bull:q": "20 0 0", "rows-completed@bull:q": "19"}).by_stage
    {'q': {'completed': 20}}
    """
    more_queues = _queues_of_rows(fields)
    home = {other: queue for queue, others in more_queues.items() for other in others}
    stages: dict[str, dict[str, int]] = {}
    notes: dict[str, dict[str, str]] = {}
    for name, count in fields.items():
        what, _, base = name.partition("@")
        if not base:
            continue
        queue = keys.queue_of_base(base)
        queue = home.get(queue, queue)
        states = stages.setdefault(queue, {})
        if what.startswith("rows"):
            note = notes.setdefault(queue, {})
            note[what] = _added(note[what], count) if what in note else count
        elif n := max(count_in(count), 0):
            states[what] = states.get(what, 0) + n
    rows_a_job, by_step = {}, {}
    above = {state for queue in stages if "rows" not in notes.get(queue, ()) for state in stages[queue]}
    for queue, note in notes.items():
        if "rows" in note:
            with suppress(ValueError):  # damaged: then the stage is counted in jobs
                stages[queue], rows_a_job[queue] = _in_rows(stages[queue], note, above)
                if "rows-steps" in note:
                    total = int(note["rows"].split()[0])
                    by_step[queue] = stored_steps.states_of_steps(note, total, stages[queue])
    why = fields.get(PAUSED, pauses.BY_HAND)
    pause = pauses.read(why)
    return FlowCounts(
        by_stage=stages,
        rows_a_job=rows_a_job,
        by_step=by_step,
        more_queues=more_queues,
        paused=PAUSED in fields,
        paused_why=pause.words if pause else "" if why == pauses.BY_HAND else why,
        pause=pause,
    )


def _added(one: str, other: str) -> str:
    """Add what was counted of rows in two queues; what is no number is told as it is."""
    try:
        return str(int(one) + int(other))
    except ValueError:
        return other


def _queues_of_rows(fields: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the further queues in which rows have jobs, by the queue of their first step."""
    found = {}
    for name, note in fields.items():
        if name.startswith("rows-steps@") and '"queues":' in note:
            with suppress(ValueError, AttributeError):  # damaged: then these queues are stages of their own
                queue = keys.queue_of_base(name.partition("@")[2])
                found[queue] = tuple(one for one in json.loads(note)["queues"] if one != queue)
    return found


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


def _in_rows(
    jobs: Mapping[str, int], note: Mapping[str, str], above: Set[str]
) -> tuple[dict[str, int], float]:
    total, done, failed = map(int, note["rows"].split())
    ended = int(note.get("rows-completed", 0)), int(note.get("rows-failed", 0))
    ended_jobs = jobs.get(COMPLETED, 0) + jobs.get(FAILED, 0)
    states = {COMPLETED: max(min(done + ended[0], total), 0), FAILED: max(failed + ended[1], 0)}
    left = max(total - sum(states.values()), 0)
    open_jobs = {state: n for state, n in jobs.items() if state not in states}
    size = left / sum(open_jobs.values()) if open_jobs else 0
    is_cut = bool(above) and above <= {COMPLETED, FAILED} and jobs.get(FAILED, 0) > 0  # by a cancel
    size = min(size, max(total / sum(jobs.values()), 1)) if is_cut else size
    for state, n in sorted(open_jobs.items(), key=lambda item: item[0] == WAITING):  # the odd ones wait
        states[state] = left if state == WAITING else min(round(n * size), left)
        left -= states[state]
    if left:  # of jobs that ended as a whole without having run, such as cancelled ones, or before this flow had them
        state = FAILED if is_cut else WAITING if open_jobs else FAILED if jobs.get(FAILED) else COMPLETED
        states[state] = states.get(state, 0) + left
    return {state: n for state, n in states.items() if n}, max(sum(ended) / max(ended_jobs, 1), 1.0)
