"""Retries failed jobs: which ones, in which order, and what to say when one cannot run again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from flownb.errors import FlowError, job_missing
from flownb.files.folder_of_flow import find_folder
from flownb.files.rows_in_files import is_of_rows, of_rows, read_value
from flownb.options import JobOptions
from flownb.state.flow_state import FlowState, OwnFlowState
from flownb.state.seal import seal_of, unseal
from flownb.wire import codec, keys, many_rows, stored_steps
from flownb.wire.flow_log import log_flow
from flownb.wire.many_rows import RowsValue
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, JobRecord
from flownb.wire.requests import Retry
from flownb.wire.store import Store
from flownb.wire.store.limits import IDS_A_READ, JOBS_A_CHANGE, in_pieces

# How an answer begins that says why a job stays, whatever else is retried:
_HELD = ("parent-active", "damaged")
_REFUSALS = (*_HELD, "failed-children")


def retry_one(store: Store, job: str) -> None:
    """Run one failed job again; raise FlowError, with the reason, when it cannot.

    Jobs that were cancelled because it failed run again too: jobs above it wait for them.
    """
    found = store.jobs.read([job], ("name", "fl"))[0]
    flow = found.flow if found else None
    has_cancelled = flow is not None and store.flows.has_cancelled_jobs(flow)
    answer = _ask(store, [job], secrets.token_hex(8))[0]
    if answer == "missing":
        raise job_missing(keys.short(job, store.prefix))
    if answer != "done":
        raise FlowError(_refused(store, job, answer))
    log_flow("is retried by hand", flow=flow, job=job)
    if flow is not None and has_cancelled:
        flow_state = OwnFlowState(store, flow)
        retry_jobs(store, flow_state, _cancelled_in(store, flow_state))


def _cancelled_in(store: Store, flow_state: FlowState) -> list[str]:
    """Return the cancelled jobs of a flow that has ended by a failure, from the leaves up."""
    if flow_state.catch_up().state == CANCELLED:
        return []
    found = store.jobs.read(flow_state.shape.upwards(), ("name", "why"))
    return [job.key for job in found if job and job.why == "cancelled"]


def retry_flow(
    store: Store,
    flow_state: FlowState,
    jobs: Sequence[str] = (),
    rows: Mapping[str, list[int]] = MappingProxyType({}),
) -> None:
    """Run every job of a flow again that failed by itself, from the leaves up; before these, `jobs` with failed rows.

    All are asked for together: of two calls the second would run those again that have failed anew meanwhile. `rows`
    is as in `retry_jobs`.
    """
    flow_state.catch_up()
    record = flow_state.record()
    if "stored" not in record and record.get("ended") == CANCELLED:
        raise FlowError(f"flow {record['name']!r} was cancelled before all of it was stored; add it again")
    flow_state.explore()
    found = store.jobs.read(flow_state.shape.upwards(), ("name",))
    failed = [job.key for job in found if job and job.state == FAILED]
    counts = store.children.counts(failed)
    if record.get("ended") == CANCELLED:  # it is no more, also when there is nothing to run again
        store.jobs.retry([], token="", flow=flow_state.flow, base=keys.base_of(flow_state.root))
    own = [
        job
        for job, count in zip(failed, counts, strict=True)
        if not count.failed or _are_gone(store, store.children.read_failed(job))
    ]
    retry_jobs(store, flow_state, list(dict.fromkeys([*jobs, *own])), rows)
    if "stored" in record:  # what a retry that was cut short has left sealed
        unseal(store, flow_state)


def _are_gone(store: Store, jobs: Sequence[str]) -> bool:
    return len(store.jobs.read_missing(jobs)) == len(jobs)


def retry_state(store: Store, base: str, state: str, before: int) -> None:
    """Run all jobs of a queue again that have failed, or completed, until `before` (ms), the oldest first.

    Raises FlowError, once the others wait again, for those that cannot run: their children failed them, or a job above
    them runs.
    """
    done, token = _Retried(), secrets.token_hex(8)
    for jobs in in_pieces(_ended(store, base, state, before), JOBS_A_CHANGE):
        found = store.jobs.read(jobs, ("name", "fl", "bind"))
        done.note_cancelled(store, found)
        rows = {
            job.key: list(range(many_rows.rows_in(job.bind or "")))
            for job in found if job and state == COMPLETED and many_rows.holds_rows(job.bind)
        }  # fmt: skip
        done.note_answers(found, _ask(store, jobs, token, rows=rows, completed=state == COMPLETED))
    for flow in sorted(done.flows):
        log_flow("is retried by hand with its queue", flow=flow)
        if done.has_cancelled[flow]:
            flow_state = OwnFlowState(store, flow)
            retry_jobs(store, flow_state, _cancelled_in(store, flow_state))
    # Read anew: a parent waits again once its children were retried.
    now = store.jobs.read(list(done.refused), ("name",))
    _raise_refused(store, [(job.key, done.refused[job.key]) for job in now if job and job.state == state])


@dataclass
class _Retried:
    """What became of jobs of one queue that were retried together."""

    flows: set[str] = field(default_factory=set)  #: of which a job was retried
    has_cancelled: dict[str, bool] = field(default_factory=dict)  #: flow -> were jobs of it cancelled before?
    refused: dict[str, str] = field(default_factory=dict)  #: job -> the answer that says why

    def note_cancelled(self, store: Store, jobs: Sequence[JobRecord | None]) -> None:
        for flow in {job.flow for job in jobs if job and job.flow}:
            if flow not in self.has_cancelled:
                self.has_cancelled[flow] = store.flows.has_cancelled_jobs(flow)

    def note_answers(self, jobs: Sequence[JobRecord | None], answers: Sequence[str]) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            if job and job.flow and answer == "done":
                self.flows.add(job.flow)
            elif job and answer.startswith(_REFUSALS):
                self.refused[job.key] = answer


def _ended(store: Store, base: str, state: str, before: int) -> list[str]:
    """Return all jobs of a queue that ended so until `before`: read first, as retried ones take their parents along."""
    jobs: list[str] = []
    while ids := store.queues.read_oldest(base, state, len(jobs), IDS_A_READ, before):
        jobs += keys.jobs_in(base, ids)
    return jobs


def retry_jobs(
    store: Store,
    flow_state: FlowState,
    jobs: Sequence[str],
    rows: Mapping[str, list[int]] = MappingProxyType({}),
) -> None:
    """Run failed jobs of a flow again; those that wait again or run already go on. Raises FlowError for others.

    `rows` gives the positions of the rows that a many-row job runs again; its other rows keep their values.

    One call retries 100 jobs. Of more, the parents are sealed until the last call, so that none runs twice.
    """
    answers, token = list[str](), secrets.token_hex(8)
    seal = seal_of(store, flow_state) if len(jobs) > JOBS_A_CHANGE else None
    for start in range(0, len(jobs), JOBS_A_CHANGE):
        answers += _ask(store, jobs[start : start + JOBS_A_CHANGE], token, flow_state.flow, seal, rows)
    if seal:
        unseal(store, flow_state)
    log_flow(
        f"is retried by hand, failed jobs: {answers.count('done'):,}", flow=flow_state.flow or flow_state.root
    )
    answered = zip(jobs, answers, strict=True)
    _raise_refused(store, [(job, answer) for job, answer in answered if answer.startswith(_HELD)])


def _ask(
    store: Store,
    jobs: Sequence[str],
    token: str,
    flow: str | None = None,
    seal: str | None = None,
    rows: Mapping[str, list[int]] = MappingProxyType({}),
    completed: bool = False,
) -> list[str]:
    found = store.jobs.read(jobs, ("name", "opts", "bind"))
    holding_rows = [job for job in found if job and many_rows.holds_rows(job.bind)]
    parts = _with_rows(store, holding_rows, rows)
    asked = [
        parts.get(key, Retry(key))._replace(lifo=_lifo(job), completed=completed)
        for key, job in zip(jobs, found, strict=True)
    ]
    return store.jobs.retry(asked, token=token, flow=flow, seal=seal)


def _lifo(job: JobRecord | None) -> bool:
    return job is not None and JobOptions.from_wire(codec.decode_object(job.opts)).lifo


def _with_rows(store: Store, jobs: Sequence[JobRecord], rows: Mapping[str, list[int]]) -> dict[str, Retry]:
    """Say of each many-row job which rows run again: those that are asked for, and those that have not ended."""
    found = store.jobs.read([job.key for job in jobs], ("name", "part", "returnvalue", "fl", "why"))
    asked = {
        job.key: _of_rows(store, job, now, rows.get(job.key))
        for job, now in zip(jobs, found, strict=True)
        if now
    }
    for job, now in zip(jobs, found, strict=True):
        if now and stored_steps.has_steps(job.bind):
            retry = asked[job.key]
            asked[job.key] = retry._replace(steps=_steps_taken_back(store, job, now, retry.rows or ()))
    return asked


def _steps_taken_back(store: Store, job: JobRecord, now: JobRecord, rows: Iterable[int]) -> list[int]:
    """Return what the job's end has counted for the steps of these rows: see `Outcome.rows`."""
    bind, text = codec.decode_object(job.bind or "{}"), of_rows(now)
    if text is not None:
        value = read_value(text, lambda: find_folder(store, now.flow))
    else:
        data = store.jobs.read([job.key], ("name", "data"))[0] if bind.get("kept") else None
        value = RowsValue(codec.decode(data.data)["kept"] if data else [], open=list(rows))
    are_open_counted = now.why != "cancelled" and not _is_foreign(now)
    return value.steps_counted(len(bind["steps"]), rows, are_open_counted=are_open_counted)


