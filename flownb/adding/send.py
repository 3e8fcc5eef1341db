"""Sending a plan, with its flow's record, to the server: one call up to 1,000 jobs, sealed chunks above."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from flownb.adding.add_call import AddCall
from flownb.adding.chunks import calls_of
from flownb.adding.planned_job import Plan
from flownb.adding.removal_options import field_of
from flownb.errors import Cancelled, FlowError, ServerError, ServerUnreachable
from flownb.wire import keys
from flownb.wire.flow_log import log_flow
from flownb.wire.job_rows import FieldRow, FlowRecord
from flownb.wire.lease_records import OwnRun
from flownb.wire.store import Store
from flownb.wire.store.limits import MOST_BYTES_A_CALL, MOST_JOBS_A_CALL

CALLS_AHEAD = 2  # made ready before the server has answered

SAME_CALL_AGAIN = "a part may be stored; the same call again stores the rest, and nothing twice"

CutShort = ServerError | KeyboardInterrupt


def store_plan(
    store: Store,
    plan: Plan,
    name: str | None = None,
    about: Mapping[str, str] | None = None,
    *,
    fresh: int = 0,
    when_cut_short: Callable[[CutShort], str] = lambda _: SAME_CALL_AGAIN,
) -> list[str]:
    """Store a plan; return the ids of the jobs that were there. `about` are further fields of the flow's record.

    Up to 1,000 jobs go in one call, all or nothing. More go in chunks behind sealed parents: none can run before
    its last child is stored. Storing the same plan again finishes what was begun. Raises `JobExists` where one of the
    `fresh` first jobs is another flow's, of chunks where the root is, and `Overtaken`, with nothing stored, where the
    name's rows are not those that the plan has `seen`.

    Where the server refuses or does not answer, or the caller is interrupted, and a part may be stored,
    `when_cut_short` sees to that part; the error says what it returns.
    """
    fields = fields_of(plan, name, about)
    record = record_of(plan, name, fields)
    calls: list[AddCall] = []
    try:
        existing = send(store, plan, record, fresh=fresh, answered=calls.append)
    except Cancelled:
        raise FlowError(
            f"flow {fields['name']!r} was cancelled while it was being stored; the rest of it was not stored"
        ) from None
    except (ServerError, KeyboardInterrupt) as error:
        raise saying(error, len(calls), when_cut_short) from None
    log_flow(f"is stored, jobs: {len(plan.jobs):,}", flow=plan.flow)
    return existing


def record_of(plan: Plan, name: str | None, fields: Mapping[str, str]) -> FlowRecord:
    """Return the record of a plan's flow as it goes with each of its calls."""
    return FlowRecord(
        id=plan.flow, name=name, fields=fields, joins=plan.joins, paused=plan.paused, seen=plan.seen
    )


def fields_of(plan: Plan, name: str | None, about: Mapping[str, str] | None) -> dict[str, str]:
    """Return what the record of a plan's flow says from the start on, but for when it was stored."""
    fields = {"name": name or plan.root.name, "root": plan.root.key, "total": str(len(plan.jobs))}
    return fields | field_of(plan) | dict(about or {})


def saying(error: CutShort, calls: int, when_cut_short: Callable[[CutShort], str]) -> CutShort:
    """Return the error of a call with words on what is stored now, when so many `calls` had been carried out before."""
    is_refusal = isinstance(error, ServerError) and not isinstance(error, ServerUnreachable)
    what = "nothing was written" if is_refusal and not calls else when_cut_short(error)
    if isinstance(error, ServerError):
        return type(error)(f"{error}; {what}")
    error.add_note(what)
    return error


def send(
    store: Store,
    plan: Plan,
    record: FlowRecord | None,
    under: OwnRun | None = None,
    at_last: Sequence[FieldRow] = (),
    *,
    fresh: int = 0,
    answered: Callable[[AddCall], object] = lambda call: None,
) -> list[str]:
    """Send a plan whose flow has this record; return the ids that were there, as `store_plan` does.

    `under` is the run of the root that gets children; `at_last` are further fields, stored with the last job.
    `answered` is called after each call of a large plan that the server has carried out.
    """
    if len(plan.jobs) <= MOST_JOBS_A_CALL and sum(job.size for job in plan.jobs) <= MOST_BYTES_A_CALL:
        call = AddCall(plan)
        call.add(range(plan.grows, len(plan.jobs)))
        call.release(i for i, job in enumerate(plan.jobs) if job.children)
        call.fields += at_last
        whole = record and replace(record, is_stored=True)
        return store.jobs.add(call.bases, record=whole, fresh=fresh, own_run=under, **call.arguments())[1]
    return _send_sealed(store, plan, record, under, at_last, fresh, answered)


def _send_sealed(
    store: Store,
    plan: Plan,
    record: FlowRecord | None,
    under: OwnRun | None,
    at_last: Sequence[FieldRow],
    fresh: int,
    answered: Callable[[AddCall], object],
) -> list[str]:
    """Send a large plan call by call, each made ready while the server is busy with the one before.

    In order, and never one after a call that failed: the last call lets the parents go.
    """
    seal = keys.seal(plan.prefix, plan.flow)
    failed = threading.Event()

    def send(call: AddCall, is_first: bool, is_last: bool) -> list[str]:
        if failed.is_set():
            return []
        try:
            about = record and replace(record, is_stored=is_last, seen=record.seen if is_first else None)
            if is_last:
                call.fields += at_last
            found = store.jobs.add(
                call.bases,
                record=about,
                seal=seal,
                fresh=int(is_first and fresh > 0),
                own_run=under,
                **call.arguments(),
            )[1]
            answered(call)
            return found
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="flownb-producer") as sender:
        sent: list[Future[list[str]]] = []
        try:
            for call, is_last in _sealed(plan):
                sent.append(sender.submit(send, call, not sent, is_last))
                if len(sent) > CALLS_AHEAD:
                    sent[-1 - CALLS_AHEAD].result()
            return [id for one in sent for id in one.result()]
        except BaseException:  # also an interrupt: what is not on its way stays here
            failed.set()
            raise


def _sealed(plan: Plan) -> Iterator[tuple[AddCall, bool]]:
    missing = {i: len(job.children) for i, job in enumerate(plan.jobs) if job.children}
    first = int(plan.grows)  # the root is there already
    for some in calls_of([job.size for job in plan.jobs[first:]]):
        positions = range(some.start + first, some.stop + first)
        call = AddCall(plan)
        call.add(positions)
        whole = []
        for i in positions:
            for parent in plan.jobs[i].parents:
                missing[parent] -= 1
                if not missing[parent]:
                    whole.append(parent)
        call.release(whole)
        yield call, positions.stop == len(plan.jobs)


def taken(plan: Plan, key: str, state: str | None = None) -> FlowError:
    """Return the refusal of an id that is there already."""
    _, queue, id = keys.split(key)
    return FlowError(
        f"{plan.path(key)}: opts.jobId {id!r} is there already in queue {queue!r}{f' ({state})' if state else ''}; "
        "give another jobId, or if_exists='reuse' or 'rerun'"
    )
