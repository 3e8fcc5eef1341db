"""`doctor`: whether all that is stored is in order; and the repair of what can be repaired without a loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from flownb import hooks
from flownb.api.job import store_of
from flownb.arguments import flag
from flownb.connection import Connection
from flownb.diagnosis.checkup import Checkup
from flownb.diagnosis.file_checks import ORPHANED, check_own_folder, remove_orphaned
from flownb.diagnosis.findings import CheckContext, Finding
from flownb.diagnosis.flow_checks import entry_illegible, index_illegible
from flownb.diagnosis.recount import recount
from flownb.errors import ServerRefused
from flownb.wire import keys
from flownb.wire.store import Store

if TYPE_CHECKING:
    import pandas as pd

_FLOWS_A_READ = 100  # of the index


class Line(NamedTuple):
    """One line of what a doctor finds."""

    job: str  #: ``queue:id`` of a job, a queue, or a flow's name
    what: str
    fix: str
    mended: bool = False


def doctor(
    queue: str | None = None, *, fix: bool = False, connection: Connection | None = None
) -> pd.DataFrame:
    """Return what is wrong with all that is stored: a DataFrame job what fix. Empty is good.

    What is looked for would make jobs get lost, run twice or wait for ever, or a flow tell wrong: a parent that waits
    for a child that is gone, a job that stands nowhere or twice, an id without data. Such things come from keys that
    were removed by hand or evicted, and from programs that died between two steps. Why a flow that is in order does
    not end yet, its `explain` tells.

    The queues of all flows on the server are looked at, those that a worker serves, and those that parents and
    children of their jobs are in; with `queue` that one and what belongs to it. The keyspace is not searched: name
    a queue that only other programs know. It may take minutes where millions of jobs are stored, and holds up nobody;
    what looks wrong is looked at again a second later, so that workers may run meanwhile. Nothing is written.

    `fix=True` mends what can be mended without a loss; `fix` then says of each thing whether it was. It may be
    called twice, and while workers run.

    >>> flow = add({"name": "total", "queueName": "doc-sick", "children": [{"name": "load", "queueName": "doc-loads"}]})
    >>> Queue("doc-loads").get_jobs(["waiting"])[0].remove()
    >>> doctor()
    Empty DataFrame
    Columns: [job, what, fix]
    Index: []
    """
    return hooks.tables.reasons_frame(
        [line[:3] for line in examine(queue, fix=fix, connection=connection)], what="what"
    )


def examine(queue: str | None, *, fix: bool, connection: Connection | None) -> list[Line]:
    """Return what `doctor` tells, line by line."""
    if queue is not None:
        queue = keys.checked_queue(queue)
    fix = flag("fix", fix)
    resolved, store = store_of(connection)
    if fix:
        resolved.ensure_writable()
    return lines(store, queue, fix=fix)


def lines(store: Store, queue: str | None, *, fix: bool) -> list[Line]:
    """Return what is wrong, line by line; with `fix` after repairing it."""
    flows, bases, damage = list[str](), dict[str, None](), list[Finding]()
    wanted = None if queue is None else keys.base(store.prefix, queue)
    if wanted is not None:
        bases[wanted] = None
    try:
        for flow, its_bases in _flows(store):
            if wanted is None or wanted in its_bases:
                flows.append(flow)
                bases |= dict.fromkeys(its_bases)
        if queue is None:
            context = CheckContext(store)
            damage += [entry_illegible(flow, context) for flow in store.flows.read_illegible(_FLOWS_A_READ)]
            damage += check_own_folder(context)
    except ServerRefused as error:
        damage.append(index_illegible(error, CheckContext(store)))
    if queue is None:
        bases |= dict.fromkeys(_served(store))
    checkup = Checkup(store)
    found = damage + checkup.findings(bases, flows)
    if not fix:
        return [_line(finding) for finding in found]
    repaired = [_repaired(finding, checkup, store) for finding in sorted(found, key=_rank)]
    _count_flows_of(store, {f.key for f in found if f.remedy and f.rule not in _NOT_OF_A_JOB})
    return repaired


def _flows(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Yield each flow with the queues of its jobs, by its counts; none where these cannot be read: a finding."""
    index = store.flows.pages(_FLOWS_A_READ)
    while some := [flow for flow, _ in islice(index, _FLOWS_A_READ)]:
        for flow, found in zip(some, store.flows.read_many(some, ()), strict=True):
            bases = dict.fromkeys(field.partition("@")[2] for field in found.counts)
            yield flow, [base for base in bases if base]


