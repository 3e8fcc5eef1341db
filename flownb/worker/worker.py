"""The worker a user holds, and its options: serves queues with one function, from `start`, `run` or ``with`` on."""

from __future__ import annotations

import itertools
import math
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from flownb import connection as connections
from flownb.api.job import Job
from flownb.api.summary import summarise
from flownb.api.ticks import add_flow_of_tick
from flownb.arguments import flag, items, read_limiter, seconds, shown, whole
from flownb.connection import Connection
from flownb.errors import FlowError, OptionError
from flownb.lifecycle import Service
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.versions import refuse_newer
from flownb.worker.auto_remover import AutoRemover
from flownb.worker.event_loop import Loop
from flownb.worker.listeners import Listeners
from flownb.worker.middleware import Middleware
from flownb.worker.own_calls import refuse_own
from flownb.worker.presence import Presence
from flownb.worker.pump import JOIN_SECONDS, Pump
from flownb.worker.retry_policy import BackoffRetry
from flownb.worker.runners import read_executor, runner_factory
from flownb.worker.settings import WorkerSettings
from flownb.worker.slots import Running
from flownb.worker.vanished_data import VanishedData
from flownb.worker.work import Processor, Work

MOST_SLOTS = 5000
GRACE_SECONDS = 10.0  # that running jobs have at a close
GRACE_SECONDS_AT_EXIT = 1.0

_numbers = itertools.count(1)
_SUMMARY = Work(summarise, stays=True)
_TICK = Work(add_flow_of_tick, stays=True)
_running: dict[str, Worker] = {}  # by name; written by whoever starts or closes one


def is_running(name: str) -> bool:
    """Say whether this process runs a worker of that name."""
    return name in _running


def holds_jobs(worker: Worker) -> bool:
    """Say whether jobs run in a worker that was started, or wait there for a slot."""
    return worker._pump.holds_jobs()


