"""Waiting for a flow or a batch's rows: how often the server is asked, what a long silence says, what an end means."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple, TypeVar

from flownb.api.awaiting import end_if_given_up
from flownb.api.batch_ends import batch_ends
from flownb.api.job import Job
from flownb.api.job_end import LONGEST_PAUSE_SECONDS, pause_after
from flownb.api.waits_in_slots import waits_in_slots
from flownb.arguments import seconds
from flownb.connection import patience
from flownb.diagnosis.explain import explain
from flownb.diagnosis.flow_reasons import completed_without
from flownb.diagnosis.reasons import Reason, in_words
from flownb.errors import FlowFailed, FlowStuck, JobMissing, ServerError, ServerUnreachable, job_missing
from flownb.state import failed_jobs
from flownb.state.removed_jobs import count_removed
from flownb.state.stored_flow import COUNT_PATIENCE_SECONDS, StoredFlow
from flownb.wire import keys
from flownb.wire.records import ACTIVE, CANCELLED, COMPLETED

T = TypeVar("T")

FIRST_ROUND_SECONDS = 0.2  # of waiting, before the tree is read for what other programs have left unwritten
SILENCE_SECONDS = 10.0  # of waiting, after which a flow without running jobs is explained
RECHECK_SECONDS = 1.0  # before a flow is called stuck: jobs move while they are read, a lasting reason stays


def polls(stored: StoredFlow, timeout: Any, ask: Callable[[], T], *, handle: object) -> Iterator[T]:
    """Yield what `ask` answers, which asks the server how far the flow is, ever more rarely.

    Prints once why a flow without running jobs does not end. With a `timeout` the server may be away meanwhile.

    Raises FlowStuck for a flow that cannot end, and TimeoutError, which shows `handle`, once `timeout` is over and
    the flow was asked after it.
    """
    return waits_in_slots.noted(stored, _polls(stored, timeout, ask, handle))


def _polls(stored: StoredFlow, timeout: Any, ask: Callable[[], T], handle: object) -> Iterator[T]:
    limit = None if timeout is None else seconds(timeout, "timeout")
    started, is_explained, explain_at = time.monotonic(), False, SILENCE_SECONDS
    deadline = None if limit is None else started + limit
    while True:
        end_if_given_up()
        waited, lost, ends = time.monotonic() - started, None, batch_ends.count
        try:
            with patience.until(deadline):
                answer = ask()
        except ServerUnreachable as error:
            if limit is None:
                raise
            lost = error
        except JobMissing as error:
            raise _vanished(stored, error) from None
        else:
            yield answer
        left = LONGEST_PAUSE_SECONDS if deadline is None else max(deadline - time.monotonic(), 0.0)
        if limit is not None and (waited >= limit or (lost and not left)):
            raise _too_late(stored, handle, limit, lost)
        if waited > explain_at and not lost:
            with patience.until(deadline), suppress(*([ServerUnreachable] if limit is not None else [])):
                is_explained, explain_at = _explain(stored, is_explained), waited + SILENCE_SECONDS
        batch_ends.wait_for_more(ends, min(pause_after(waited), left))


def first_round(timeout: Any) -> float:
    """Return for how many seconds a wait leaves the tree unread: half of a short one, so that it reads it at all."""
    return (
        FIRST_ROUND_SECONDS if timeout is None else min(FIRST_ROUND_SECONDS, seconds(timeout, "timeout") / 2)
    )


def _vanished(stored: StoredFlow, error: JobMissing) -> JobMissing:
    """Return the error of a flow that is gone; where no flow is left at all, that the server has lost its data."""
    if next(iter(stored.store.flows.pages(1)), None) is not None:
        return error
    return JobMissing(
        f"{error}; the server holds no flow any more: this was its last one, or it came back without its data; add the "
        "flow again"
    )


def within(timeout: Any) -> AbstractContextManager[None]:
    """Let what is read in this thread end soon after a caller's timeout, which begins now."""
    return patience.until(None if timeout is None else time.monotonic() + seconds(timeout, "timeout"))


