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
    mistyped = context.store.flows.read_mistyped(flow)
    for key, kind in mistyped.items():
        yield flow_key_of_another_type(flow, key, kind, context)
    if any(key == context.store.server.key("flow", flow) for key in mistyped):
        return
    record = context.store.flows.read(flow)
    if not record.keys() >= {"name", "root", "created"}:
        if record or context.store.flows.is_listed(flow):  # not where it was removed meanwhile
            yield record_gone(flow, record, context)
        return
    root = next(context.store.job_facts.read([record["root"]]))
    if not root.stored:
        yield root_gone(flow, record, context)
        return
    if root.whole and record.get("ended") in ENDS and root.finished != record.get("finished"):
        yield ended_by_its_record_alone(flow, record, root.ended, context)
    if "stored" in record and not mistyped:
        yield from counts_that_differ(flow, record, context)


def flow_key_of_another_type(flow: str, key: str, kind: str, context: CheckContext) -> Finding:
    what = f"its key {key} is a {kind} and no hash, so no handle can read it"
    is_record = key == context.store.server.key("flow", flow)
    counted_again = "rename that key out of the way; then fix=True, or --fix, counts the jobs again"
    advice = "rename that key out of the way, and add the flow again" if is_record else counted_again
    return context.finding("flow-type", flow, what, job=flow, advice=advice)


def index_illegible(error: ServerRefused, context: CheckContext) -> Finding:
    what = f"the list of all flows cannot be read: {error}"
    advice = (
        "rename that key out of the way: flows added from then on are listed, attach(name) finds the others"
    )
    return context.finding("index", "flows", what, job="flows", advice=advice)


def entry_illegible(flow: str, context: CheckContext) -> Finding:
    stored = flow.encode("utf-8", "surrogateescape")
    what = f"the list of all flows has an entry that is no text, and no flow: {stored!r}"
    advice = f"take it out: ZREM {context.store.server.key('flows')} {stored!r}"
    return context.finding("entry", repr(stored), what, job="flows", advice=advice)


def children_illegible(flow: str, error: ServerRefused, context: CheckContext) -> Finding:
    what = f"what is stored of its tree cannot be read: {error}"
    advice = (
        "rename that key out of the way: its jobs run on, and pictures show of them what BullMQ's keys tell"
    )
    return context.finding("tree", flow, what, job=flow, advice=advice)


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
    with suppress(ServerRefused):  # its tree cannot be read, which is a finding of its own
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
