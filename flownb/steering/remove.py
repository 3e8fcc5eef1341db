"""Removing a flow, or a job with its children: check all, then remove in calls of 100, leaves first.

What is shared with somebody else stays. Cut short, it is finished by the next one: what is left of a flow
never runs, as its parents go on waiting for children that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flownb.errors import FlowError, JobActive, JobShared
from flownb.wire import keys
from flownb.wire.flow_log import tell
from flownb.wire.records import ACTIVE, WAITING, JobRecord
from flownb.wire.requests import Detachment, Removal
from flownb.wire.store import Store
from flownb.wire.store.limits import JOBS_A_CHANGE

_FIELDS = ("name", "fl", "parentKey", "parent")
_PAGE = 1000  # ids of a line read at a time
_MOST_LOOKS = 5  # somebody may share a job between our look and our call


def remove_flow(store: Store, flow: str) -> None:
    """Remove a flow; nothing to do when it is gone. It is cancelled first, so that nothing of it starts meanwhile."""
    for look in range(_MOST_LOOKS):
        record = store.flows.read(flow)
        if not record:
            return
        store.flows.cancel(keys.base_of(record["root"]), flow)
        try:
            plan = _Plan.read(store, record["root"], flow)
            plan.carry_out(record["name"])
            if "tidy" in record:
                store.due_removals.forget_kept(plan.order)
            tell("is removed", flow=flow)
        except JobShared:
            if look == _MOST_LOOKS - 1:
                raise


def remove_job(store: Store, job: str) -> None:
    """Remove a job and its children; a flow's root goes with the whole flow. Raises FlowError when one runs."""
    for look in range(_MOST_LOOKS):
        found = store.jobs.read([job], _FIELDS)[0]
        if found is None:
            return
        if found.flow is not None and store.flows.read(found.flow).get("root") == job:
            return remove_flow(store, found.flow)
        try:
            _Plan.read(store, job, None).carry_out(None)
            tell("is removed", flow=found.flow, job=job)
        except JobShared:
            if look == _MOST_LOOKS - 1:
                raise
        except JobActive as error:
            raise _running(store, str(error)) from None


def _running(store: Store, job: str) -> FlowError:
    found = store.jobs.read([job], _FIELDS)[0]
    name = found.name if found else keys.split(job)[2]
    return FlowError(
        f"job {name!r} ({keys.short(job, store.prefix)}) runs right now; wait until it has ended, "
        "then remove again"
    )


