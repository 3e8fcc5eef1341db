"""Removes a flow, or a job with its children: checks all, then removes in calls of 100, leaves first.

Jobs that somebody else uses stay. A removal that was cut short is finished by the next one: what is left of the flow
never runs, as its parents go on waiting for children that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flownb.errors import FlowError, JobActive, JobShared
from flownb.steering.files_of_flow import FilesOfFlow
from flownb.steering.pending_run import refuse_next_run
from flownb.wire import keys
from flownb.wire.flow_log import log_flow
from flownb.wire.records import ACTIVE, WAITING, JobRecord
from flownb.wire.requests import Detachment, Removal
from flownb.wire.store import Store
from flownb.wire.store.limits import IDS_A_READ, JOBS_A_CHANGE

_FIELDS = ("name", "fl", "parentKey", "parent")
_MOST_TRIES = 5  # somebody may share a job between our read and our call


def remove_flow(store: Store, flow: str, *, only_own: bool = False, files: bool = False) -> None:
    """Remove a flow; nothing to do when it is gone. It is cancelled first, so that nothing of it starts meanwhile.

    With `only_own` a job stays that the flow has found stored already, also where nobody else uses it. Files that the
    embedded server keeps go too, with `files` also those in a folder of the caller's.
    """
    for attempt in range(_MOST_TRIES):
        record = store.flows.read(flow)
        if not record:
            return
        files_of_flow = FilesOfFlow(store, flow, record, also_given=files)
        store.flows.cancel(keys.base_of(record["root"]), flow)
        try:
            plan = _Plan.read(store, record["root"], flow, only_own=only_own)
            plan.carry_out(record["name"])
            if "tidy" in record:
                store.due_removals.forget_kept(plan.order)
            files_of_flow.remove()
            log_flow("is removed", flow=flow)
        except JobShared:
            if attempt == _MOST_TRIES - 1:
                raise


def remove_with_older(store: Store, flow: str, name: str, *, files: bool = False) -> None:
    """Remove a flow, and the flows that had its name before it, the oldest first; `files` as in `remove_flow`."""
    for older in reversed(list(store.flows.formers(flow))):
        if store.flows.read(older, "name") == {"name": name}:
            remove_flow(store, older, files=files)
    remove_flow(store, flow, files=files)


def remove_job(store: Store, job: str) -> None:
    """Remove a job and its children; a flow's root goes with the whole flow. Raises FlowError when one runs."""
    for attempt in range(_MOST_TRIES):
        found = store.jobs.read([job], _FIELDS)[0]
        if found is None:
            return
        refuse_next_run(store, found)
        if found.flow is not None and store.flows.read(found.flow).get("root") == job:
            return remove_flow(store, found.flow)
        try:
            _Plan.read(store, job, None).carry_out(None)
            log_flow("is removed", flow=found.flow, job=job)
        except JobShared:
            if attempt == _MOST_TRIES - 1:
                raise
        except JobActive as error:
            raise _runs_now(store, str(error)) from None


