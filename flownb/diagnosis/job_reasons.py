"""Reasons of one job: what keeps it, by its own fields, its lease and its delay. Pure."""

from __future__ import annotations

from flownb.diagnosis import reason_words
from flownb.diagnosis.reasons import Urgency, Why
from flownb.options import CUSTOM, JobOptions
from flownb.state.failed_jobs import describe
from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, CRASHED, FAILED, POLICIES, JobRecord
from flownb.wire.store.queue_facts import PUT_OFF_MS, QueueFacts, WaitFacts

LONG_RUN_MS = 60_000  #: a run of which one may wonder whether it hangs

# ---- jobs that are gone ------------------------------------------------------------------------------------------


def removed_or_lost(job: JobRecord | None, waits: WaitFacts, parent: str, parent_name: str) -> Why:
    """Of a job without data: somebody removed it, or its data are missing."""
    if not waits.stored and not waits.queued:
        why = f"it was removed, and {parent_name} still waits for it"
        return Why(Urgency.NEVER, "removed", parent, why, "add the flow again: nothing brings the job back")
    has_failed = job is not None and job.state == FAILED
    told = "it was failed for that" if has_failed else "it will be failed for that"
    why = f"its data are missing (evicted, or deleted by hand); {told}, and {parent_name} is not told"
    fix = "set the server's maxmemory-policy to noeviction, and add the flow again"
    return Why(Urgency.NEVER, "missing", parent, why, fix)


def listed_nowhere(job: JobRecord, queue: str) -> Why:
    why = f"it is in no line of queue {queue!r}: its id was removed by hand"
    fix = f"mend it with doctor({queue!r}, fix=True)"
    return Why(Urgency.NEVER, "lost", keys.base_of(job.key), why, fix)


# ---- jobs that have ended ----------------------------------------------------------------------------------------


def ended_but_awaited(job: JobRecord, parent: str, parent_name: str) -> Why:
    """Of a job that has ended while its parent waits for it."""
    link = codec.decode_object(job.parent or "{}")
    is_unreported = job.parent_key != parent or any(link.get(word) for word in POLICIES)
    if job.state == COMPLETED or is_unreported:
        why = f"it has ended ({job.state}), and {parent_name} was not told of it"
        fix = "doctor(fix=True), or flownb doctor --fix, tells it"
        return Why(Urgency.NEVER, "untold", parent, why, fix)
    reason = reason_words.plain(describe(job.failed_reason))
    why = f"it failed ({reason}) without a policy, so {parent_name} waits for ever"
    fix = "retry the job, or add the flow again with failParentOnFailure on it"
    return Why(Urgency.NEVER, "unforgiven", parent, why, fix)


def to_be_failed(job: JobRecord, deferred: str) -> Why:
    """Of a job that the worker which takes it fails without a run."""
    if "stalled" in deferred or deferred.startswith(CRASHED):
        died = f"{job.stalled} worker{'s' if job.stalled > 1 else ''} died while it ran"
        why = f"{died}: the next worker fails it unrun"
        fix = "see whether it takes too much memory; it fails when a worker takes it"
    else:
        why = f"it is to fail ({reason_words.plain(describe(deferred))}): the next worker fails it unrun"
        fix = "mend the child that failed; it fails when a worker takes it"
    return Why(Urgency.IN_TIME, "deferred", job.key, why, fix)


def suspected(job: JobRecord) -> Why:
    """Of a job whose workers died too often: it is given to one that runs nothing else."""
    died = f"{job.stalled} workers died while it ran" if job.stalled > 1 else "workers died that had taken it"
    why = f"{died}: it runs alone, when a worker has ended its other jobs"
    return Why(Urgency.IN_TIME, "suspect", job.key, why, "see whether it takes too much memory; else wait")


# ---- jobs that run -----------------------------------------------------------------------------------------------


