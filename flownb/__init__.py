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
    from flownb.api.display import draw
    from flownb.api.doctor import doctor
    from flownb.api.du import du
    from flownb.api.every import every
    from flownb.api.flow import Flow
    from flownb.api.job import Job
    from flownb.api.listing import flows
    from flownb.api.producer import FlowProducer, add
    from flownb.api.progress import Progress
    from flownb.api.prune import prune
    from flownb.api.queue import Queue
    from flownb.api.queue_events import QueueEvents
    from flownb.api.spending import spend
    from flownb.batches.batch import Batch, attach
    from flownb.batches.fan_out import fan_out
    from flownb.connection import Connection, connect
    from flownb.errors import (
        Cancelled,
        FlowError,
        FlowFailed,
        FlownbError,
        FlowPaused,
        FlowStuck,
        JobElsewhere,
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
    from flownb.files.file import File
    from flownb.tasks.chain import chain
    from flownb.tasks.delayed import Delayed
    from flownb.tasks.row_errors import RowErrors
    from flownb.tasks.task import task
    from flownb.worker.task_worker import workers
    from flownb.worker.worker import Worker

__version__ = "0.1.0"

_HOMES = {
    "Batch": "batches.batch",
    "Cancelled": "errors",
    "Connection": "connection",
    "Delayed": "tasks.delayed",
    "File": "files.file",
    "Flow": "api.flow",
    "FlowError": "errors",
    "FlowFailed": "errors",
    "FlowPaused": "errors",
    "FlowProducer": "api.producer",
    "FlowStuck": "errors",
    "FlownbError": "errors",
    "Job": "api.job",
    "JobElsewhere": "errors",
    "JobMissing": "errors",
    "JobTimeout": "errors",
    "Node": "adding.node",
    "OptionError": "errors",
    "Progress": "api.progress",
    "Queue": "api.queue",
    "QueueEvents": "api.queue_events",
    "RateLimitError": "errors",
    "RowErrors": "tasks.row_errors",
    "ReadOnly": "errors",
    "ServerError": "errors",
    "ServerRefused": "errors",
    "ServerUnreachable": "errors",
    "UnrecoverableError": "errors",
    "Worker": "worker.worker",
    "add": "api.producer",
    "attach": "batches.batch",
    "chain": "tasks.chain",
    "connect": "connection",
    "doctor": "api.doctor",
    "draw": "api.display",
    "du": "api.du",
    "every": "api.every",
    "fan_out": "batches.fan_out",
    "flows": "api.listing",
    "prune": "api.prune",
    "spend": "api.spending",
    "task": "tasks.task",
    "workers": "worker.task_worker",
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
    "spend",
    "workers",
    "fan_out",
    "Batch",
    "attach",
    "File",
    "flows",
    "prune",
    "du",
    "every",
    "draw",
    "doctor",
    "FlownbError",
    "FlowError",
    "OptionError",
    "FlowFailed",
    "FlowPaused",
    "FlowStuck",
    "JobElsewhere",
    "JobMissing",
    "JobTimeout",
    "UnrecoverableError",
    "RateLimitError",
    "RowErrors",
    "Cancelled",
    "Delayed",
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


class _ImportedLater:
    """A module that is imported when one of its functions is first called."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(f"flownb.{self._module}"), name)


if TYPE_CHECKING:  # where mypy compares each module with its hook
    from flownb.batches import calls as _calls
    from flownb.batches import frames as _frames
    from flownb.views import dot as _dot
    from flownb.views import html as _html
    from flownb.views import progress_bar as _progress_bar
    from flownb.views import row_page as _row_page
    from flownb.views import table as _table
    from flownb.views import text as _text
    from flownb.views import timeline as _timeline
    from flownb.widgets import view as _view
    from flownb.worker import task_worker as _task_worker

    hooks.kernel_workers = _task_worker
    hooks.frames = _frames
    hooks.calls = _calls
    hooks.texts = _text
    hooks.drawings = _dot
    hooks.tables = _table
    hooks.timelines = _timeline
    hooks.pages = _html
    hooks.row_pages = _row_page
    hooks.bars = _progress_bar
    hooks.live_views = _view
else:
    hooks.kernel_workers = _ImportedLater("worker.task_worker")
    hooks.frames = _ImportedLater("batches.frames")
    hooks.calls = _ImportedLater("batches.calls")
    hooks.texts = _ImportedLater("views.text")
    hooks.drawings = _ImportedLater("views.dot")
    hooks.tables = _ImportedLater("views.table")
    hooks.timelines = _ImportedLater("views.timeline")
    hooks.pages = _ImportedLater("views.html")
    hooks.row_pages = _ImportedLater("views.row_page")
    hooks.bars = _ImportedLater("views.progress_bar")
    hooks.live_views = _ImportedLater("widgets.view")