def _served(store: Store) -> list[str]:
    served = store.queues.read_served() or ()
    return sorted(base for base in served if keys.prefix_of_base(base) == store.prefix)


def _line(finding: Finding) -> Line:
    fix = f"fix=True, or --fix, will {finding.remedy}" if finding.remedy else finding.advice
    return Line(finding.job, finding.what, fix)


# ---- repairs ---------------------------------------------------------------------------------------------------

# In which order things are repaired: first jobs are listed where they belong, then parents get their children;
# what ends a wait is last.
_ORDER = (
    "check",
    "lock",
    "gone",
    "twice",
    "astray",
    "early",
    "lost",
    "value",
    "untold",
    "orphan",
    "none",
    "over",
    "counts",
    ORPHANED,
)
_NOT_OF_A_JOB = ("check", "over", "counts", ORPHANED)
_LOCK_MS, _STALLED_CHECK_MS = 30_000, 5_000  # BullMQ's own lock and flownb's own interval


def _rank(finding: Finding) -> int:
    return _ORDER.index(finding.rule) if finding.remedy else len(_ORDER)


def _repaired(finding: Finding, checkup: Checkup, store: Store) -> Line:
    """Repair one thing, if that can be done; look whether it is well."""
    if not finding.remedy:
        return _line(finding)
    try:
        _repair(finding, store)
    except ServerRefused as error:  # a newer BullMQ's queue, a server that takes no writes
        return Line(finding.job, finding.what, f"not mended: {error}")
    if any(left.same == finding.same for left in checkup.check_again(finding)):
        return Line(finding.job, finding.what, f"not mended, it moves: run it again to {finding.remedy}")
    return Line(finding.job, finding.what, f"mended: {finding.remedy}", mended=True)


def _repair(finding: Finding, store: Store) -> None:
    key = finding.key
    match finding.rule:
        case "check":
            store.repair.let_expire(keys.part(key, "stalled-check"), _STALLED_CHECK_MS)
        case "lock":
            store.repair.let_expire(keys.part(key, "lock"), _LOCK_MS)
        case "lost" | "value":
            store.repair.children([(parent, key) for parent in finding.others])
        case "untold" | "orphan":
            _notify_further_parents(store)
            store.repair.children([(key, child) for child in finding.others])
        case "none":
            store.repair.children([], [key])
        case "over":
            store.repair.flow(keys.base_of(store.flows.read(key)["root"]), key)
        case "counts":
            _store_counts(store, key)
        case "file-orphaned":
            remove_orphaned(store, finding)
        case _:
            store.repair.states([key])


def _notify_further_parents(store: Store) -> None:
    """Notify further parents of shared jobs how those ended, by their own policies, before a child counts as gone."""
    cursor, _ = store.shared.notify_some()
    while cursor:
        cursor, _ = store.shared.notify_some(cursor)


def _count_flows_of(store: Store, jobs: set[str]) -> None:
    """Store the counts of the flows in which something was repaired anew: they may have missed any step of it."""
    for flow in {job.flow for job in store.jobs.read(sorted(jobs), ("name", "fl")) if job and job.flow}:
        with suppress(ServerRefused):
            _store_counts(store, flow)


def _store_counts(store: Store, flow: str) -> None:
    root = store.flows.read(flow).get("root")
    counted = recount(store, flow, root, others_too=True) if root else None
    if root and counted:
        store.repair.flow(keys.base_of(root), flow, counted.was, counted.counts)
