"""A job packed for another process: what was taken, and what runs it, which goes to a process once.

Packed jobs go through pipes and executors of the worker's own, never through Redis.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
import threading
from contextvars import copy_context
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from flownb.api.job import Job
from flownb.connection import Connection
from flownb.errors import OptionError, UnrecoverableError
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.captured_output import log_of
from flownb.worker.retry_policy import BULLMQ
from flownb.worker.run import run
from flownb.worker.run_outcomes import outcome_of_error
from flownb.worker.sent_rows import SentRows, run_sent_rows
from flownb.worker.telling import RunOfJob
from flownb.worker.work import Work

MOST_BYTES_KEPT = 500_000_000  # of packed functions, in a worker and in each process; the newest in any case

Key = TypeVar("Key")
Value = TypeVar("Value")


def need_cloudpickle() -> None:
    """Raise OptionError when functions cannot be packed, for want of cloudpickle."""
    try:
        import cloudpickle  # noqa: F401
    except ImportError:
        raise OptionError(
            'executor: to run functions in other processes, pip install "flownb[process]"'
        ) from None


class PackedWork(NamedTuple):
    """What runs jobs, packed."""

    digest: bytes
    data: bytes


class PackedJob(NamedTuple):
    """A job, packed, and what runs it; only the first goes to a process that has the second."""

    job: bytes
    work: PackedWork


class _Kept(Generic[Key, Value]):
    """The newest things, as many as are not too heavy together."""

    def __init__(self) -> None:
        self._kept: dict[
            Key, tuple[Value, int]
        ] = {}  # written under a lock, or by the one thread that runs jobs

    def get(self, key: Key) -> Value | None:
        """Return what is kept, the newest from now on."""
        found = self._kept.pop(key, None)
        if found is None:
            return None
        self._kept[key] = found
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        self._kept[key] = value, size
        weight = sum(size for _, size in self._kept.values())
        while weight > MOST_BYTES_KEPT and len(self._kept) > 1:
            weight -= self._kept.pop(next(iter(self._kept)))[1]


class WorkPacker:
    """Packs what a worker's slots run: tasks that stay as they are once, anything else as it is at each job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while one slot packs, so that the others need not
        self._kept = _Kept[tuple[Any, ...], PackedWork]()

    def pack(
        self,
        taken: Taken | None,
        work: Work,
        prefix: str,
        address: dict[str, object],
        rows: SentRows | None = None,
    ) -> PackedJob:
        """Pack a job, or some of its rows, and what runs it; without a job, what is to be made ready for one.

        Raises `UnrecoverableError` where it cannot be packed.
        """
        tasks = work.tasks
        # One that cannot be imported goes as a copy: its module was edited.
        key: tuple[Any, ...] = tuple((task, task.is_importable) for task in tasks)
        if not all(task.is_fixed for task in tasks):
            key = ()
        elif work.steps:
            key = (*key, *(step.opts for step in work.steps), work.names, work.first_step)
        with self._lock:
            packed = self._kept.get(key) if key else None
            if packed is None:
                packed = _pack_work(work)
                if key:
                    self._kept.put(key, packed, len(packed.data))
        job = pickle.dumps((taken, prefix, json.dumps(address), packed.digest, rows))
        return PackedJob(job, packed)


def _pack_work(work: Work) -> PackedWork:
    from flownb.worker.function_pickler import pack_function, what_cannot_be_packed

    try:
        data = pack_function(work)
    except Exception as error:
        name = what_cannot_be_packed(work.function)
        raise UnrecoverableError(
            f"its function cannot be sent to another process: {name or 'something that it uses'} cannot be packed "
            f"({type(error).__name__}: {error}); make inside the function what cannot be packed, such as open files, "
            "locks and connections"
        ) from None
    return PackedWork(hashlib.blake2b(data, digest_size=16).digest(), data)


# ---- in the other process ------------------------------------------------------------------------------

_works = _Kept[bytes, Work]()


class UnknownWork(Exception):
    """What runs a job has yet to be sent to this process."""


def run_packed(packed_job: bytes, packed_work: bytes = b"") -> Outcome | tuple[()] | tuple[str | None]:
    """Run a packed job in this process and return its outcome; raise `UnknownWork` when what runs it is not here.

    Without a job, what runs it is made ready for one, and returned is why that failed, if it did.

    Of rows that were sent it is the outcome with which the job's run ends early, or nothing.
    """
    taken, prefix, address, digest, rows = pickle.loads(packed_job)
    work, store = _works.get(digest), _store(address, prefix)
    if work is None:
        if not packed_work:
            raise UnknownWork
        try:
            work = pickle.loads(packed_work)
        except Exception as error:  # a module that is not here, or fails on import
            if taken is None:  # the job that comes says it
                return (None,)
            problem = UnrecoverableError(
                f"its function cannot be made in another process: {type(error).__name__}: {error}"
            )
            return outcome_of_error(taken, problem, BULLMQ, Job(taken.record, store=store))
        _works.put(digest, work, len(packed_work))
    if taken is None:
        return (work.prepare(),)
    if rows is None:
        return run(RunOfJob(taken, store, log_of(taken, work)), work, store, _wait_for)
    return run_sent_rows(taken, work, store, _wait_for, rows) or ()


@lru_cache(maxsize=8)
def _store(address: str, prefix: str) -> Store:
    return Store(Connection.client_from_address(json.loads(address)), prefix)


# Its loop, from its first coroutine on: what one of them loads is there for the next.
_of_thread = threading.local()


def _wait_for(awaitable: Any) -> Any:
    async def to_end() -> Any:
        return await awaitable

    if not hasattr(_of_thread, "runner"):
        _of_thread.runner = asyncio.Runner()
    # In the context of this run: a runner keeps that of its first one, and so whose amounts and lines it was.
    return _of_thread.runner.run(to_end(), context=copy_context())
