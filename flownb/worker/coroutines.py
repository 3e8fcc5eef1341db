"""Runs jobs of `async` functions in a worker's loop: many at a time, none of them with a thread of its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from flownb.wire.outcomes import Outcome
from flownb.worker.captured_output import log_of
from flownb.worker.event_loop import Loop, call_soon
from flownb.worker.lease_keeper import keeper
from flownb.worker.run import run_in_loop
from flownb.worker.run_outcomes import failed_as_stored, unbegun
from flownb.worker.runners import Runner
from flownb.worker.slots import Held, SlotsOfWorker
from flownb.worker.telling import RunOfJob
from flownb.worker.work import Work

HELD_UP_SECONDS = 0.25  # without a turn of the loop, after which what waits for one goes back to the server


class InLoop(Runner):
    """Runs one job as a task of the loop."""

    def __init__(self, loop: Loop, *given: Any) -> None:
        super().__init__(*given)
        self._loop = loop.started()
        self._context = loop.context
        self._task: asyncio.Task[None] | None = None

    def start(self, held: Held, work: Work, end: Callable[[Held, Outcome], None]) -> None:
        """In the loop: begin, and call `end` with the job and its outcome."""
        self._run = this = RunOfJob(held.taken, self._store, log_of(held.taken, work), held)
        self._task = self._loop.create_task(
            self._to_end(held, work, this, end),
            name=f"task {held.taken.record.name}",
            # What a job sets in its context no other job sees, also not one that begins as this one ends.
            context=self._context.copy(),
        )

    async def _to_end(
        self, held: Held, work: Work, this: RunOfJob, end: Callable[[Held, Outcome], None]
    ) -> None:
        try:
            outcome = await run_in_loop(
                this,
                work,
                self._store,
                lambda: self._is_given_up,
                partial(keeper.page.note_row, held.entry),
            )
        except BaseException as error:  # not the function's, which are outcomes
            outcome = failed_as_stored(held.taken, error)
        end(held, outcome)

    def kill(self) -> None:
        """Cancel the coroutine, from any thread."""
        self._is_given_up = True
        if self._task is not None:
            call_soon(self._loop, self._task.cancel)


class Coroutines:
    """The slots of a lane that are coroutines. The pump's thread calls `put` to `close`, the loop all others."""

    def __init__(self, worker: SlotsOfWorker, width: int) -> None:
        self.width = width
        self._of = worker
        self._loop = worker.running.loop
        # The pump's thread adds at one end, the loop takes from the other:
        self._waiting: deque[Held] = deque()
        self._running: set[Held] = set()  # the loop's alone
        self._asked_at: float | None = None  # since when the loop is to begin some; the loop takes it away

    def put(self, held: Held) -> None:
        held.in_loop = True
        self._waiting.append(held)
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._loop.started().call_soon_threadsafe(self._begin_some)

    def waiting(self) -> int:
        """Return how many jobs have not begun."""
        return len(self._waiting)

    def is_held_up(self, now: float) -> bool:
        """Say whether some coroutine keeps the loop from beginning others."""
        asked = self._asked_at
        return asked is not None and now - asked > HELD_UP_SECONDS

    def take_back(self) -> list[Held]:
        """Return the jobs that have not begun; they will not. One that the loop gets first runs: none is lost."""
        unstarted = []
        while self._waiting:
            try:
                unstarted.append(self._waiting.popleft())
            except IndexError:
                break
        return unstarted

    def abandon(self, held: Held) -> None:
        """Give up on a job that ran past its timeout; its place is free at once, whatever it makes of the cancel."""
        assert held.runner is not None  # it has started
        held.runner.kill()
        self._loop.started().call_soon_threadsafe(self._free, held)

    def close(self) -> None:
        for held in list(self._running):
            if held.runner is not None:
                held.runner.kill()

    # ---- in the loop --------------------------------------------------------------------------------

    def _begin_some(self) -> None:
        self._asked_at = None
        while self._waiting and len(self._running) < self.width:
            try:
                held = self._waiting.popleft()
            except IndexError:  # taken back
                return
            self._begin(held)

    def _begin(self, held: Held) -> None:
        of = self._of
        try:
            work = of.running.work_for(held.taken)
        except Exception as error:
            of.tell((held, failed_as_stored(held.taken, error), 0.0))
            return
        # It did, when it was looked at; an older version may be another.
        if not work.runs_in_loop(held.taken):
            of.tell(held)
            return
        for before_run in of.hooks.before_run:
            before_run(held.taken)
        began = keeper.page.begin(held.entry, of.entry, elsewhere=False)
        if not began:
            of.tell((held, unbegun(held.taken, held.held_since), 0.0))
            return
        held.runner = runner = InLoop(self._loop, of.running.work_for, of.running.store, self._loop.submit)
        held.started = began / 1e9
        self._running.add(held)
        runner.start(held, work, self._end)

    def _end(self, held: Held, outcome: Outcome) -> None:
        self._of.end(held, outcome, time.monotonic() - (held.started or 0.0))
        self._free(held)

    def _free(self, held: Held) -> None:
        self._running.discard(held)
        if self._waiting:
            self._begin_some()
