"""Reasons of a flow as a whole: it is paused, or half stored; what its parents wait for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flownb.diagnosis import reason_words
from flownb.diagnosis.reasons import Reason, Reasons, Urgency, Why
from flownb.state.flow_state import rows_to_come
from flownb.wire import keys
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, FlowCounts, JobRecord
from flownb.wire.store.queue_facts import PendingChildren

_OLDEST_NAMED = 3


def server_trouble(problem: tuple[str, str]) -> Why:
    return Why(Urgency.WHOLE, "server", "", *problem)


def stored_by_newer(record: Mapping[str, str]) -> Reason:
    """Of a flow in a layout that this flownb does not know: what else its keys say cannot be told."""
    why = "its flow was stored by a newer flownb, and workers as old as this one leave its jobs alone"
    fix = "update this worker: upgrade flownb here, and wherever a worker of it runs"
    return Reason(reason_words.plain(record["name"]), why, fix)


def flow_paused(counts: FlowCounts) -> Why:
    """Say that a flow is paused, and why; a worker that paused it has said the cause, a semicolon, the cure."""
    resume = f"resume it with {counts.pause.resume_call if counts.pause else 'resume()'}"
    if not counts.paused_why:
        return Why(Urgency.NOW, "held", "", "the flow is paused", resume)
    cause, _, cure = counts.paused_why.partition("; ")
    said = f"the flow is paused: {reason_words.plain(cause)}"
    return Why(Urgency.NOW, "held", "", said, reason_words.plain(cure) or resume)


def at_its_bound(record: Mapping[str, str], counts: FlowCounts) -> list[Why]:
    """Say that as many jobs of the flow run as may run at a time, where that is so."""
    most, running = int(record.get("concurrency", 0)), counts.count(ACTIVE)
    if not most or running < most:
        return []
    why = f"the flow is at its concurrency: {running:,} of {most:,} run"
    return [Why(Urgency.IN_TIME, "bound", "", why, "wait, or give the same call a larger concurrency=")]


def half_stored(record: Mapping[str, str], counts: FlowCounts, flow: str | None) -> Why:
    """Of a flow whose program died while it added it, or is still at it."""
    if why := rows_to_come(record):
        again = "run the same fan_out again: it goes on from there"
        if "cut" in record:
            return Why(Urgency.NEVER, "half", "", why, again)
        return Why(Urgency.WHOLE, "half", "", why, f"if it died, {again}")
    why = f"half stored, {counts.total:,} of {int(record['total']):,} jobs: "
    why += "the program that adds it died, or is still at it"
    fix = "if it died, run the same add again: it makes a whole one"
    if record.get("kind") == "batch":
        fix = "if it died, run the same fan_out again: it stores the rest"
    elif keys.id_of(record["root"]) != flow:
        fix = "if it died, run the same add again: it stores the rest"
    return Why(Urgency.WHOLE, "half", "", why, fix)


def completed_without(record: Mapping[str, str], removed: int) -> Reason:
    """Of a flow that has completed though children of it were removed before they ended."""
    noun, them = ("child", "it") if removed == 1 else ("children", "them")
    why = f"it completed without {removed:,} {noun}: another program removed {them} before the end"
    fix = "run fan_out again" if record.get("kind") == "batch" else "add the flow again"
    return Reason(reason_words.plain(record["name"]), why, fix)


def no_child_left(parent: JobRecord, queue: str) -> Why:
    why = "it waits for children, and has none that has not ended: its books were changed by hand"
    return Why(Urgency.NEVER, "left", parent.key, why, f"mend it with doctor({queue!r}, fix=True)")


def waits_for_children(
    parents: Sequence[tuple[JobRecord, PendingChildren]], root: str, counts: FlowCounts, reasons: Reasons
) -> list[tuple[JobRecord, Why]]:
    """Return which parents wait for children that were not looked at; if all is well, also what the root waits for."""
    is_well = reasons.are_all_well()
    unseen = counts.total - counts.count(COMPLETED) - counts.count(FAILED) - len(reasons.parent_of)
    found = []
    for parent, pending in parents:
        is_cut_off = pending.count > len(pending.keys) or any(
            key not in reasons.parent_of for key in pending.keys
        )
        if pending.count and (is_cut_off or (is_well and parent.key == root)):
            why = _waits_for(parent, pending, reasons)
            if is_cut_off:
                why += f"; {max(unseen, 1):,} more unfinished jobs were not looked at"
            fix = "mend what stands above, then ask again" if is_cut_off and not is_well else "wait"
            found.append((parent, Why(Urgency.REST, "children", "", why, fix)))
    return found


def _waits_for(parent: JobRecord, pending: PendingChildren, reasons: Reasons) -> str:
    oldest = [
        reason_words.plain(reasons.names[job])
        for job, above in reasons.parent_of.items()
        if above == parent.key and job in reasons.names
    ]
    noun = "child" if pending.count == 1 else "children"
    named = ", ".join(oldest[:_OLDEST_NAMED]) or "unknown"
    return f"waits for {pending.count:,} {noun}, the oldest: {named}"
