"""Retrying failed jobs: which ones, in which order, and what to say when one cannot run again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from flownb.errors import FlowError
from flownb.flows import tree
from flownb.options import JobOptions
from flownb.wire import codec, keys
from flownb.wire.records import FAILED
from flownb.wire.steering import MOST_STEERED
from flownb.wire.store import Store


def retry_one(store: Store, job: str) -> None:
    """Run one failed job again; raise FlowError, with the reason, when it cannot."""
    answer = retry(store, [job])[0]
    if answer != "done":
        raise FlowError(_refused(store, job, answer))


def retry_flow(store: Store, root: str) -> None:
    """Run every job of a flow again that failed by itself, from the leaves up."""
    below = list(tree.job_keys(store, root))[::-1]
    failed = [found.key for found in store.read_jobs(below, ("name",)) if found and found.state == FAILED]
    families = store.read_families(failed)
    retry_all(store, [job for job, family in zip(failed, families, strict=True) if not family[3]])


def retry_all(store: Store, jobs: Sequence[str]) -> None:
    """Run failed jobs again; what is on its way already goes on, what must wait for a running parent is told."""
    answers = retry(store, jobs)
    held = [
        (job, answer) for job, answer in zip(jobs, answers, strict=True) if answer.startswith("parent-active")
    ]
    if held:
        others = f"; {len(held) - 1:,} more wait for the same" if len(held) > 1 else ""
        raise FlowError(_refused(store, *held[0]) + others)


def retry(store: Store, jobs: Sequence[str]) -> list[str]:
    """Ask for failed jobs to run again, in calls of 500; return the answers of ``lua/retry_jobs.lua``."""
    token, answers = secrets.token_hex(8), list[str]()
    for start in range(0, len(jobs), MOST_STEERED):
        some = jobs[start : start + MOST_STEERED]
        found = store.read_jobs(some, ("name", "opts"))
        lifo = [JobOptions.from_wire(codec.decode(job.opts)).lifo if job else False for job in found]
        answers += store.retry_jobs(list(zip(some, lifo, strict=True)), token=token)
    return answers


def _refused(store: Store, job: str, answer: str) -> str:
    word, _, other = answer.partition(" ")
    found = store.read_jobs([job, other] if other else [job], ("name",))
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
    if word == "missing":
        return f"job {names[0]!r} is not on this server any more"
    state = found[0].state if found[0] else "gone"
    return f"job {names[0]!r} is {state}; only a failed job can be retried"