def running(job: JobRecord, waits: WaitFacts, now: int) -> Why:
    """Of a job that a worker has."""
    ran = max(now - (job.processed_on or now), 0)
    options = _options(job)
    where = f" on {reason_words.plain(waits.worker)}" if waits.worker else ""
    which = f" (attempt {job.attempts_made + 1} of {options.attempts})" if options.attempts > 1 else ""
    why, fix = f"running for {reason_words.span(ran)}{where}{which}", "wait"
    if options.timeout:
        why += f"; its timeout ends the attempt in {reason_words.span(max(options.timeout - ran, 0))}"
    elif ran >= LONG_RUN_MS:
        fix = "wait; if it may hang, give it a timeout"
    return Why(Urgency.WELL, "active", keys.base_of(job.key), why, fix, rank=-ran)


def worker_died(job: JobRecord, waits: WaitFacts, facts: QueueFacts, queue: str) -> Why:
    """Of a job that is active without a lease."""
    base, why = keys.base_of(job.key), "its worker died: it is active without a lease"
    if facts.served is False:
        why = f"{why}, and no worker serves queue {queue!r}"
        return Why(
            Urgency.NOW, "dead", base, why, f"start one, which puts it back: Worker({queue!r}, function)"
        )
    when = f"in {reason_words.span(facts.sweep_ms)}" if facts.sweep_ms else "at any moment"
    then = "put back in the line" if waits.suspected else "suspected, and put back a sweep later,"
    return Why(Urgency.IN_TIME, "dead", base, f"{why}; it will be {then} {when}", "wait: it runs again")


# ---- jobs that are delayed ---------------------------------------------------------------------------------------


def delayed(job: JobRecord, due: int, now: int, queue: str, batch: str | None) -> Why:
    """Of a job that is due in a while; `batch` is the name of the batch whose row it is."""
    base = keys.base_of(job.key)
    when = f"delayed until {reason_words.point(due)}, for {reason_words.span(due - now)} more"
    if _is_put_off(job):
        if job.delay == PUT_OFF_MS:
            return _unknown_task(job, queue, when, due, batch)
        return Why(Urgency.IN_TIME, "asked", base, f"{when}, as its function asked", "wait", rank=due)
    if job.attempts_made:
        which = f"attempt {job.attempts_made + 1} of {max(_options(job).attempts, 1)}"
        why = f"{when}: {which} after {reason_words.plain(describe(job.failed_reason))}"
        return Why(Urgency.IN_TIME, "retry", base, why, "wait, or mend what fails", rank=due)
    return Why(Urgency.IN_TIME, "delay", base, f"{when}, as its options ask", "wait", rank=due)


def _is_put_off(job: JobRecord) -> bool:
    """Has its function asked for that, or has no task taken it? Then a start was not charged, and no backoff was it."""
    if job.attempts_started <= job.attempts_made:
        return False
    backoff = _options(job).backoff
    if not job.attempts_made:
        return True
    if job.delay != PUT_OFF_MS and (backoff.jitter or backoff.type == CUSTOM):
        return False  # that cannot be told
    return not backoff.delay or backoff.wait_ms(job.attempts_made) != job.delay


def _unknown_task(job: JobRecord, queue: str, when: str, due: int, batch: str | None) -> Why:
    name = reason_words.plain(job.name)
    why = f"no flownb worker of queue {queue!r} knows the task {name!r}: put off, {when}"
    fix = (
        f"define {name!r} where a worker runs, or start one that has it: flownb worker MODULE; where another "
        "program's worker runs such jobs, give these a queue of their own"
    )
    if batch is not None:  # a kernel does not run another one's rows by a function that differs
        why = f"no worker of queue {queue!r} has the task {name!r} as it was when the batch was added: put off, {when}"
        fix = f"run the cell that defines {name!r}, and go on with fn.attach({reason_words.plain(batch)!r})"
    return Why(Urgency.NOW, "unknown", f"{keys.base_of(job.key)} {job.name}", why, fix, rank=due)


def _options(job: JobRecord) -> JobOptions:
    return JobOptions.from_wire(codec.decode_object(job.opts))
