"""The threads that run jobs: as many as are needed, up to the slots' width.

The threads are daemons, and not those of a `ThreadPoolExecutor`, which are joined at exit: a running job would hold up
the restart of a kernel until the kernel is killed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.captured_output import tell_once
from flownb.worker.event_loop import Loop
from flownb.worker.lease_keeper import keeper
from flownb.worker.middleware import Hooks
from flownb.worker.own_calls import belongs_to
from flownb.worker.run_outcomes import failed_as_stored, unbegun
from flownb.worker.runners import Runner
from flownb.worker.settings import WorkerSettings
from flownb.worker.work import Work, options_in

if TYPE_CHECKING:
    from flownb.worker.lanes import Lane


class Held:
    """A job that this worker holds: waiting for a slot, or running in one."""

    __slots__ = (
        "_unended",
        "abandoned",
        "entry",
        "has_ended",
        "held_since",
        "in_loop",
        "lane",
        "runner",
        "started",
        "taken",
        "timeout",
    )

    def __init__(self, taken: Taken, lane: Lane, now: float) -> None:
        self.taken = taken
        self.lane = lane  # whose slots run it
        self.in_loop = False  # as a coroutine, without a thread; written before it begins
        self.entry = -1  # in the page that the keeper of leases reads
        self.held_since = now  # monotonic time
        self.timeout = options_in(taken.record.opts).timeout  # ms
        # The slot's thread writes the runner before the start: whoever sees that a job has started sees its runner.
        self.runner: Runner | None = None
        self.started: float | None = None  # monotonic time
        self.abandoned = False  # given up, or given back; the pump's thread writes it
        self.has_ended = False  # the pump's thread alone
        self._unended = [None]  # empty once somebody has ended the run; one alone can take it out

    @property
    def deadline(self) -> float:
        """Monotonic time at which a job that has started, and has a timeout, is given up."""
        return (self.started or 0.0) + (self.timeout or 0) / 1000

    def end_run(self) -> bool:
        """Say whether the caller is the first to end the run: the slot that ran the job, or the pump that gives it up.

        Else the pump might give up a job that has just ended, and so end what its slot runs by then.
        """
        try:
            self._unended.pop()
        except IndexError:
            return False
        return True


End = tuple[Held, Outcome, float]  #: of a job that has run for so many seconds


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a worker's jobs run."""

    work_for: Callable[[Taken], Work]
    store: Store
    make_runner: Callable[[], Runner]  #: for each thread
    loop: Loop
    #: is a job's function, by all that is known before it begins, a coroutine's? None: none is
    is_async: Callable[[Taken], bool] | None


class SlotsOfWorker:
    """What all slots of a worker have in common: whose they are, what runs there, who is told of an end."""

    def __init__(
        self,
        settings: WorkerSettings,
        entry: int,
        running: Running,
        tell: Callable[[End | Held], None],
        hooks: Hooks,
    ) -> None:
        self.name = settings.name
        self.identity = settings.identity
        self.connection = settings.connection
        self.entry = entry  #: the worker's, in the page of held jobs
        self.running = running
        self.tell = tell  #: the pump of an end, or of a job that turns out to be for a thread
        self.hooks = hooks

    def end(self, held: Held, outcome: Outcome, seconds: float) -> bool:
        """A job's function has returned, in the thread or loop in which it ran; say whether that counts.

        It does not where the job was given up: its entry is the slot's to free then.
        """
        if outcome.printed:
            tell_once()
        if not held.abandoned:
            keeper.page.end(held.entry)
        for after_run in self.hooks.after_run:
            after_run(held.taken, outcome, seconds)
        counts = held.end_run()
        if counts:
            self.tell((held, outcome, seconds))
        else:
            keeper.page.free(held.entry)
        return counts


class Slots:
    """Runs jobs in up to `width` threads, each with its runner. The pump's thread alone calls what has no underscore.

    A thread is opened when a job finds none free.
    """

    def __init__(self, worker: SlotsOfWorker, width: int) -> None:
        self.width = width
        self.held = 0  #: jobs that were put here, have not ended and were not taken back
        self._of = worker
        self._threads = 0  # that run jobs, or wait for one
        self._runners: set[Runner] = set()  # each slot's thread adds and takes out its own
        self._waiting: SimpleQueue[Held | None] = SimpleQueue()  # None ends a thread

    def put(self, jobs: list[Held]) -> None:
        for held in jobs:
            self._waiting.put(held)
        self.held += len(jobs)
        while self._threads < min(self.held, self.width):
            self._threads += 1
            self._open_slot()

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

    def abandon(self, held: Held) -> None:
        """Give up on a job that ran past its timeout: a process is killed; a thread goes on, and another takes over."""
        assert held.runner is not None  # it has started
        held.runner.kill()
        self._open_slot()

    def close(self) -> None:
        for _ in range(self._threads):
            self._waiting.put(None)
        for runner in list(self._runners):
            runner.close()

    def _open_slot(self) -> None:
        threading.Thread(target=self._work, name=f"flownb-{self._of.name}-slot", daemon=True).start()

    def _work(self) -> None:
        of, page, waiting = self._of, keeper.page, self._waiting
        belongs_to(of.identity)
        runner = of.running.make_runner()
        self._runners.add(runner)
        while (held := waiting.get()) is not None:
            taken = held.taken
            runner.prepare(taken)
            for before_run in of.hooks.before_run:
                before_run(taken)
            began = page.begin(held.entry, of.entry, elsewhere=runner.runs_elsewhere)
            if not began:
                of.tell((held, unbegun(taken, held.held_since), 0.0))
                continue
            held.runner = runner
            held.started = started = began / 1e9
            try:
                outcome = runner.run(taken, held.entry, held)
            except BaseException as error:  # not the function's, which are outcomes; the slot lives on
                outcome = failed_as_stored(taken, error)
            if not of.end(held, outcome, time.monotonic() - started):
                break  # another thread has taken over
        self._runners.discard(runner)
        runner.close()