def _is_foreign(job: JobRecord) -> bool:
    """Has another program's worker ended this many-row job? Then nothing was counted of its rows."""
    return job.returnvalue is not None and not is_of_rows(job.returnvalue)


def _of_rows(store: Store, job: JobRecord, now: JobRecord, rows: list[int] | None) -> Retry:
    text = of_rows(now)
    if text is None:  # none has run
        every = list(range(many_rows.rows_in(job.bind or "")))
        return Retry(job.key, rows=every, were_open=len(every))
    if now.returnvalue is not None and not _is_foreign(now):
        return Retry(job.key, rows=rows)
    value = read_value(text, lambda: find_folder(store, now.flow))
    open, were_open = _opened_again(value, value.errors if rows is None else rows)
    return Retry(job.key, rows=open, were_open=were_open, part=many_rows.reopened(text, open))


def _opened_again(value: RowsValue, rows: Iterable[int]) -> tuple[list[int], int]:
    """Return which rows of a job are open once these are to run again, and how many of them had not ended.

    Rows that were to go on in another job had not. Those that were to be handed on, and are not yet, the job's next run
    hands on: they stand in none of its lists.
    """
    here = {row for row in rows if value.rest is None or row < len(value.values)}
    before = set(value.open or ())
    return sorted(before | here), len(before | (here & value.moved_places))


def _raise_refused(store: Store, refused: Sequence[tuple[str, str]]) -> None:
    """Raise FlowError for jobs that were not retried, with the reason of the first."""
    if refused:
        others = f"; so it is with {len(refused) - 1:,} more" if len(refused) > 1 else ""
        raise FlowError(_refused(store, *refused[0]) + others)


def _refused(store: Store, job: str, answer: str) -> str:
    word, _, other = answer.partition(" ")
    found = store.jobs.read([job, other] if other else [job], ("name",))
    names = [
        record.name if record else keys.split(key)[2]
        for key, record in zip((job, other), found, strict=False)
    ]
    if word == "parent-active":
        return (
            f"job {names[0]!r} cannot run again now: {names[1]!r} above it runs with what it had; "
            "wait until that has ended, then retry"
        )
    if word == "failed-children":
        return f"job {names[0]!r} failed because its child {names[1]!r} did; retry that one, or the flow"
    if word == "damaged":
        return (
            f"job {names[0]!r} cannot run again: a key of it or of its queue is damaged; doctor() says which"
        )
    state = found[0].state if found[0] else "gone"
    return f"job {names[0]!r} is {state}; only a failed job can be retried"
