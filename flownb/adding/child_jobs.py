"""Children that a running job adds: stored once, waited for without a slot, answered when the function runs again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.adding.added_children import CallOfRun, store_children
from flownb.adding.node import Node, listed
from flownb.adding.plan import plan as plan_tree
from flownb.adding.planned_job import Plan
from flownb.errors import FlowError, OptionError, UnrecoverableError, WaitingChildren
from flownb.wire import codec, keys
from flownb.wire.lease_records import OwnRun
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken


@dataclass(eq=False)  # without slots: what a run does not write stands in the class
class Run:
    """One run of a job, as its worker knows it."""

    taken: Taken  #: the job as it was taken, with the right to run it
    # Written by `add_children`, in the thread that runs the job:
    calls: int = 0  #: of `add_children` in this run
    waits: bool = False  #: the job waits for children it has added, whatever its function makes of that
    eager: Sequence[str] = ()  #: of these children, one that fails ends the wait

    @property
    def own(self) -> OwnRun:
        """What says, with each write to the job, that it is this run's. Made for the few runs that write."""
        record = self.taken.record
        return OwnRun(key=record.key, token=self.taken.token, attempts_started=record.attempts_started)


def values_of_children(store: Store, job: JobRecord, run: Run, children: Iterable[Any]) -> list[Any]:
    """Return what these children returned, in order; store them and end the run where they have not ended yet."""
    mentions = listed(children, "add_children takes")
    number, run.calls = run.calls, run.calls + 1
    if not mentions:
        return []
    plan = _planned(store, job, number, mentions)
    before = store.declared.read_added(job.key, plan.prefix, number)
    asked = _digest(plan)
    if before.asked is None:
        store_children(store, job, run.own, plan, CallOfRun(number, asked), before)
    elif before.asked != asked:
        raise UnrecoverableError(_difference(store, plan, number))
    below = [plan.jobs[i].key for i in plan.root.children]
    run.eager = [plan.jobs[i].key for i in plan.root.children if plan.jobs[i].parents[0] == "cpof"]
    if before.asked is None or _must_wait(store, job, run, below):
        run.waits = True
        raise WaitingChildren(f"job {job.name!r} waits for {len(below):,} children")
    values = codec.decode_each(store.children.read_values(job.key, below))
    return [values.get(key) for key in below]


def _must_wait(store: Store, job: JobRecord, run: Run, children: Sequence[str]) -> bool:
    """Whether a child has not ended, unless one failed whose policy lets the parent go on without the others."""
    if not store.children.is_any_awaited(job.key, children):
        return False
    return not run.eager or store.children.read_ignored(job.key).keys().isdisjoint(run.eager)


# ---- what is asked for ----------------------------------------------------------------------------------


def _planned(store: Store, job: JobRecord, number: int, mentions: Sequence[Any]) -> Plan:
    """Lay out the children under the job; the same call of the same job gives the same ids in every run."""
    prefix, queue, id = keys.split(job.key)
    digest = hashlib.blake2b(job.key.encode(), digest_size=10).digest()
    root = Node(job.name, queue, children=mentions, prefix=prefix)
    home = _home(store, job)
    try:
        plan = plan_tree(root, prefix=home, flow=f"{base64.b32encode(digest).decode().lower()}-{number}")
    except (FlowError, OptionError) as error:
        raise type(error)(str(error).removeprefix("root/")) from None
    if len(plan.root.children) < len(mentions):
        raise FlowError("add_children: two of the children are one job; give each once")
    given = {planned.key for planned in plan.jobs[1:] if not planned.id.startswith(f"{plan.flow}-")}
    plan.root.id, plan.grows = id, True
    if given & _above(store, job, given):
        raise FlowError(
            f"add_children: job {job.name!r} cannot wait for itself or for a job that waits for it"
        )
    return plan


def _home(store: Store, job: JobRecord) -> str:
    """Return the prefix under which the job's flow lives."""
    return keys.home_and_flow(job.flow or "")[0] or store.prefix


def _above(store: Store, job: JobRecord, given: set[str]) -> set[str]:
    """Return the job and all that wait for it; read only where an id was given."""
    above, level = {job.key}, [job.key] if given else []
    while level:
        further = store.shared.read_further_parents(level)
        records = store.jobs.read(level, ("name", "parentKey"))
        first = [record.parent_key for record in records if record and record.parent_key]
        level = list({*first, *(key for some in further.values() for key in some)} - above)
        above.update(level)
    return above


def _digest(plan: Plan) -> str:
    parts = [[job.base, job.id, job.name, job.data, job.children, job.bind] for job in plan.jobs[1:]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _difference(store: Store, plan: Plan, number: int) -> str:
    """Say how the children asked for now differ from those that this call has added before."""
    what = "fewer of them, or other jobs below them"
    places = plan.root.children
    stored = store.jobs.read([plan.jobs[i].key for i in places], ("name", "data"))
    for place, (i, there) in enumerate(zip(places, stored, strict=True)):
        job = plan.jobs[i]
        if there is None:
            what = f"{job.name!r} at children[{place}], which was not there"
        elif (there.name, there.data) != (job.name, job.data):
            was = f"{there.name!r} with {_short(there.data)}"
            what = f"{job.name!r} with {_short(job.data)} at children[{place}], which was {was}"
        else:
            continue
        break
    return (
        f"add_children, call {number + 1} of this function: asks for other children than in the run before, {what}. "
        "What stands above the call runs again and must come to the same children: keep time, chance and what "
        "changes meanwhile out of them"
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
