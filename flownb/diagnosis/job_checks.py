"""Checks of one job by its own keys and its queue's lists. Each finds one thing, and is named after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flownb.diagnosis.findings import CheckContext, Finding
from flownb.wire.store.job_facts import ENDS, JobFacts

_BEFORE_A_RUN = ("wait", "paused", "prioritized", "delayed")

JobCheck = Callable[[JobFacts, CheckContext], Finding | None]


def check_job(job: JobFacts, context: CheckContext) -> Iterator[Finding]:
    """Yield what is wrong with a job's data and lists, the first thing alone; then with its lock and its link."""
    for check in _EACH_HIDES_THE_NEXT:
        if finding := check(job, context):
            yield finding
            break
    for check in (lock_without_end, counter_without_a_number, link_to_two_parents):
        if finding := check(job, context):
            yield finding


def key_of_another_type(job: JobFacts, context: CheckContext) -> Finding | None:
    if job.readable:
        return None
    what = "one of its keys has a type that no job's key has"
    return context.finding("type", job.key, what, advice="rename that key out of the way")


def id_without_data(job: JobFacts, context: CheckContext) -> Finding | None:
    if job.stored or not job.lists:
        return None
    what = f"its id stands in {_lists_of(job)}, and its data are gone"
    return context.finding("gone", job.key, what, remedy="take the id out")


def data_gone_in_part(job: JobFacts, context: CheckContext) -> Finding | None:
    if not job.stored or job.whole:
        return None
    what = f"its data are gone in part, its id stands in {_lists_of(job) or 'no line'}"
    advice = "no worker runs it; set the server's maxmemory-policy to noeviction, and add it again"
    return context.finding("part", job.key, what, advice=advice)


def listed_nowhere(job: JobFacts, context: CheckContext) -> Finding | None:
    if not job.whole or job.lists:
        return None
    what = "it stands nowhere in its queue, so no worker ever takes it"
    if job.ended:
        what = "it has ended, and stands nowhere in its queue"
    return context.finding("astray", job.key, what, remedy="put it where it belongs")


def listed_twice(job: JobFacts, context: CheckContext) -> Finding | None:
    if not job.whole or len(job.lists) < 2:
        return None
    in_one_list = len(set(job.lists)) == 1
    what = f"it stands more than once in {job.lists[0]}" if in_one_list else f"it stands in {_lists_of(job)}"
    return context.finding("twice", job.key, what, remedy="leave it where it belongs")


def listed_against_its_fields(job: JobFacts, context: CheckContext) -> Finding | None:
    if job.only_list is None or job.ended == (job.only_list in ENDS):
        return None
    what = (
        f"it stands in {job.only_list}, and {'has ended' if job.ended else 'has not ended'} by its own fields"
    )
    advice = f"see what it came to, then take it away: {context.call_for(job.key)}.remove()"
    return context.finding("end", job.key, what, advice=advice)


def listed_before_its_children_ended(job: JobFacts, context: CheckContext) -> Finding | None:
    if job.only_list not in _BEFORE_A_RUN or not job.pending:
        return None
    # It added them as it ran, or fails, or goes on without them.
    may_run = job.started or job.deferred or job.ignored
    if may_run or context.is_cancelled(job):
        return None
    what = f"it stands in {job.only_list} before its children have ended"
    return context.finding("early", job.key, what, remedy="let it wait for them")


def waiting_for_no_child(job: JobFacts, context: CheckContext) -> Finding | None:
    if job.pending or not context.waits_for_children(job):
        return None
    what = "it waits for children, and none is left that has not ended"
    return context.finding("none", job.key, what, remedy="let it go on")


def lock_without_end(job: JobFacts, context: CheckContext) -> Finding | None:
    if not job.lock_endless:
        return None
    what = "its lock does not run out: when its worker dies, nobody takes it over"
    return context.finding("lock", job.key, what, remedy="let it run out, unless a worker renews it")


def counter_without_a_number(job: JobFacts, context: CheckContext) -> Finding | None:
    if not job.no_numbers:
        return None
    what = f"a count of its is no whole number: {', '.join(job.no_numbers)}"
    advice = f"set it right in the hash {job.key}, or add its flow again"
    return context.finding("number", job.key, what, advice=advice)


def link_to_two_parents(job: JobFacts, context: CheckContext) -> Finding | None:
    if not job.whole or job.linked:
        return None
    what = f"its fields name different parents: {job.parent} is in parentKey"
    return context.finding("link", job.key, what, advice="add its flow again: which is right cannot be told")


_EACH_HIDES_THE_NEXT: tuple[JobCheck, ...] = (
    key_of_another_type,
    id_without_data,
    data_gone_in_part,
    listed_nowhere,
    listed_twice,
    listed_against_its_fields,
    listed_before_its_children_ended,
    waiting_for_no_child,
)


def _lists_of(job: JobFacts) -> str:
    return " and ".join(job.lists)
