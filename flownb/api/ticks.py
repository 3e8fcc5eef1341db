"""What a worker does at the tick of a schedule: it adds the flow, once, unless the one before still runs."""

from __future__ import annotations

import hashlib
from typing import Any

from flownb.adding.send import store_plan
from flownb.adding.template import plan_of
from flownb.api.job import Job, stored_job
from flownb.api.timing import Timing, tick_name
from flownb.errors import FlowError, FlownbError, JobMissing
from flownb.state.flow_state import OwnFlowState
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.wire.store.job_records import number


def add_flow_of_tick(job: Job) -> dict[str, str]:
    """Add the flow of the tick that this job stands for; return what was done. Run again, it adds nothing twice."""
    store, record = stored_job(job)
    name, _, due = record.id.removeprefix("repeat:").rpartition(":")
    base = keys.base(store.prefix, keys.BATCH_QUEUE)
    own = store.schedules.read_own(name)
    if "tree" not in own:
        return {"left_out": "the schedule was cancelled"}
    following = store.schedules.read_due(base, name)
    if following == number(due):  # the server was away when this job was taken
        raise FlowError(f"the tick after this one of schedule {name!r} is not stored yet")
    # It was taken, given back, and waited long.
    if following is not None and following <= store.server.read_time():
        return {"left_out": "the tick after it is due, too"}
    timing = Timing.of_stored(store.schedules.read(base, name))
    try:
        done = _add_unless_one_runs(store, name, number(due), timing, own)
    except FlownbError as error:
        store.schedules.note(name, left_out=due, why=f"{tick_name(name, number(due), timing.zone)}: {error}")
        raise
    if store.schedules.read_due(base, name) is None:  # cancelled meanwhile
        store.schedules.forget(name)
    return done


def _add_unless_one_runs(
    store: Store, name: str, due: int, timing: Timing, own: dict[str, Any]
) -> dict[str, str]:
    flow, called, last = _flow_id(name, due), tick_name(name, due, timing.zone), own.get("last")
    if last == flow and "stored" in store.flows.read(flow):  # by a worker that died after it
        return {"added": called}
    if own.get("overlap") == "skip" and last not in (None, flow) and not _has_ended(store, str(last)):
        why = f"{called} was left out: {tick_name(name, number(own.get('last_due', 0)), timing.zone)} had not ended"
        store.schedules.note(name, left_out=due, why=why)
        return {"left_out": why}
    store.schedules.note(name, last=flow, last_due=due)
    store_plan(store, plan_of(own["tree"], store.prefix, flow), called, {"on_failure": "cancel"})
    return {"added": called}


def _flow_id(name: str, due: int) -> str:
    """The same for a tick whoever carries it out, so that it is stored once."""
    return f"every-{hashlib.sha256(name.encode()).hexdigest()[:16]}-{due}"


def _has_ended(store: Store, flow: str) -> bool:
    try:
        return OwnFlowState(store, flow).catch_up().state is not None
    except JobMissing:  # it was removed
        return True
