"""`every`: a fresh flow at each tick of a schedule; its handle, and the list of what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from flownb import hooks
from flownb.adding.next_run import opts_of_run
from flownb.adding.node import Node
from flownb.adding.plan import plan as plan_tree
from flownb.adding.plan import refuse_other_prefix
from flownb.adding.planned_job import Plan
from flownb.adding.template import FLOW_OF_TEMPLATE, check_template, queues_of, template_of
from flownb.api.flow import Flow
from flownb.api.job import store_of
from flownb.api.timing import Timing, tick_name
from flownb.arguments import one_of, shown
from flownb.connection import Connection
from flownb.errors import FlowError, JobMissing, OptionError, printable
from flownb.state.flow_state import OwnFlowState, state_of
from flownb.wire import codec, keys
from flownb.wire.requests import ScheduledJob
from flownb.wire.store import Store
from flownb.wire.store.job_records import number
from flownb.wire.store.schedules import CHANGED, STORED, TAKEN

if TYPE_CHECKING:
    import pandas as pd

OVERLAPS = ("skip", "allow")
MOST_CHARACTERS = 200  # of a schedule's name; its flows' names have the time behind
LATE_MS = 30_000  # after which a tick that nobody has carried out is told
_JOB_OPTIONS = {
    "attempts": 5,
    "backoff": {"type": "exponential", "delay": 1000},
    "removeOnComplete": True,
    "removeOnFail": {"count": 100},
}


class Schedule:
    """A stored schedule: at each of its ticks a worker of flownb's adds a fresh flow. See `every`.

    >>> schedule = every("1d", {"name": "load", "queueName": "doc-loads"}, name="doc-daily")
    >>> schedule
    Schedule('doc-daily': 1d)
    >>> schedule.cancel()
    >>> schedule
    Schedule('doc-daily': cancelled)
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection
        self._store = Store(connection.client(), connection.prefix, read_only=connection.read_only)

    @property
    def name(self) -> str:
        """What it was stored under.

        >>> every("1d", {"name": "load", "queueName": "doc-loads"}, name="doc-weekly").name
        'doc-weekly'
        """
        return self._name

    @property
    def next(self) -> datetime | None:
        """When its next flow is added; None once it is cancelled. A time that is past waits for a worker.

        >>> every("0 6 * * *", {"name": "load", "queueName": "doc-loads"}, name="doc-mornings").next.hour
        6
        """
        due = self._store.schedules.read_due(_base(self._store), self._name)
        return None if due is None else datetime.fromtimestamp(due / 1000, UTC)

    @property
    def last(self) -> Flow | None:
        """The newest flow that it has added, None before the first.

        >>> every("0 6 * * *", {"name": "load", "queueName": "doc-loads"}, name="doc-dawns").last
        """
        flow = self._store.schedules.read_own(self._name).get("last")
        return Flow(flow, connection=self._connection) if flow and self._store.flows.read(flow) else None

    def cancel(self) -> None:
        """Add no further flow. Those that were added stay, and run; `Flow.cancel` ends one.

        >>> every("1d", {"name": "load", "queueName": "doc-loads"}, name="doc-never").cancel()
        """
        self._connection.ensure_writable()
        self._store.schedules.remove(_base(self._store), self._name)

    def __repr__(self) -> str:
        stored = self._store.schedules.read(_base(self._store), self._name)
        return f"Schedule({self._name!r}: {printable(_words(stored)) if stored else 'cancelled'})"


