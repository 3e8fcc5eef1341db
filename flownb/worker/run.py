"""Running one job: a pipeline over one record, from what was taken to the outcome that is written."""

from __future__ import annotations

import inspect
import json
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.errors import (
    Cancelled,
    FlowError,
    FlownbError,
    JobCrashed,
    JobTimeout,
    OptionError,
    RateLimitError,
    UnrecoverableError,
    WaitingChildren,
)
from flownb.options import CUSTOM, JobOptions, Keep, seconds
from flownb.tasks.binding import UnknownTask
from flownb.wire import codec
from flownb.wire.many_rows import holds_rows
from flownb.wire.store import Store, Taken
from flownb.wire.store.queue_facts import PUT_OFF_MS

log = logging.getLogger("flownb.worker")

MOST_REASON = 2_000  # characters of an error's message that are stored
MOST_TRACE = 16_000  # characters of a traceback that are stored

Processor = Callable[[Job], Any]
Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker does with a job: the function, and what its errors mean."""

    processor: Processor
    retry_on: tuple[type[BaseException], ...] | None = None  #: only these are worth another attempt
    #: how long to wait before the next attempt: called with attempts made, type of backoff, error, job
    backoff: Callable[[int, str, BaseException, Job], Any] | None = None
    stays: bool = False  #: it runs in the worker's own process in any case


def run(taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> Outcome:
    """Run a job and return its outcome; whatever the function does, this returns."""
    if holds_rows(taken.record.bind):
        from flownb.worker.run_rows import run_rows  # which is made of what is here

        return run_rows(taken, work, store, await_)
    return run_one(taken, work, store, await_)


def run_one(taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> Outcome:
    """The same for a job that is one call of the function."""
    if taken.deferred is not None:
        return failed(taken, taken.deferred, why=_why_deferred(taken.deferred))
    this = Run(taken.token)
    outcome = _outcome(taken, Job(taken.record, store=store, run=this), work, await_)
    # A function that catches everything cannot keep its job from waiting: its children are stored.
    return _parked(taken, this) if this.waits else outcome


def _outcome(taken: Taken, job: Job, work: Work, await_: Callable[[Any], Any]) -> Outcome:
    try:
        value = work.processor(job)
        if inspect.isawaitable(value):
            value = await_(value)
        return _completed(taken, value)
    except WaitingChildren:
        return returned(taken)  # the run says so itself
    except RateLimitError as error:
        return _held(taken, error, work, job)
    except UnknownTask:
        return put_off(taken)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: the job failed, the worker lives
        return judge(taken, error, work, job)


def judge(taken: Taken, error: BaseException, work: Work, job: Job) -> Outcome:
    """Another attempt, or the end: what an exception means for its job."""
    options = options_of(taken)
    reason, stacktrace = reason_of(error), _stacktrace(taken, error, options)
    if isinstance(error, Cancelled):
        return failed(taken, reason, stacktrace, "cancelled")
    final = isinstance(error, UnrecoverableError) or not _is_worth_another(error, work)
    made = taken.record.attempts_made + 1
    if not final and made < max(options.attempts, 1):
        try:
            delay = _wait_ms(taken, error, work, job)
        except Exception as problem:
            return failed(taken, f"{reason} (and its backoff: {reason_of(problem)})", stacktrace)
        if delay is not None:
            return {
                **_about(taken),
                "kind": "retry",
                "reason": reason,
                "stacktrace": stacktrace,
                "delay": delay,
                "lifo": options.lifo,
            }
        final = True
    why = "unrecoverable" if final else _WHY.get(type(error))
    return failed(taken, reason, stacktrace, why)


_WHY: dict[type[BaseException], str] = {JobTimeout: "timeout", JobCrashed: "crashed"}


def _is_worth_another(error: BaseException, work: Work) -> bool:
    """What is flownb's own is, always: the server was away, the time was over, the process died."""
    return work.retry_on is None or isinstance(error, (*work.retry_on, FlownbError))


def _wait_ms(taken: Taken, error: BaseException, work: Work, job: Job) -> int | None:
    """Return the wait before the next attempt; None when a function of the user's says that there is none."""
    backoff, made = options_of(taken).backoff, taken.record.attempts_made + 1
    if backoff.type != CUSTOM:
        return backoff.wait_ms(made)
    if work.backoff is None:
        log.warning(
            "job %s asks for a backoff of its own, for which this worker has no function: it waits %d ms",
            taken.record.key,
            backoff.delay,
        )
        return backoff.delay
    wait = work.backoff(made, json.loads(taken.record.opts)["backoff"]["type"], error, job)
    return None if wait is None else round(seconds(wait, "backoff") * 1000)


