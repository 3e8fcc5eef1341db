"""A job packed by cloudpickle for another process: what was taken, and the function that runs it.

Packed jobs go through pipes and executors of the worker's own, never through Redis.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from functools import lru_cache
from typing import Any

from flownb.api.job import Job
from flownb.connection import Connection
from flownb.errors import OptionError, UnrecoverableError
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.retry_policy import BULLMQ
from flownb.worker.run import run
from flownb.worker.run_outcomes import outcome_of_error
from flownb.worker.work import Work


def need_cloudpickle() -> None:
    """Raise OptionError when functions cannot be packed, for want of cloudpickle."""
    try:
        import cloudpickle  # noqa: F401
    except ImportError:
        raise OptionError(
            'executor: to run functions in other processes, pip install "flownb[process]"'
        ) from None


def pack(taken: Taken, work: Work, prefix: str, address: dict[str, object]) -> bytes:
    """Pack a job and its function, as both are now; raise `UnrecoverableError` where that cannot be."""
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(work)
    except Exception as error:
        raise UnrecoverableError(
            f"its function cannot be sent to another process ({type(error).__name__}: {error}); "
            "make inside it what cannot be packed, such as open files, locks and connections"
        ) from None
    return pickle.dumps((taken, prefix, json.dumps(address), packed))


def run_packed(packed_job: bytes) -> Outcome:
    """Run a packed job in this process and return its outcome."""
    taken, prefix, address, packed = pickle.loads(packed_job)
    store = _store(address, prefix)
    try:
        work = pickle.loads(packed)
    except Exception as error:  # a module that is not here, or fails on import
        problem = UnrecoverableError(
            f"its function cannot be made in another process: {type(error).__name__}: {error}"
        )
        return outcome_of_error(taken, problem, BULLMQ, Job(taken.record, store=store))
    return run(taken, work, store, _wait_for)


@lru_cache(maxsize=8)
def _store(address: str, prefix: str) -> Store:
    return Store(Connection.client_from_address(json.loads(address)), prefix)


def _wait_for(awaitable: Any) -> Any:
    async def to_end() -> Any:
        return await awaitable

    return asyncio.run(to_end())