@overload
def every(*, connection: Connection | None = None) -> pd.DataFrame: ...
@overload
def every(*, name: str, connection: Connection | None = None) -> Schedule: ...
@overload
def every(
    when: Any,
    tree: Any,
    *,
    name: str,
    tz: Any = None,
    overlap: str = "skip",
    connection: Connection | None = None,
) -> Schedule: ...
def every(
    when: Any = None,
    tree: Any = None,
    *,
    name: str | None = None,
    tz: Any = None,
    overlap: str = "skip",
    connection: Connection | None = None,
) -> Schedule | pd.DataFrame:
    """Add a fresh flow at each tick, from now on: `tree` is what `add` takes, or a task.

    `when` is an interval (``"30m"``, ``"1d"``, seconds, a timedelta), whose first flow is added at once, or a cron line
    (minute, hour, day, month, weekday; or six fields with seconds in front), matched in the time zone `tz` (UTC
    where none is given). Any worker of flownb's on the server carries a tick out: one flow a tick, however many workers
    there are, under the schedule's name and the time at which it was due. Where none was there for a while, one flow
    makes up for all that was missed. A tick at which the flow before has not ended adds none, unless
    ``overlap="allow"``. The tree is stored as it is now, its values as JSON; a task runs as it is defined where it
    runs.

    The same name replaces the schedule, and says so; where its times stay, so does its next tick. Without arguments
    `every` lists the schedules: a DataFrame name when tz overlap next last state why. ``every(name=...)`` is the
    handle of one. Raises `FlowError` or `OptionError` before anything is written.

    >>> nightly = every("0 2 * * *", {"name": "load", "queueName": "doc-loads"}, name="doc-nightly", tz="Asia/Tokyo")
    >>> nightly.next.hour
    17
    >>> nightly = every("0 3 * * *", {"name": "load", "queueName": "doc-loads"}, name="doc-nightly", tz="Asia/Tokyo")
    flownb: schedule 'doc-nightly' is replaced: 0 2 * * * Asia/Tokyo -> 0 3 * * * Asia/Tokyo
    >>> every().set_index("name").loc["doc-nightly", ["when", "tz", "overlap"]].tolist()
    ['0 3 * * *', 'Asia/Tokyo', 'skip']
    >>> every(name="doc-nightly").cancel()
    """
    if when is None and tree is None:
        if tz is not None or overlap != "skip":
            raise OptionError("every: give when and tree too, as in every('1d', tree, name='nightly')")
        return _list(connection) if name is None else _find(name, connection)
    name = _checked_name(name)
    timing = Timing.read(when, tz)
    one_of("overlap", overlap, OVERLAPS)
    resolved, store = store_of(connection)
    resolved.ensure_writable()
    plan = _planned(tree, store.prefix)
    hooks.kernel_workers.register_code(resolved, queues_of(plan))
    for announcement in plan.shared:
        print(announcement)
    own = {"tree": template_of(plan), "overlap": overlap}
    replaced = _upsert(store, name, timing, own)
    if replaced is not None:
        print(f"flownb: schedule {printable(name)!r} {replaced}")
    hooks.kernel_workers.start_kernel_worker(resolved)
    return Schedule(name, resolved)


def _checked_name(name: Any) -> str:
    if name is None:
        raise OptionError("name: a schedule needs one, such as name='nightly': the same name replaces it")
    problem = keys.problem_with_name(name)
    if problem is None and ":" in name:
        problem = "must not hold a colon (BullMQ cuts keys there)"
    if problem is None and len(name) > MOST_CHARACTERS:
        problem = f"must have at most {MOST_CHARACTERS} characters"
    if problem:
        raise OptionError(f"name: a schedule's {problem}")
    return str.__str__(name)


def _planned(tree: Any, prefix: str) -> Plan:
    if not isinstance(tree, (Node, Mapping)):
        make = getattr(tree, "node", None)
        if callable(make):
            tree = make()
        elif callable(tree):
            called = getattr(tree, "__name__", type(tree).__name__)
            raise FlowError(
                f"tree: {called} is a plain function: put @task above it, so that workers find it by its name"
            )
        elif tree is None:
            raise FlowError("tree: what is added each time is missing: a task, or a tree as add takes it")
    plan = plan_tree(tree, prefix=prefix, flow=FLOW_OF_TEMPLATE)
    refuse_other_prefix(plan)
    check_template(plan)
    return plan


def _base(store: Store) -> str:
    """The queue that every worker of flownb's serves."""
    return keys.base(store.prefix, keys.BATCH_QUEUE)


