"""Reasons that a queue gives to every job in it: it is paused, nobody serves it, its limits are reached. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from flownb.diagnosis import reason_words
from flownb.diagnosis.reasons import Urgency, Why
from flownb.state.ahead import FlowAhead, behind
from flownb.wire import keys
from flownb.wire.lease_records import FrozenWorker
from flownb.wire.store.queue_facts import HELD_BY_HAND, QueueFacts
from flownb.wire.store.used_limits import FullLimit


def no_start(base: str, queue: str, facts: QueueFacts, urgency: Urgency, *, is_batch: bool) -> list[Why]:
    """Return why no worker starts jobs of a queue; `urgency` is that of a job which could run now, or later."""
    found = []
    if facts.paused:
        fix = f"resume it with Queue({queue!r}).resume()"
        found.append(Why(urgency, "paused", base, f"queue {queue!r} is paused", fix))
    is_of_batches = keys.queue_of_base(base) == keys.BATCH_QUEUE
    found += stopped_tasks(base, facts)
    if facts.served is False and not facts.stopped and not (is_of_batches and urgency == Urgency.LATER):
        fix = f"start one: Worker({queue!r}, function), or flownb worker MODULE with its task"
        if is_batch:
            fix = "run the cell that defines its task, then fn.workers(); or flownb worker MODULE with it"
        if is_of_batches:
            fix = "start any worker of flownb, or wait() for the batch"
        found.append(Why(urgency, "unserved", base, f"no worker serves queue {queue!r}", fix))
    return found


def frozen_workers(base: str, queue: str, facts: QueueFacts) -> list[Why]:
    """Return which workers of a queue are frozen."""
    return [
        Why(
            Urgency.NOW if not facts.served else Urgency.IN_TIME,
            "frozen",
            f"{base} {worker.host} {worker.pid}",
            f"a worker of queue {queue!r} {what_is_frozen(worker)}",
            go_on(worker),
        )
        for worker in facts.frozen
    ]


def stopped_tasks(base: str, facts: QueueFacts) -> list[Why]:
    """Return which tasks of a queue stand still on a worker, as their setup failed there."""
    return [
        Why(
            Urgency.NOW if not facts.served else Urgency.IN_TIME,
            "setup",
            f"{base} {task.host} {task.pid} {task.name}",
            f"{reason_words.plain(task.why)}: it stands still in process {task.pid} on {reason_words.plain(task.host)}",
            "mend it, and run the cell of the task again, or restart that worker; no row has failed of it",
        )
        for task in facts.stopped
    ]


def what_is_frozen(worker: FrozenWorker) -> str:
    return f"{worker.why}: process {worker.pid} on {reason_words.plain(worker.host)}; it runs nothing"


def go_on(worker: FrozenWorker) -> str:
    return f"let it go on (fg in its terminal, or kill -CONT {worker.pid}), or end it"


def limits_reached(base: str, queue: str, facts: QueueFacts) -> list[Why]:
    """Return which limits of a queue hold its jobs back just now."""
    found = []
    if facts.most_active is not None and facts.active >= facts.most_active:
        why = f"queue {queue!r} is at its global concurrency: {facts.active} of {facts.most_active} run"
        fix = "wait, or raise the queue's global concurrency"
        found.append(Why(Urgency.IN_TIME, "full", base, why, fix))
    if facts.is_rate_limited:
        left = reason_words.span(facts.limited_ms)
        why = f"queue {queue!r} is rate limited for {left}: {facts.started:,} started in this window"
        if facts.started >= HELD_BY_HAND:
            why = f"queue {queue!r} is rate limited for {left} by a RateLimitError"
        found.append(Why(Urgency.IN_TIME, "limited", base, why, f"wait {left}"))
    return found + [_full(base, queue, limit) for limit in facts.full]


def _full(base: str, queue: str, limit: FullLimit) -> Why:
    """Say which limit by weight has no room for the next job."""
    rate, left = limit.rate, reason_words.span(limit.left_ms)
    why = (
        f"queue {queue!r} is limited until {reason_words.point(limit.ends)}, for {left} more: "
        f"{limit.used:,.10g} of {rate} are used up, and its next job weighs {limit.weight:,.10g}"
    )
    return Why(
        Urgency.IN_TIME, "full", f"{base} {rate.unit} {rate.ms}", why, f"wait {left}, or raise the limit"
    )


def in_line(base: str, queue: str, facts: QueueFacts, ahead: Sequence[FlowAhead]) -> Why:
    why = f"in line: {facts.waiting:,} wait in queue {queue!r}, {facts.active:,} run"
    before, cure = behind(ahead)
    if not before:
        return Why(Urgency.WELL, "line", base, why, f"wait, or start another Worker({queue!r}, ...)")
    return Why(Urgency.WELL, "line", base, f"{why}; {before}", f"wait, or {cure}")