@dataclass
class _Plan:
    """What goes and what stays below one job, as it was at one moment."""

    store: Store
    top: str
    flow: str | None  #: the flow that goes as a whole
    parents: dict[str, list[str]] = field(default_factory=dict)  #: of each job, those below `top`
    order: list[str] = field(default_factory=list)  #: every job, parents before children
    kept: list[str] = field(default_factory=list)  #: in that order
    waiting: list[str] = field(default_factory=list)  #: in that order

    @classmethod
    def read(cls, store: Store, top: str, flow: str | None) -> _Plan:
        plan = cls(store, top, flow)
        children = dict(_families(store, top))
        for parent, below in children.items():
            for child in below:
                plan.parents.setdefault(child, []).append(parent)
        plan.order = _parents_first(top, children, plan.parents)
        records = dict(zip(plan.order, store.jobs.read(plan.order, _FIELDS), strict=True))
        plan.kept = plan._shared(records)
        kept = set(plan.kept)
        plan.waiting = [job for job, record in records.items() if record and record.state == WAITING]
        running = [job for job, record in records.items() if record and record.state == ACTIVE]
        for job in running:
            if flow is None and job not in kept:
                raise JobActive(job)
        return plan

    def _shared(self, records: dict[str, JobRecord | None]) -> list[str]:
        """Jobs that somebody else uses, those of another flow (its root may have no other parent), all below them."""
        mine, kept = set(self.order), set[str]()
        above = self.store.shared.read_further_parents(self.order)
        top = records[self.top]
        home = self.flow or (top.flow if top else None)
        for job in self.order:
            record = records[job]
            if record is None or (job == self.top and self.flow is None):
                continue
            edges = [*above[job], *([record.parent_key] if record.parent_key else [])]
            outside = [parent for parent in edges if parent not in mine]
            elsewhere = home is not None and record.flow not in (None, home)
            if elsewhere or any(parent in kept for parent in edges) or self.store.jobs.count_stored(outside):
                kept.add(job)
        return [job for job in self.order if job in kept]

    def carry_out(self, name: str | None) -> None:
        """Detach what stays, from the top; remove the rest, from the leaves."""
        kept = set(self.kept)
        base = keys.base_of(self.top)
        top = self.top if self.flow is None else None
        for some in _chunks(self.kept):
            lost = [Detachment(job, [p for p in self.parents.get(job, ()) if p not in kept]) for job in some]
            self.store.jobs.remove(base, Removal(jobs=[], staying=lost, top=top, flow=self.flow))
        going = [job for job in self._leaves_first() if job not in kept]
        chunks = list(_chunks(going)) or [[]]
        for number, some in enumerate(chunks, 1):
            above = list(dict.fromkeys(parent for job in some for parent in self.parents.get(job, ())))
            last = name if number == len(chunks) else None
            self.store.jobs.remove(base, Removal(jobs=some, going=above, top=top, flow=self.flow, name=last))

    def _leaves_first(self) -> list[str]:
        """Every job, children before parents. Leaves in line as they stand there: what leaves a long line in one call
        is to stand together.
        """
        above = {parent for parents in self.parents.values() for parent in parents}
        places = _places_in_line(self.store, [job for job in self.waiting if job not in above])
        upwards = self.order[::-1]
        leaves = sorted((job for job in upwards if job not in above), key=lambda job: places.get(job, -1))
        return leaves + [job for job in upwards if job in above]


def _places_in_line(store: Store, jobs: Sequence[str]) -> dict[str, int]:
    """Return where jobs stand in their lines, of queues in which more of them wait than one call removes."""
    places: dict[str, int] = {}
    of_queue: dict[str, set[str]] = {}
    for job in jobs:
        of_queue.setdefault(keys.base_of(job), set()).add(job)
    for base, left in of_queue.items():
        start = 0
        while len(left) > JOBS_A_CHANGE and (
            ids := store.queues.read_ids(base, WAITING, start, start + _PAGE - 1)
        ):
            found = {keys.job_in(base, id): start + place for place, id in enumerate(ids)}
            places |= {job: place for job, place in found.items() if job in left}
            left -= found.keys()
            start += _PAGE
    return places


def _chunks(jobs: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(jobs), JOBS_A_CHANGE):
        yield jobs[start : start + JOBS_A_CHANGE]


def _families(store: Store, top: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each parent below `top` with all its children: those declared, and those added by other clients."""
    level, seen = [top], {top}
    while level:
        below: list[str] = []
        declared = store.declared.read_many(level)
        counts = store.children.counts(level)
        for parent, pieces, count in zip(level, declared, counts, strict=True):
            children = dict.fromkeys(key for piece in pieces for key in piece.keys)
            if any(count):
                children |= dict.fromkeys(store.children.read_all(parent))
            if children:
                yield parent, list(children)
            below += [child for child in children if child not in seen]
            seen.update(children)
        level = list(dict.fromkeys(below))


def _parents_first(top: str, children: dict[str, list[str]], parents: dict[str, list[str]]) -> list[str]:
    """Return every job once, each after all its parents, level by level."""
    waits = {job: len(above) for job, above in parents.items()}
    order, place = [top], 0
    while place < len(order):
        for child in children.get(order[place], ()):
            waits[child] -= 1
            if waits[child] == 0:
                order.append(child)
        place += 1
    return order