def failed(taken: Taken, reason: str, stacktrace: str | None = None, why: str | None = None) -> Outcome:
    """The end, badly: no further attempt."""
    return {
        **_about(taken),
        "kind": "failed",
        "reason": reason,
        "stacktrace": stacktrace or taken.record.stacktrace,
        "attempts": max(options_of(taken).attempts, 1),
        "why": why,
        **_kept(taken, "remove_on_fail"),
    }


def returned(taken: Taken) -> Outcome:
    """Not run at all: back to the head of the line, no attempt charged."""
    return {**_about(taken), "kind": "returned"}


def put_off(taken: Taken) -> Outcome:
    """Nobody here knows what to do with it: later, perhaps somebody else does."""
    return {**_about(taken), "kind": "put_off", "delay": PUT_OFF_MS}


def _parked(taken: Taken, this: Run) -> Outcome:
    """It waits for its children, without a slot; no attempt charged."""
    return {**_about(taken), "kind": "parked", **({"eager": this.eager} if this.eager else {})}


def options_of(taken: Taken) -> JobOptions:
    return _options(taken.record.opts)


def reason_of(error: BaseException) -> str:
    """Return an error as ``Type: message``, cut to a length a table can show."""
    try:
        message = str(error)
    except Exception:
        message = "(its message could not be made)"
    if isinstance(error, UnrecoverableError) and type(error) is UnrecoverableError:
        text = f"UnrecoverableError: {message}"
    else:
        text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MOST_REASON else f"{text[: MOST_REASON - 1]}…"


@lru_cache(maxsize=1024)
def _options(text: str) -> JobOptions:
    try:
        opts = json.loads(text)
    except ValueError:  # written by somebody else, and broken: run it as if it had none
        opts = {}
    return JobOptions.from_wire(opts if isinstance(opts, dict) else {})


def _about(taken: Taken) -> Outcome:
    return {
        "base": taken.base,
        "id": taken.record.id,
        "token": taken.token,
        "ats": taken.record.attempts_started,
    }


def _completed(taken: Taken, value: Any) -> Outcome:
    if value is None:
        text = "null"
    else:
        nan = "null" if taken.record.bind or taken.record.flow else "refuse"
        try:
            text = codec.encode(value, "the returned value", nan=nan)
        except FlowError as error:
            raise UnrecoverableError(str(error)) from None
    return {**_about(taken), "kind": "completed", "value": text, **_kept(taken, "remove_on_complete")}


def _kept(taken: Taken, option: str) -> Outcome:
    """What BullMQ's removal at once asks for; jobs of flownb's flows go with their flow."""
    if taken.record.flow is not None:
        return {}
    rule: Keep | None = getattr(options_of(taken), option)
    if rule is None:
        return {}
    age = None if rule.age is None else rule.age * 1000
    return {"keep": {"count": rule.count, "age": age, "limit": rule.limit}}


def _held(taken: Taken, error: RateLimitError, work: Work, job: Job) -> Outcome:
    try:
        hold = max(round(seconds(error.retry_after, "RateLimitError") * 1000), 1)
    except OptionError as problem:
        return judge(taken, UnrecoverableError(str(problem)), work, job)
    return {**_about(taken), "kind": "returned", "hold": hold}


def _why_deferred(reason: str) -> str:
    return "stalled" if "stalled" in reason else "child"


def _stacktrace(taken: Taken, error: BaseException, options: JobOptions) -> str:
    """The job's tracebacks with this one added, oldest first, at most its `stackTraceLimit`."""
    try:
        trace = "".join(traceback.format_exception(error.with_traceback(_in_user_code(error))))
    except Exception:
        trace = reason_of(error)
    trace = trace.encode("utf-8", "backslashreplace").decode()
    if len(trace) > MOST_TRACE:
        trace = f"{trace[: MOST_TRACE // 2]}\n...\n{trace[-MOST_TRACE // 2 :]}"
    try:
        before = json.loads(taken.record.stacktrace)
    except ValueError:
        before = []
    kept = [*before, trace][-options.stack_trace_limit :] if options.stack_trace_limit else []
    return json.dumps(kept, ensure_ascii=False)


_OWN_FRAMES = ("flownb.worker.", "flownb.tasks.")


def _in_user_code(error: BaseException) -> Any:
    """The traceback from behind the last frame that is the worker's own: a coroutine's has several."""
    start = step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").startswith(_OWN_FRAMES):
            start = step.tb_next
        step = step.tb_next
    return start or error.__traceback__
