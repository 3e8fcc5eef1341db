"""Checks between jobs and their parents: children that a parent waits for, values that a parent holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from flownb.diagnosis.findings import ADD_AGAIN, CheckContext, Finding
from flownb.wire.records import COMPLETED
from flownb.wire.store.job_facts import JobFacts
from flownb.wire.store.parent_links import ParentLink

# ---- a job and one parent of it ----------------------------------------------------------------------------------


def check_parent_link(job: JobFacts, link: ParentLink, context: CheckContext) -> Iterator[Finding]:
    """Yield what is wrong between a job and a parent of it. Jobs of other programs' flows are their own affair."""
    if not (job.flow and job.whole and link.exists) or link.awaited or link.value_bytes or link.failed:
        return
    if not job.ended and link.waiting:
        yield job_not_awaited(job, link, context)
    elif job.only_list == COMPLETED:
        yield value_not_passed_on(job, link, context)


def job_not_awaited(job: JobFacts, link: ParentLink, context: CheckContext) -> Finding:
    what = f"{context.name_of(link.parent)} waits for its other children, and not for this one"
    return context.finding(
        "lost", job.key, what, remedy="let it wait for this one too", others=(link.parent,)
    )


def value_not_passed_on(job: JobFacts, link: ParentLink, context: CheckContext) -> Finding:
    what = f"{context.name_of(link.parent)} was not given its value"
    if link.ended:
        return context.finding("value", job.key, f"{what}, and has ended", advice=ADD_AGAIN)
    return context.finding("value", job.key, what, remedy="give it the value", others=(link.parent,))


def another_value_held(job: JobFacts, link: ParentLink, context: CheckContext) -> Finding:
    what = f"{context.name_of(link.parent)} holds another value than the one it returned"
    return context.finding("unlike", job.key, what, advice=ADD_AGAIN)


def with_values(
    jobs: Iterable[JobFacts], links: Iterable[tuple[JobFacts, ParentLink]]
) -> list[tuple[JobFacts, ParentLink | None]]:
    """Return what has a value to look at: links of completed jobs whose parent holds one, then other jobs."""
    held: list[tuple[JobFacts, ParentLink | None]] = [
        (job, link) for job, link in links if job.flow and job.only_list == COMPLETED and link.value_bytes
    ]
    compared = {job.key for job, _ in held}
    return held + [(job, None) for job in jobs if job.flow and job.has_values and job.key not in compared]


# ---- a parent that waits, and its children -----------------------------------------------------------------------


class _Awaited(NamedTuple):
    """The children that a parent waits for although they have ended, or are gone."""

    gone: list[str]
    unreported: list[str]  #: their end means something for the parent, which was not notified
    unforgiven: list[str]  #: they failed without a policy


def check_children(parent: JobFacts, context: CheckContext) -> Iterator[Finding]:
    """Yield why a parent that waits for children may wait for ever."""
    awaited = context.store.parent_links.read_awaited(parent.key, lambda job: ())
    sorted_out = _sort_out(parent, awaited.ended, context)
    if sorted_out.gone:
        yield children_gone(parent, sorted_out.gone, context)
    if sorted_out.unreported:
        yield ends_not_reported(parent, sorted_out.unreported, context)
    if sorted_out.unforgiven:
        yield failures_without_policy(parent, sorted_out.unforgiven, context)
    if awaited.sealed and parent.flow:
        yield from retry_cut_short(parent, parent.flow, context)


def children_gone(parent: JobFacts, gone: Sequence[str], context: CheckContext) -> Finding:
    one = len(gone) == 1
    what = f"it waits for {context.names_of(gone)}, which {'is' if one else 'are'} gone"
    them = "it" if one else "them"
    remedy = f"let it go on without {them}, as if a person had removed {them}"
    return context.finding("orphan", parent.key, what, remedy=remedy, others=tuple(gone))


def ends_not_reported(parent: JobFacts, ended: Sequence[str], context: CheckContext) -> Finding:
    what = f"it waits for {context.names_of(ended)}, which {'has' if len(ended) == 1 else 'have'} ended"
    remedy = "tell it how that ended"
    return context.finding("untold", parent.key, what, remedy=remedy, others=tuple(ended))


def failures_without_policy(parent: JobFacts, failed: Sequence[str], context: CheckContext) -> Finding:
    what = f"it waits for ever for {context.names_of(failed)}, which failed without a policy"
    job = context.call_for(failed[0])
    advice = f"run it again with {job}.retry(), or let its parent go on without it: {job}.remove()"
    return context.finding("unforgiven", parent.key, what, advice=advice)


def retry_cut_short(parent: JobFacts, flow: str, context: CheckContext) -> Iterator[Finding]:
    """A seal is all that the parent waits for, and its flow is wholly stored."""
    record = context.store.flows.read(flow)
    if "stored" in record:
        what = "it waits for a retry of many jobs that was cut short"
        advice = f"take it up again: attach({record['name']!r}).retry()"
        yield context.finding("seal", parent.key, what, advice=advice)


def _sort_out(parent: JobFacts, ended: Mapping[str, JobFacts | None], context: CheckContext) -> _Awaited:
    """Sort children that have ended (None: gone) by what the parent's wait for them means."""
    store = context.store
    unnotified, is_served = store.shared.read_unnotified(list(ended))
    left = dict(ended)
    if is_served:  # flownb's workers notify further parents of a shared job that another program ended
        left = {child: end for child, end in ended.items() if child not in unnotified}
    known = [end for end in left.values() if end is not None]
    parents_of = dict(zip([end.key for end in known], store.parent_links.read_parents(known), strict=True))
    found = _Awaited([], [], [])
    for child, end in left.items():
        if end is None or (end.why == "missing" and parent.key not in parents_of[child]):
            (found.unreported if child in unnotified else found.gone).append(child)
        elif end.only_list == COMPLETED or _has_policy(parent.key, end, parents_of[child]):
            found.unreported.append(child)
        else:
            found.unforgiven.append(child)
    return found


def _has_policy(parent: str, end: JobFacts, parents: Sequence[str]) -> bool:
    """Does the job's failure mean something for this parent?"""
    if end.parent == parent:
        return bool(end.policy)
    return parent in parents  # a further one, which flownb stored with a policy