def _runs_now(store: Store, job: str) -> FlowError:
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
    only_own: bool = False  #: jobs that the flow did not store stay
    parents: dict[str, list[str]] = field(default_factory=dict)  #: of each job, those below `top`
    order: list[str] = field(default_factory=list)  #: every job, parents before children
    kept: list[str] = field(default_factory=list)  #: in that order
    waiting: list[str] = field(default_factory=list)  #: in that order

    @classmethod
    def read(cls, store: Store, top: str, flow: str | None, *, only_own: bool = False) -> _Plan:
        """Read what is below a job; raise `JobActive` where a job that would go runs, unless a whole flow goes."""
        plan = cls(store, top, flow, only_own)
        children = dict(_children_by_parent(store, top))
        plan.parents = _parents_by_child(children)
        plan.order = _parents_first(top, children, plan.parents)
        records = dict(zip(plan.order, store.jobs.read(plan.order, _FIELDS), strict=True))
        plan.kept = plan._used_elsewhere(records)
        plan.waiting = [job for job, record in records.items() if record and record.state == WAITING]
        running = {job for job, record in records.items() if record and record.state == ACTIVE}
        if flow is None and (going := running - set(plan.kept)):
            raise JobActive(next(job for job in plan.order if job in going))
        return plan

    def _used_elsewhere(self, records: dict[str, JobRecord | None]) -> list[str]:
        """Return jobs that somebody else uses, those of another flow (its root may have no other parent), and all
        below them.
        """
        top = records[self.top]
        home = self.flow or (top.flow if top else None)
        further = self.store.shared.read_further_parents(self.order)
        kept: dict[str, None] = {}
        for job in self.order:
            record = records[job]
            if record is None or (job == self.top and self.flow is None):
                continue
            parents = {*further[job], *([record.parent_key] if record.parent_key else ())}
            own = (home,) if self.only_own else (home, None)
            is_of_another_flow = home is not None and record.flow not in own
            if is_of_another_flow or parents & kept.keys() or self._has_other_parents(parents):
                kept[job] = None
        return list(kept)

    def _has_other_parents(self, parents: Iterable[str]) -> bool:
        outside = [parent for parent in parents if parent != self.top and parent not in self.parents]
        return len(self.store.jobs.read_missing(outside)) < len(outside)

    def carry_out(self, name: str | None) -> None:
        """Detach what stays, from the top; remove the rest, from the leaves. `name`: of the flow that goes."""
        base, top = keys.base_of(self.top), self.top if self.flow is None else None
        kept = set(self.kept)
        for some in _chunks(self.kept):
            lost = [Detachment(job, [p for p in self.parents.get(job, ()) if p not in kept]) for job in some]
            self.store.jobs.remove(base, Removal(jobs=[], staying=lost, top=top, flow=self.flow))
        self._remove_all_but(kept, base, top, name)

    def _remove_all_but(self, kept: set[str], base: str, top: str | None, name: str | None) -> None:
        chunks = list(_chunks([job for job in self._leaves_first() if job not in kept])) or [[]]
        for some in chunks:
            parents = self._parents_of(some)
            last = name if some is chunks[-1] else None
            self.store.jobs.remove(
                base, Removal(jobs=some, going=parents, top=top, flow=self.flow, name=last)
            )

    def _parents_of(self, jobs: Sequence[str]) -> list[str]:
        """Return the parents below `top` of these jobs, each once."""
        return list(dict.fromkeys(parent for job in jobs for parent in self.parents.get(job, ())))

    def _leaves_first(self) -> list[str]:
        """Return every job, children before parents; leaves by their position in a long list.

        Neighbours in a list are removed fastest by one call.
        """
        above = {parent for parents in self.parents.values() for parent in parents}
        positions = _positions_in_line(self.store, [job for job in self.waiting if job not in above])
        upwards = self.order[::-1]
        leaves = sorted((job for job in upwards if job not in above), key=lambda job: positions.get(job, -1))
        return leaves + [job for job in upwards if job in above]


def _positions_in_line(store: Store, jobs: Sequence[str]) -> dict[str, int]:
    """Return the positions of jobs in their queues' lists, where more of them wait than one call removes."""
    positions: dict[str, int] = {}
    of_queue: dict[str, set[str]] = {}
    for job in jobs:
        of_queue.setdefault(keys.base_of(job), set()).add(job)
    for base, left in of_queue.items():
        start = 0
        while len(left) > JOBS_A_CHANGE and (
            ids := store.queues.read_ids(base, WAITING, start, start + IDS_A_READ - 1)
        ):
            found = {keys.job_in(base, id): start + i for i, id in enumerate(ids)}
            positions |= {job: position for job, position in found.items() if job in left}
            left -= found.keys()
            start += IDS_A_READ
    return positions


def _chunks(jobs: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(jobs), JOBS_A_CHANGE):
        yield jobs[start : start + JOBS_A_CHANGE]


def _children_by_parent(store: Store, top: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each parent below `top` with all its children: those declared, and those added by other clients."""
    level, seen = [top], {top}
    while level:
        below: list[str] = []
        declared: dict[str, dict[str, None]] = {}
        for parent, piece in store.declared.read_each(level):
            declared.setdefault(parent, {}).update(dict.fromkeys(piece.keys))
        counts = store.children.counts(level)
        for parent, count in zip(level, counts, strict=True):
            children = declared.pop(parent, {})
            if any(count):
                children |= dict.fromkeys(store.children.read_all(parent))
            if children:
                yield parent, list(children)
            below += [child for child in children if child not in seen]
            seen.update(children)
        level = list(dict.fromkeys(below))


def _parents_by_child(children: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {}
    for parent, below in children.items():
        for child in below:
            parents.setdefault(child, []).append(parent)
    return parents


def _parents_first(top: str, children: dict[str, list[str]], parents: dict[str, list[str]]) -> list[str]:
    """Return every job once, each after all its parents, level by level."""
    waits = {job: len(above) for job, above in parents.items()}
    order = [top]
    for job in order:  # which grows meanwhile
        for child in children.get(job, ()):
            waits[child] -= 1
            if waits[child] == 0:
                order.append(child)
    return order