def _upsert(store: Store, name: str, timing: Timing, own: dict[str, str]) -> str | None:
    """Store a schedule; return in words what has become of the one that was there."""
    base, answer, due = _base(store), CHANGED, 0
    before: int | None = None
    stored: dict[str, str] = {}
    former: dict[str, str] = {}
    while answer != STORED:
        if answer == CHANGED:  # by another caller, or by a worker at a tick
            before = store.schedules.read_due(base, name)
            stored = {} if before is None else store.schedules.read(base, name)
            former = store.schedules.read_own(name) if stored else {}
        now = store.server.read_time()
        if answer == TAKEN:
            due = timing.next(due, now)
        else:
            due = before if before is not None and _times(stored) == timing.fields else timing.first(now)
        opts = opts_of_run(_JOB_OPTIONS, timing.repeat, name, 1, due, now)
        job = ScheduledJob(
            name=name,
            data=codec.encode({"when": timing.words}, "data"),
            opts=json.dumps(opts, separators=(",", ":")),
        )
        fields = {"name": name, **timing.fields}
        answer = store.schedules.upsert(base, name, before=before, due=due, fields=fields, job=job, own=own)
    return _difference(stored, timing, former, own) if stored else None


def _times(stored: Mapping[str, str]) -> dict[str, str]:
    return {field: stored[field] for field in ("every", "pattern", "tz") if field in stored}


def _difference(
    stored: Mapping[str, str], timing: Timing, former: Mapping[str, str], own: Mapping[str, str]
) -> str:
    changes = []
    if _times(stored) != timing.fields:
        changes.append(f"{printable(_words(stored))} -> {_words(timing.fields)}")
    if former.get("tree") != own["tree"]:
        changes.append("another tree")
    if former.get("overlap") != own["overlap"]:
        changes.append(f"overlap {former.get('overlap')} -> {own['overlap']}")
    return f"is replaced: {', '.join(changes)}" if changes else "is there already and stays as it is"


def _words(stored: Mapping[str, str]) -> str:
    timing = Timing.of_stored(stored)
    return timing.words if timing.pattern is None else f"{timing.words} {timing.zone}"


# ---- what is stored -----------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One schedule of the list."""

    name: str
    when: str
    tz: str
    overlap: str
    next: int  #: ms
    last: str | None
    state: str | None
    why: str


def _find(name: Any, connection: Connection | None) -> Schedule:
    resolved, _ = store_of(connection)
    found = Schedule(_checked_name(name), resolved)
    if found.next is None:
        raise JobMissing(f"no schedule {shown(name)} on this server; flownb.every() lists them")
    hooks.kernel_workers.start_kernel_worker(resolved)
    return found


def _list(connection: Connection | None) -> pd.DataFrame:
    _, store = store_of(connection)
    now = store.server.read_time()
    lines = [_line(store, name, due, now) for name, due in store.schedules.pages(_base(store))]
    return hooks.tables.schedules_frame(lines)


def _line(store: Store, name: str, due: int, now: int) -> Line:
    own = store.schedules.read_own(name)
    timing = Timing.of_stored(store.schedules.read(_base(store), name))
    last = number(own.get("last_due", 0))
    state = _state(store, own["last"]) if "last" in own else None
    return Line(
        name=name,
        when=timing.words,
        tz=timing.zone,
        overlap=own.get("overlap", ""),
        next=due,
        last=tick_name(name, last, timing.zone) if last else None,
        state=state,
        why=_why(store, name, own, due=due, last=last, now=now),
    )


def _state(store: Store, flow: str) -> str | None:
    flow_state = OwnFlowState(store, flow)
    record = flow_state.record()
    return state_of(record, store.jobs.read([flow_state.root], ("name",))[0]) if record else None


def _why(store: Store, name: str, own: Mapping[str, str], *, due: int, last: int, now: int) -> str:
    base, schedules = _base(store), store.schedules
    is_stored = schedules.has_run(base, name, due)
    if not is_stored and schedules.read_due(base, name) == due:  # and no worker has gone on meanwhile
        return "the job of its next tick was removed; every() with the same arguments adds it again"
    if now - due > LATE_MS:
        return (
            "due, and no worker has a free slot for it; flownb.workers() or `flownb worker MODULE` starts one"
        )
    if "left_out" in own and number(own["left_out"]) >= last:
        return own.get("why", "")
    return ""
