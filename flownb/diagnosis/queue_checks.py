"""Checks of a queue's own keys."""

from __future__ import annotations

from collections.abc import Iterator

from flownb.diagnosis.findings import CheckContext, Finding
from flownb.diagnosis.queue_reasons import go_on, what_is_frozen
from flownb.wire import keys
from flownb.wire.lease_records import FrozenWorker


def check_queue(
    base: str, context: CheckContext, mistyped: dict[str, str] | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with a queue; `mistyped`: which of its keys have which wrong type, where that is known."""
    if mistyped is None:
        mistyped = context.store.queue_facts.read_mistyped(base)
    for name, kind in mistyped.items():
        yield key_of_another_type(base, name, kind, context)
    if context.store.queue_facts.has_endless_check(base):
        yield stalled_check_without_end(base, context)
    for worker in context.store.queue_facts.read_frozen(base):
        yield frozen_worker(base, worker, context)


def frozen_worker(base: str, worker: FrozenWorker, context: CheckContext) -> Finding:
    return context.finding("frozen", base, f"a worker of it {what_is_frozen(worker)}", advice=go_on(worker))


def key_of_another_type(base: str, name: str, kind: str, context: CheckContext) -> Finding:
    key = keys.part(base, name)
    what = f"its key {key} is a {kind}, so no worker can use the queue, and it was not looked into"
    return context.finding("type", base, what, advice="rename that key out of the way, then run this again")


def stalled_check_without_end(base: str, context: CheckContext) -> Finding:
    what = "no worker looks for jobs whose worker died: the mark of the last look does not run out"
    return context.finding("check", base, what, remedy="let workers look again")
