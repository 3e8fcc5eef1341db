"""flownb: build, run and watch job flows from a notebook.

A flow is a tree of jobs in Redis: a parent runs when its children have finished and receives their
values. The stored data are BullMQ's. Names are resolved when they are first used, so that
``import flownb`` loads neither pandas nor graphviz nor a Redis client, and touches no server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flownb import hooks

if TYPE_CHECKING:
    from flownb.adding.node import Node
    from flownb.api.doctor import doctor
    from flownb.api.flow import Flow, draw
    from flownb.api.job import Job
    from flownb.api.listing import flows
    from flownb.api.producer import FlowProducer, add
    from flownb.api.progress import Progress
    from flownb.api.queue import Queue
    from flownb.api.queue_events import QueueEvents
    from flownb.batches.batch import Batch, attach
    from flownb.batches.fan_out import fan_out
    from flownb.connection import Connection, connect
    from flownb.errors import (
        Cancelled,
        FlowError,
        FlowFailed,
        FlownbError,
        FlowStuck,
        JobMissing,
        JobTimeout,
        OptionError,
        RateLimitError,
        ReadOnly,
        ServerError,
        ServerRefused,
        ServerUnreachable,
        UnrecoverableError,
    )
    from flownb.tasks.task import chain, task
    from flownb.worker.worker import Worker, workers

__version__ = "0.1.0"

_HOMES = {
    "Batch": "batches.batch",
    "Cancelled": "errors",
    "Connection": "connection",
    "Flow": "api.flow",
    "FlowError": "errors",
    "FlowFailed": "errors",
    "FlowProducer": "api.producer",
    "FlowStuck": "errors",
    "FlownbError": "errors",
    "Job": "api.job",
    "JobMissing": "errors",
    "JobTimeout": "errors",
    "Node": "adding.node",
    "OptionError": "errors",
    "Progress": "api.progress",
    "Queue": "api.queue",
    "QueueEvents": "api.queue_events",
    "RateLimitError": "errors",
    "ReadOnly": "errors",
    "ServerError": "errors",
    "ServerRefused": "errors",
    "ServerUnreachable": "errors",
    "UnrecoverableError": "errors",
    "Worker": "worker.worker",
    "add": "api.producer",
    "attach": "batches.batch",
    "chain": "tasks.task",
    "connect": "connection",
    "doctor": "api.doctor",
    "draw": "api.flow",
    "fan_out": "batches.fan_out",
    "flows": "api.listing",
    "task": "tasks.task",
    "workers": "worker.worker",
}

__all__ = [  # noqa: RUF022 - in the order in which a reader meets them
    "connect",
    "Connection",
    "FlowProducer",
    "add",
    "Node",
    "Flow",
    "Progress",
    "Job",
    "Queue",
    "QueueEvents",
    "Worker",
    "task",
    "chain",
    "workers",
    "fan_out",
    "Batch",
    "attach",
    "flows",
    "draw",
    "doctor",
    "FlownbError",
    "FlowError",
    "OptionError",
    "FlowFailed",
    "FlowStuck",
    "JobMissing",
    "JobTimeout",
    "UnrecoverableError",
    "RateLimitError",
    "Cancelled",
    "ServerError",
    "ServerUnreachable",
    "ServerRefused",
    "ReadOnly",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flownb' has no attribute {name!r}")
    value = getattr(import_module(f"flownb.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _register_notebook_code(connection: Any) -> None:
    from flownb.worker.worker import register_notebook_code

    register_notebook_code(connection)


def _start_kernel_worker(connection: Any) -> None:
    from flownb.worker.worker import start_kernel_worker

    start_kernel_worker(connection)


def _frame_of_children(job: Any) -> Any:
    from flownb.batches.frames import frame_of_children

    return frame_of_children(job)


hooks.register_notebook_code = _register_notebook_code
hooks.start_kernel_worker = _start_kernel_worker
hooks.frame_of_children = _frame_of_children
