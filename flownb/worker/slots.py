"""The threads that run jobs, as many as a worker's concurrency, and the loop for `async` functions.

The threads are daemons, and not those of a `ThreadPoolExecutor`, which are joined at exit: a running job would hold up
the restart of a kernel until the kernel is killed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from flownb.errors import JobTimeout
from flownb.wire.outcomes import Outcome
from flownb.wire.store.job_records import Taken
from flownb.worker.captured_output import tell_once
from flownb.worker.lease_keeper import keeper
from flownb.worker.middleware import Hooks
from flownb.worker.own_calls import belongs_to
from flownb.worker.run_outcomes import failed_as_stored, unbegun
from flownb.worker.runners import Runner
from flownb.worker.settings import WorkerSettings
from flownb.worker.work import options_of

CANCEL_SECONDS = 2.0  # that cancelled coroutines have at the end


class Held:
    """A job that this worker holds: waiting for a slot, or running in one."""

    __slots__ = ("abandoned", "entry", "has_ended", "held_since", "runner", "started", "taken", "timeout")

    def __init__(self, taken: Taken) -> None:
        self.taken = taken
        self.entry = -1  # in the page that the keeper of leases reads
        self.held_since = time.monotonic()
        self.timeout = options_of(taken).timeout  # ms
        # The slot's thread writes the runner before the start: whoever sees that a job has started sees its runner.
        self.runner: Runner | None = None
        self.started: float | None = None  # monotonic time
        # The pump's thread writes this one. A slot that ends the job meanwhile, and sees False, does no harm: the pump
        # looks again when it takes the end out of its inbox.
        self.abandoned = False
        self.has_ended = False  # the pump's thread alone

    @property
    def deadline(self) -> float:
        """Monotonic time at which a job that has started, and has a timeout, is given up."""
        return (self.started or 0.0) + (self.timeout or 0) / 1000


class Slots:
    """Runs jobs in `concurrency` threads, each with its runner; `done(held, outcome, seconds)` is called in theirs."""

    def __init__(
        self,
        settings: WorkerSettings,
        make_runner: Callable[[], Runner],
        done: Callable[[Held, Outcome, float], None],
        hooks: Hooks,
        worker: int,
    ) -> None:
        self._settings = settings
        self._worker = worker  # the worker's entry in the page of held jobs
        self._make_runner = make_runner
        self._done = done
        self._before_run = hooks.before_run
        self._after_run = hooks.after_run
        self._runners: set[Runner] = set()  # each slot's thread adds and takes out its own
        self._waiting: SimpleQueue[Held | None] = (
            SimpleQueue()
        )  # the pump's thread puts, the slots get; None ends one

    def start(self) -> None:
        for _ in range(self._settings.concurrency):
            self._open_slot()

    def put(self, held: Held) -> None:
        self._waiting.put(held)

    def waiting(self) -> int:
        """Return how many jobs wait for a slot."""
        return self._waiting.qsize()

    def take_back(self) -> list[Held]:
        """Return the jobs no slot has started; they will not be. A slot that gets one first runs it: none is lost."""
        unstarted = []
        while not self._waiting.empty():
            held = self._waiting.get()
            if held is not None:
                unstarted.append(held)
        return unstarted

    def abandon(self, held: Held) -> Outcome:
        """Give up on a job that ran past its timeout: a process is killed, a coroutine cancelled; a thread goes on."""
        assert held.runner is not None  # it has started
        held.abandoned = True
        held.runner.kill()
        self._open_slot()
        limit = (held.timeout or 0) / 1000
        return held.runner.give_up(held.taken, JobTimeout(f"ran longer than its timeout of {limit:g} s"))

    def close(self) -> None:
        for _ in range(self._settings.concurrency):
            self._waiting.put(None)
        for runner in list(self._runners):
            runner.kill()

    def _open_slot(self) -> None:
        threading.Thread(target=self._work, name=f"flownb-{self._settings.name}-slot", daemon=True).start()

    def _work(self) -> None:
        belongs_to(self._settings.identity)
        runner = self._make_runner()
        self._runners.add(runner)
        page = keeper.page
        while (held := self._waiting.get()) is not None:
            runner.prepare()
            for before_run in self._before_run:
                before_run(held.taken)
            if not page.begin(held.entry, self._worker, elsewhere=runner.runs_elsewhere):
                self._done(held, unbegun(held.taken, held.held_since), 0.0)
                continue
            held.runner = runner
            held.started = started = time.monotonic()
            try:
                outcome = runner.run(held.taken, held.entry)
            except BaseException as error:  # not the function's, which are outcomes; the slot lives on
                outcome = failed_as_stored(held.taken, error)
            seconds = time.monotonic() - started
            if outcome.printed:
                tell_once()
            if not held.abandoned:
                page.end(held.entry)
            for after_run in self._after_run:
                after_run(held.taken, outcome, seconds)
            if held.abandoned:
                page.free(held.entry)
                break
            self._done(held, outcome, seconds)
        self._runners.discard(runner)
        runner.kill()


class Loop:
    """One asyncio loop in a thread of its own, for processors that are `async def`; made when one is first called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # slots start the loop, a closing thread ends it
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, awaitable: Any) -> Future[Any]:
        """Run an awaitable in the loop; the future that holds its result cancels it, too."""

        async def to_end() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(to_end(), self._started())

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name=f"flownb-{self._name}-asyncio", daemon=True
                ).start()
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, so that no slot waits for it any more, and end."""
        with self._lock:
            if self._loop is not None:
                asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
                self._loop = None


async def _cancel_all() -> None:
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=CANCEL_SECONDS)
    asyncio.get_running_loop().stop()
