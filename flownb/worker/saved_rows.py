"""What is written down of the rows of a many-row job while they run: another run goes on from there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flownb.adding.child_jobs import Run
from flownb.errors import ServerError
from flownb.wire import stored_steps
from flownb.wire.amounts import NOTHING, Amounts, most
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.store.jobs import PartOfRows
from flownb.worker.job_files import JobFiles
from flownb.worker.patient_calls import patiently
from flownb.worker.row_results import RowResults
from flownb.worker.row_runners import RowRunner
from flownb.worker.row_spending import spent_before, tell_spent
from flownb.worker.rows_going_on import RowsGoingOn
from flownb.worker.steps_so_far import StepsSoFar
from flownb.worker.work import Work

FEW_ROWS = 4  # among which a slow one counts as all others
STEP_SECONDS = 0.05  # that a step takes at least after which the steps that are done are written down at once
SAVING_SHARE = 0.05  # of the time that writing down steps may take where these are large
LARGE_CHARACTERS = 100_000  # of what is written down, from which on that takes longer than the rest of a call


class SavedRows:
    """What the rows of one run of a job have come to, in memory and on the server."""

    def __init__(self, taken: Taken, store: Store, runner: RowRunner, work: Work) -> None:
        self.taken = taken
        self.store = store
        self.runner = runner
        self.record = taken.record
        self.bind: dict[str, Any] = json.loads(taken.record.bind or "{}")
        self.of_job = Run(taken)
        self.files = JobFiles(taken, store)
        self.going_on = RowsGoingOn(taken, work, store, self.bind, self.files.rows)
        self.open: list[int] = []  #: positions of the rows that this run has to run
        self.results = RowResults.empty(0)
        self.to_retry: list[int] = []  #: positions of rows that failed in this run, but not for good
        # Monotonic times: of the last save, and from which on steps may be saved again
        self.saved = self.next_save_of_steps = 0.0
        self._saved_characters = 0  # by the last save

    def read_left(self) -> PartOfRows:
        """Read what earlier runs have left, and what this one has told."""
        return patiently(lambda: self.store.jobs.read_part(self.record.key))

    def spent_before(self, left: PartOfRows | None) -> dict[int, dict[str, int]]:
        """Return what each row has spent, by what is saved and by what is `left`."""
        return spent_before(self.bind, self.files.rows, self.results.value.spent, left)

    def spent_so_far(self) -> Amounts:
        """Return what this run has spent, for a process that goes on with its rows."""
        if self.runner.has_crashed:
            told = self.read_left().spent.get(self.record.attempts_started, NOTHING)
            self.results.spent_now = most(self.results.spent_now, told)
        return self.results.spent_now

    def note_step(
        self, position: int, text: str, seconds: float, spent: Amounts
    ) -> Callable[[], None] | None:
        """A step of a row has ended, and another one follows. See `NoteStep` for what is returned."""
        steps = self.results.steps
        if steps is None:
            return None
        if spent:
            self.results.note_spent(position, spent)
        steps.note(position, text, seconds)
        if seconds < STEP_SECONDS:
            return None
        steps.is_worth_saving = True
        if not self.runner.left() and self.going_on.is_through(steps, position):
            return None  # the last row goes on in another job: the run ends now, and saves it
        return partial(self._save_noted, steps) if self.runner.notes_at_once else None

    def _save_noted(self, steps: StepsSoFar) -> None:
        with self.runner.lock:
            self.save_steps(steps, time.monotonic())

    def save_steps(self, steps: StepsSoFar, now: float) -> None:
        """Write down the steps that are done, if one took its time; where much is written, less often."""
        if steps.is_worth_saving and now >= self.next_save_of_steps:
            steps.is_worth_saving = False
            self.save()
            self.saved = time.monotonic()
            if self._saved_characters >= LARGE_CHARACTERS:
                self.next_save_of_steps = self.saved + (self.saved - now) / SAVING_SHARE

    def save(self, *, is_end: bool = False) -> None:
        """Write down what the rows have come to; at the end of the run in a file, where it is large."""
        part, open, counts = self.results.so_far(self.to_retry)
        self.save_part(self.files.keep(part, open) if is_end else part, counts)

    def save_part(self, part: str, counts: Sequence[int]) -> None:
        """Write down this text of what the rows have come to, and how many of them, and of their steps, have ended."""
        tell_spent(self.taken, self.store, self.results)
        (done, failed, *steps), own = counts, self.of_job.own
        base, id, save = self.taken.base, self.record.id, self.store.jobs.save_rows
        patiently(lambda: save(base, id, part, done=done, failed=failed, own_run=own, steps=steps))
        self.results.saved, self._saved_characters = counts, len(part)

    def write(self, field: str, text: str) -> None:
        """Write a field of the job, as long as the run counts."""
        base, id, own = self.taken.base, self.record.id, self.of_job.own
        patiently(lambda: self.store.jobs.update(base, id, field, text, own_run=own))

    def note_run_time(self, seconds: float) -> None:
        """Let the batch's next jobs hold as many rows as fit into a slice; the slowest row of many says little."""
        rows = len(self.open)
        if "slice" in self.bind and rows:
            if rows > FEW_ROWS:
                rows, seconds = rows - 1, seconds - max(self.results.value.ms) / 1000
            with contextlib.suppress(ServerError):
                name = stored_steps.timed_name(self.record.name, stored_steps.steps_in(self.bind))
                self.store.batch_rows.write_seconds(self.record.queue, name, max(seconds, 0.0) / rows)