def _too_late(
    stored: StoredFlow, handle: object, limit: float, lost: ServerUnreachable | None
) -> TimeoutError:
    """Return the error that says what keeps the flow from ending; a lost server is asked nothing more."""
    shown = f"{type(handle).__name__}({stored.name!r})"
    if not lost:
        try:
            with patience.until(time.monotonic()):
                shown, why = repr(handle), in_words(reasons(stored))
            return TimeoutError(f"{shown} has not ended after {limit:g} s; {why}")
        except ServerError as error:
            return TimeoutError(f"{shown} has not ended after {limit:g} s; {error}")
    return TimeoutError(f"{shown} has not ended after {limit:g} s; {lost}")


def reasons(stored: StoredFlow) -> list[Reason]:
    """Return what keeps the flow from ending, the worst first; writes nothing."""
    return explain(stored.store, stored.flow_state, stored.record_now())


def _explain(stored: StoredFlow, is_explained: bool) -> bool:
    """Raise FlowStuck if the flow cannot end; print once what it waits for. Returns whether that is printed."""
    if stored.flow_state.counts(COUNT_PATIENCE_SECONDS).count(ACTIVE):
        return is_explained
    found = reasons(stored)
    lasting = [reason for reason in found if reason.lasts]
    if lasting:
        time.sleep(RECHECK_SECONDS)
        again = reasons(stored)
        lasting = [reason for reason in lasting if reason in again]
    if lasting:
        rest = [reason for reason in found if reason is not lasting[0]]
        raise FlowStuck(f"flow {stored.name!r} cannot end: {in_words([lasting[0], *rest])}")
    if not is_explained:
        print(f"flow {stored.name!r} waits: {in_words(found)}")
    return True


# ---- what the end means ---------------------------------------------------------------------------------


class FlowOutcome(NamedTuple):
    """How a flow ended, as `Flow.result` gives it."""

    value: Any
    failure: FlowFailed | None
    root_finished: int | None  #: ms; None where the root runs on in a flow that was cancelled

    def is_outdated(self, stored: StoredFlow) -> bool:
        """Say whether the root runs, or has ended, anew; not once it is removed."""
        root = stored.store.jobs.read([stored.root], ("finishedOn",))[0]
        return root is not None and root.finished_on != self.root_finished


def read_outcome(stored: StoredFlow) -> FlowOutcome:
    """Return the root's value, or the failure to raise, of a flow that has ended."""
    ended, cause = stored.flow_state.end()
    root = stored.store.jobs.read([stored.root], ("finishedOn", "returnvalue", "fl"))[0]
    finished = root.finished_on if root else None
    if ended == CANCELLED:
        return FlowOutcome(None, was_cancelled(stored), finished)
    if ended == COMPLETED:
        if root is None:
            raise job_missing(keys.short(stored.root, stored.store.prefix))
        return FlowOutcome(Job(root, store=stored.store).returnvalue, None, finished)
    return FlowOutcome(None, _failure(stored, cause), finished)


def warn_of_removed(stored: StoredFlow) -> None:
    """Warn of a value that was made without some of the children's, because another program removed those."""
    if removed := count_removed(stored.store, stored.flow_state):
        reason = completed_without(stored.record, removed)
        warnings.warn(f"flow {stored.name!r}: {reason.why}; {reason.fix}", UserWarning, stacklevel=3)


def was_cancelled(stored: StoredFlow) -> FlowFailed:
    return FlowFailed(f"flow {stored.name!r} was cancelled; retry() runs what is left of it")


def _failure(stored: StoredFlow, cause: str | None) -> FlowFailed:
    """Say which job failed the flow, by the names from the root down to it, and why it failed."""
    record, names = failed_jobs.root_cause(stored.store, cause, stored.root)
    if record is None:
        root = stored.store.jobs.read([stored.root], ("failedReason",))[0]
        said = f": {failed_jobs.describe(root.failed_reason)}" if root and root.failed_reason else ""
        return FlowFailed(f"flow {stored.name!r} failed, and the job that failed it was removed{said}")
    names[-1] = stored.name_of(record)
    return FlowFailed(
        f"flow {stored.name!r} failed: {' > '.join(names)}: {failed_jobs.describe(record.failed_reason)}"
    )
