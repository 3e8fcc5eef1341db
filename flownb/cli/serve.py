"""`flownb worker`: serve the tasks of modules until a signal, or until a flow has ended."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

import flownb
from flownb.cli.console import refuse_to_make_a_server
from flownb.cli.flow_commands import find_flow, has_ended, how_it_ended
from flownb.errors import FlownbError

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.connection import Connection
    from flownb.worker.task_worker import TaskWorker

INTERRUPTED = 130
GRACE_SECONDS = 365 * 24 * 3600.0  # that running jobs have at the end: until they are done
POLL_SECONDS = 0.5  # between two questions whether the flow of --until has ended
SILENT_SECONDS = 0.3  # of closing, after which the wait is explained


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal, or until a flow has ended: then its end is the exit status."""
    from flownb.worker.setup_stops import KERNEL_WORKER
    from flownb.worker.task_worker import TaskWorker

    refuse_to_make_a_server()
    queues = _queues_asked_for(options)
    with flownb.connect() as connection:
        # Under the name of a kernel's own worker, so that a task that adds a flow does not start another.
        worker = TaskWorker(
            concurrency=options.concurrency,
            executor=options.executor,
            queues=queues,
            name=KERNEL_WORKER,
            connection=connection,
        )
        many = options.concurrency
        width = "as many at a time as they ask for" if many is None else f"{many} at a time"
        where = f"{width}, on {_server_of(connection)}"
        find = partial(find_flow, options.until, connection) if options.until else None
        return _serve(worker, where, find)


def _server_of(connection: Connection) -> str:
    return str(connection.path or connection.address().get("url") or "the server of FLOWNB_URL")


def _queues_asked_for(options: argparse.Namespace) -> list[str]:
    """Return the queues of the modules' tasks, or those of them that the user named."""
    queues = _queues_of(options.modules)
    for queue in options.queues or ():
        if queue not in queues:
            raise FlownbError(
                f"no task of queue {queue!r} in {', '.join(options.modules)}; there are {', '.join(queues)}"
            )
    return list(dict.fromkeys(options.queues or queues))


def _queues_of(modules: Sequence[str]) -> list[str]:
    """Import the modules and return the queues of their tasks."""
    from flownb.tasks import registry
    from flownb.tasks.task import Task

    here = os.getcwd()
    if here not in sys.path:  # where `python -m` finds modules first
        sys.path.insert(0, here)
    queues: dict[str, None] = {}
    for name in modules:
        before = set(registry.queues())
        module = _import(name)
        own = [value.queue for value in vars(module).values() if isinstance(value, Task)]
        own += [queue for queue in registry.queues() if queue not in before]
        if not own:
            raise FlownbError(f"{name}: defines no @flownb.task")
        queues.update(dict.fromkeys(own))
    return list(queues)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            hint = (
                f"; name the module, not its file: {name[:-3]}"
                if name.endswith(".py")
                else " here, nor installed"
            )
            raise FlownbError(f"there is no module {error.name!r}{hint}") from None
        raise FlownbError(_why(name, error)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the module's code raises, also SystemExit
        raise FlownbError(_why(name, error)) from None


def _why(name: str, error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f" ({Path(last.filename).name}, line {last.lineno})"
    if isinstance(error, SyntaxError):
        where = ""  # the message names file and line
    return f"{name}: cannot be imported: {type(error).__name__}: {error}{where}"


def _serve(worker: TaskWorker, where: str, find: Callable[[], Flow] | None) -> int:
    """Serve until the first signal or the end of a flow, then until what runs has ended, or the second signal."""
    stop, leave = threading.Event(), threading.Event()  # set by the first signal, by the second

    def on_signal(number: int, frame: FrameType | None) -> None:
        (leave if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    worker.start()  # before there is a handle, which would start a worker itself
    status = 0
    try:
        flow = find() if find else None
        print(f"flownb worker: serves {', '.join(worker.task_queues())}, {where}", flush=True)
        status = _wait(stop, flow)
    finally:
        stop.set()
        _close(worker, leave)
    return status


def _wait(stop: threading.Event, flow: Flow | None) -> int:
    """Wait for a signal or for the end of a flow; return the exit status."""
    if flow is None:
        stop.wait()
        return 0
    while not has_ended(flow, POLL_SECONDS):
        if stop.is_set():
            return 0
    status, text = how_it_ended(flow)
    print(f"flownb worker: {text}", flush=True)
    return status


def _close(worker: TaskWorker, leave: threading.Event) -> None:
    """Close the worker once its running jobs have ended, or leave them to others at once."""
    from flownb.worker.worker import holds_jobs  # other commands need no worker

    closing = threading.Thread(
        target=worker.close, args=[GRACE_SECONDS], name="flownb-cli-closing", daemon=True
    )
    closing.start()
    closing.join(SILENT_SECONDS)
    if closing.is_alive() and holds_jobs(worker):  # else only the server is slow
        print("flownb worker: waits for what still runs; stop it again to leave that to others", flush=True)
    while closing.is_alive():
        if leave.is_set():
            os._exit(INTERRUPTED)  # the lease keeper gives the jobs back at once
        closing.join(0.05)
