"""Storing the children that a running job adds, with what its flow and its parents know of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flownb.adding.declared_children import groups_of, pieces_of
from flownb.adding.planned_job import Plan
from flownb.adding.removal_options import field_of
from flownb.adding.send import send
from flownb.wire import keys
from flownb.wire.flow_log import log_flow
from flownb.wire.folding import MOST_SINGLE, template_of
from flownb.wire.job_rows import FieldRow, FlowRecord
from flownb.wire.lease_records import OwnRun
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from flownb.wire.store.declared import AddedChildren, grown_field


class CallOfRun(NamedTuple):
    """One call of `add_children` in a run of the job's function."""

    number: int  #: of the calls before it
    asked: str  #: digest of the children asked for


def store_children(
    store: Store, job: JobRecord, run: OwnRun, plan: Plan, call: CallOfRun, before: AddedChildren
) -> None:
    """Store the children; with the last of them, that this call is answered from now on."""
    record = _flow_record(store, job, plan, before.flow)
    fields = list(_declared(job, plan, call, before))
    if before.flow:
        fields += _noted_above(store, job, plan)
    if record and "tidy" in field_of(plan):
        fields.append(FieldRow(keys.own(plan.prefix, "flow", plan.flow), "tidy", "jobs"))
    send(store, plan, record, run, fields)
    flow = record.id if record else None
    log_flow(f"has added children: {len(plan.root.children):,}", flow=flow, job=job.key)


def _flow_record(store: Store, job: JobRecord, plan: Plan, flow: str | None) -> FlowRecord | None:
    """Return the record of the flow that counts the children, and give the plan its id.

    A job outside any tree becomes the root of a flow. In another program's flow nobody counts jobs.
    """
    if flow:
        plan.flow = keys.home_and_flow(flow)[1]
        return FlowRecord(id=plan.flow)
    if not _is_alone(store, job):
        return None
    plan.flow = plan.flow.rpartition("-")[0]
    total = str(len(plan.jobs))
    fields = {"name": job.name, "root": job.key, "total": total, "on_failure": "cancel"}
    return FlowRecord(id=plan.flow, fields=fields)


def _is_alone(store: Store, job: JobRecord) -> bool:
    """Whether the job is in no tree, that of another program included."""
    return job.parent_key is None and not any(store.children.counts([job.key])[0])


def _declared(job: JobRecord, plan: Plan, call: CallOfRun, before: AddedChildren) -> Iterator[FieldRow]:
    """Yield the children of this call behind those of the calls before, and what answers the call."""
    key = keys.own(plan.prefix, "children", job.key)
    for number, piece in enumerate(pieces_of(plan, 0), before.pieces):
        yield FieldRow(key, f"run:{number}", piece)
    groups = _joined(before.groups, groups_of(plan, 0))
    yield FieldRow(key, "groups", json.dumps(groups, separators=(",", ":")))
    yield FieldRow(key, f"call:{call.number}", call.asked)
    yield FieldRow(job.key, "ac", str(max(call.number + 1, before.calls)))


def _noted_above(store: Store, job: JobRecord, plan: Plan) -> Iterator[FieldRow]:
    """Yield what the job's parents note: that a child of theirs has children which nobody declared."""
    base = keys.base_of(job.key)
    parents = store.shared.read_further_parents([job.key])[job.key]
    for parent in [*parents, *([job.parent_key] if job.parent_key else [])]:
        key = keys.own(plan.prefix, "children", parent)
        yield FieldRow(key, "grown", "1")
        yield FieldRow(key, grown_field(base, job.name), job.key)


# ---- the summary that a picture is drawn from -----------------------------------------------------------


def _joined(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return two summaries of siblings as one."""
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for group in [*old, *new]:
        alike.setdefault((group["base"], template_of(group["name"]), group["optional"]), []).append(group)
    return [group for (_, template, _), groups in alike.items() for group in _as_one(template, groups)]


def _as_one(template: str, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of siblings that look alike, few stand for themselves and many are one group."""
    count = sum(group["count"] for group in groups)
    if len(groups) == 1 or count <= MOST_SINGLE:
        return groups
    names = {group["name"] for group in groups}
    return [
        {
            **groups[0],
            "name": names.pop() if len(names) == 1 else template,
            "count": count,
            "first": [key for group in groups for key in group["first"]][:MOST_SINGLE],
            "leaf": all(group["leaf"] for group in groups),
        }
    ]
