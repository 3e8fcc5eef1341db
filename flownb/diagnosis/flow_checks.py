"""Checks of a flow's own record and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from flownb.diagnosis.findings import CheckContext, Finding
from flownb.diagnosis.recount import recount
from flownb.errors import ServerRefused
from flownb.wire.records import STATES
from flownb.wire.store.job_facts import ENDS


def check_flow(flow: str, context: CheckContext) -> Iterator[Finding]:
    """Yield what is wrong with a flow's record and counts."""
    record = context.store.flows.read(flow)
    if not record.keys() >= {"name", "root", "created"}:
        yield record_gone(flow, record, context)
        return
    root = next(context.store.job_facts.read([record["root"]]))
    if not root.stored:
        yield root_gone(flow, record, context)
        return
    if root.whole and record.get("ended") in ENDS and root.finished != record.get("finished"):
        yield ended_by_its_record_alone(flow, record, root.ended, context)
    if "stored" in record:
        yield from counts_that_differ(flow, record, context)


def record_gone(flow: str, record: Mapping[str, str], context: CheckContext) -> Finding:
    what = f"its record is gone{' in part' if record else ''}, so no handle finds it"
    advice = "set the server's maxmemory-policy to noeviction, and add the flow again"
    return context.finding("record", flow, what, job=record.get("name", flow), advice=advice)


def root_gone(flow: str, record: Mapping[str, str], context: CheckContext) -> Finding:
    name = record["name"]
    what = "its root is gone, which another program removed"
    advice = f"remove what is left of it: attach({name!r}).remove()"
    return context.finding("rootless", flow, what, job=name, advice=advice)


def ended_by_its_record_alone(
    flow: str, record: Mapping[str, str], has_ended: bool, context: CheckContext
) -> Finding:
    what = f"its record says that it has {record['ended']}, and its root has not ended"
    remedy = "take that back"
    if has_ended:
        what = f"its record says that it has {record['ended']}, and its root has ended anew since"
        remedy = "write down how its root has ended"
    return context.finding("over", flow, what, job=record["name"], remedy=remedy)


def counts_that_differ(flow: str, record: Mapping[str, str], context: CheckContext) -> Iterator[Finding]:
    with suppress(ServerRefused):  # a key of the flow has another type, which is a finding of its own
        counted = recount(context.store, flow, record["root"])
        if counted is not None and not counted.agrees:
            said = f"say {_in_words(counted.was)}" if counted.was else "are gone"
            what = f"its counts {said}; its jobs are {_in_words(counted.counts)}"
            yield context.finding("counts", flow, what, job=record["name"], remedy="count them again")


def _in_words(counts: Mapping[str, int]) -> str:
    states: Counter[str] = Counter()
    for field, n in counts.items():
        states[field.partition("@")[0]] += n
    return ", ".join(f"{states[state]:,} {state}" for state in STATES if states[state])