class Worker(Service):
    """Serves one queue, or several, with a function that receives each `Job`.

    ``with Worker(...)``, `start` and `close`, or `run` for scripts. `concurrency` is how many jobs run at a
    time: each in a thread, or with ``executor="processes"`` each in a process, for functions that keep the
    interpreter busy. A `concurrent.futures.Executor` (a Dask client's, say) is taken too. `limiter` (``"5/s"``
    or ``{"max": 5, "duration": 1000}``) binds all workers of a queue together. `backoff_strategy` is BullMQ's:
    for jobs whose backoff is ``{"type": "custom"}``, called with attempts made, type, error and job, it returns
    how long to wait (seconds, a timedelta or ``"30s"``), None for no further attempt; it may be ``async``.

    A job whose worker dies runs again: at once on the same machine, after `lock_duration` and two
    `stalled_interval`s elsewhere; after more than `max_stalled_count` deaths it runs alone, and fails at its second
    death there. A job whose own process dies has failed an attempt.

    >>> def greet(job):
    ...     return f"hello {job.data['name']}"
    >>> flow = add({"name": "greet", "queueName": "doc-greetings", "data": {"name": "Ada"}})
    >>> with Worker("doc-greetings", greet):
    ...     flow.result(timeout=10)
    'hello Ada'
    """

    # Written by `start` and read by the worker's threads, which start after it.
    _prefix: str
    _store: Store
    _loop: Loop
    _pump: Pump
    # Made anew at each start; worker/middleware.py says in what order they are called.
    _hurries_former = True  # jobs of a worker that this one replaces have the grace, and no more, to end
    _middleware: tuple[Callable[[], Middleware], ...] = (Presence, VanishedData, AutoRemover)

    def __init__(
        self,
        queues: str | Iterable[str],
        processor: Processor,
        *,
        concurrency: int = 1,
        executor: Any = "threads",
        limiter: Any = None,
        backoff_strategy: Callable[[int, str, BaseException, Job], Any] | None = None,
        lock_duration: Any = "15s",
        stalled_interval: Any = "5s",
        max_stalled_count: int = 3,
        name: str | None = None,
        connection: Connection | None = None,
    ) -> None:
        super().__init__()
        self.queues = _queue_names(queues)
        if not callable(processor):
            raise OptionError(f"processor: a function that takes a job, not {type(processor).__name__}")
        if backoff_strategy is not None and not callable(backoff_strategy):
            raise OptionError("backoff_strategy: a function of attempts made, type, error and job")
        self._work = Work(processor, BackoffRetry(ask=backoff_strategy))
        self._calls_coroutine = self._work.is_async
        self.concurrency = whole("concurrency", concurrency, 1, MOST_SLOTS)
        self._executor = read_executor(executor)
        self._limiter = read_limiter(limiter)
        self._lock_ms = round(seconds(lock_duration, "lock_duration") * 1000)
        if self._lock_ms < 1000:
            raise OptionError("lock_duration: at least one second, so that a short pause loses no job")
        self._stalled_interval = seconds(stalled_interval, "stalled_interval")
        if self._stalled_interval < 0.1:
            raise OptionError("stalled_interval: at least 0.1 s")
        self._max_stalled_count = whole("max_stalled_count", max_stalled_count, 0, 1000)
        self.name = _checked_name(name)
        self._connection = connection
        self._listeners = Listeners()
        self._is_paused = False  # written by `pause` and `resume`, in any thread; the pump's reads it
        self._grace = GRACE_SECONDS  # written by `close` and `retire`
        self._retiring: threading.Thread | None = None  # waits for the end of what still runs
        # What its jobs and listeners are known by; written before the first of them runs, which may be while `start`
        # has not returned, and taken away when it ends.
        self._identity: str | None = None

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or Ctrl-C, then close; for scripts.

        >>> import os, signal
        >>> def last(job):
        ...     os.kill(os.getpid(), signal.SIGTERM)  # mostly systemd or Kubernetes does
        ...     return "done all the same"
        >>> flow = add({"name": "last", "queueName": "doc-script"})
        >>> Worker("doc-script", last).run()
        >>> flow.result(timeout=30)
        'done all the same'
        """
        stop = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            with self:
                stop.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on(self, event: str, function: Callable[..., object]) -> Self:
        """Have `function` called at what happens in this worker, from now on; returns the worker.

        ``ready``, ``active`` (with the job), ``completed`` (the job and its value), ``failed`` (the job and why, also
        where another attempt follows), ``paused``, ``resumed``, ``closing``, ``closed``. It is called in the worker's
        threads, and holds the worker up while it runs. What it raises is logged. `QueueEvents` tells of all workers.

        >>> from queue import SimpleQueue
        >>> heard, job = SimpleQueue(), Queue("doc-heard").add("mail")
        >>> with Worker("doc-heard", lambda job: 7).on("completed", lambda job, value: heard.put((job.name, value))):
        ...     heard.get(timeout=30)
        ('mail', 7)
        """
        self._listeners.add(event, function)
        return self

    def pause(self, wait: bool = True) -> None:
        """Take no more jobs until `resume`; other workers of the queue go on. Waits until what runs has ended.

        Without `wait` it returns at once. In one of the worker's own jobs or listeners, which would wait for itself, a
        wait raises `FlowError`.

        >>> with Worker("doc-resting", lambda job: 7) as worker:
        ...     worker.pause()
        ...     job = Queue("doc-resting").add("mail")
        ...     worker.resume()
        ...     job.wait_until_finished(timeout=30)
        7
        """
        wait = flag("wait", wait)
        if wait:
            refuse_own(self._identity, "pause()", "call pause(wait=False)")
        was_paused, self._is_paused = self._is_paused, True
        if self.running:
            self._pump.pause()
            if wait:
                self._pump.wait_until_idle()
        if not was_paused:
            self._listeners.tell("paused")

    def resume(self) -> None:
        """Take jobs again.

        >>> Worker("doc-resting", print).resume()
        """
        was_paused, self._is_paused = self._is_paused, False
        if self.running:
            self._pump.resume()
        if was_paused:
            self._listeners.tell("resumed")

    def close(self, grace: float = GRACE_SECONDS) -> None:
        """Take no more jobs, let the running ones end (at most `grace` seconds), write their results.

        Raises `FlowError` in one of the worker's own jobs or listeners, for which it would wait.

        >>> worker = Worker("doc-served", print).start()
        >>> worker.close(grace=60)
        >>> worker
        Worker('doc-served', concurrency=1, not running)
        """
        grace = seconds(grace, "grace")
        refuse_own(self._identity, "close()", "tell another thread to call it")
        if self._retiring is not None:
            self._pump.hurry(grace)
            self._retiring.join(grace + JOIN_SECONDS)
            return
        self._grace = grace
        super().close()

    def _retire(self) -> None:
        """End in the background: take no more jobs, and let those that run take the time that they need."""
        with self._lock:
            self._running = False
            self._grace = math.inf
            self._retiring = threading.Thread(target=self._end, name=f"flownb-{self.name}-end", daemon=True)
            self._retiring.start()

    def close_at_exit(self) -> None:
        """End with the interpreter: a kernel's restart is not held up by a long job, which runs again later.

        >>> Worker("doc-served", print).start().close_at_exit()
        """
        self.close(grace=GRACE_SECONDS_AT_EXIT)

    def _bases(self) -> list[str]:
        return [keys.base(self._prefix, queue) for queue in self._served()]

    def _served(self) -> list[str]:
        return list(self.queues) if keys.BATCH_QUEUE in self.queues else [*self.queues, keys.BATCH_QUEUE]

    def _begin(self) -> None:
        connection = connections.current(self._connection)
        connection.ensure_writable()
        self._prefix = connection.prefix
        self._store = Store(connection.client(), connection.prefix)
        refuse_newer(connection.client(), self._bases())
        if self.name is not None:
            # A cell that is run again replaces the worker that it made before, instead of doubling it.
            if former := _running.get(self.name):
                former.close() if self._hurries_former else former._retire()
            _running[self.name] = self
        settings = WorkerSettings(
            name=self.name or f"worker{next(_numbers)}",
            connection=connection,
            bases=self._bases,
            limiter_of=self._limiter_of,
            lane_of=self._lane_of,
            lock_ms=self._lock_ms,
            stalled_interval=self._stalled_interval,
            max_stalled_count=self._max_stalled_count,
        )
        self._identity = settings.identity
        self._loop = Loop(self.name or "worker", settings.identity)
        self._pump = Pump(
            settings,
            self._running_jobs(connection),
            [*(make() for make in self._middleware), self._listeners],
            lambda: self._is_paused,
        )
        self._listeners.on_more = self._pump.hooks.look
        self._pump.start()
        self._unhook = connection.on_close(self.close)

    def _running_jobs(self, connection: Connection) -> Running:
        submit = self._loop.submit
        return Running(
            work_for=self._work_for,
            store=self._store,
            make_runner=runner_factory(
                self._executor, connection.address(), self._work_for, self._store, submit
            ),
            loop=self._loop,
            is_async=self._is_async if self._executor == "threads" and self._calls_coroutine else None,
        )

    def _is_async(self, taken: Taken) -> bool:
        return taken.record.queue != keys.BATCH_QUEUE

    def _lane_of(self, base: str) -> tuple[str, int]:
        return "all", self.concurrency

    def _end(self) -> None:
        self._identity = None
        self._listeners.tell("closing")
        self._pump.stop(self._grace)
        self._unhook()
        self._loop.close()
        if self.name is not None and _running.get(self.name) is self:
            del _running[self.name]

    def _work_for(self, taken: Taken) -> Work:
        if taken.record.queue != keys.BATCH_QUEUE:
            return self._work
        return _SUMMARY if taken.scheduler is None else _TICK

    def _limiter_of(self, base: str) -> dict[str, int] | None:
        return self._limiter

    def __repr__(self) -> str:
        queues = ", ".join(map(repr, self.queues))
        return f"Worker({queues}, concurrency={self.concurrency}, {'running' if self.running else 'not running'})"


def _checked_name(name: Any) -> str | None:
    problem = None if name is None else keys.problem_with_name(name)
    if problem:
        raise OptionError(f"name: a worker's {problem}")
    return None if name is None else str.__str__(name)


def _queue_names(queues: str | Iterable[str]) -> list[str]:
    holds_more = isinstance(queues, Mapping) or hasattr(queues, "columns")  # its names are of something else
    given = [queues] if isinstance(queues, str) else None if holds_more else items(queues)
    if given is None:
        raise OptionError(f"queues: a queue's name, or a list of them, not {shown(queues)}")
    names = [keys.checked_queue(name) for name in given]
    if not names:
        raise FlowError("a worker serves at least one queue")
    return list(dict.fromkeys(names))
