"""Rows that go on in other jobs, as their next step has jobs of its own: where, and how these jobs are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from flownb.files.rows_in_files import RowsOfJob
from flownb.options import JobOptions
from flownb.tasks.weights import UNKNOWN
from flownb.wire import codec, keys, stored_steps
from flownb.wire.amounts import Amounts
from flownb.wire.job_rows import JobDetails, JobRow
from flownb.wire.many_rows import bind_of, data_of, positions_in, with_notes_of
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.patient_calls import patiently
from flownb.worker.row_results import RowResults
from flownb.worker.siblings import FIRST_PIECE_BEHIND, add_siblings
from flownb.worker.steps_so_far import StepsSoFar
from flownb.worker.work import Work

Moved = tuple[str, list[int]]
"""The key of a job, and the places of the rows that go on in it."""


class RowsGoingOn:
    """The rows of one run that have come to a step which runs in another job."""

    def __init__(
        self, taken: Taken, work: Work, store: Store, bind: Mapping[str, Any], rows: RowsOfJob
    ) -> None:
        self._taken = taken
        self._store = store
        self._bind = bind
        self._rows = rows
        self._here = range(work.first_step, work.last_step)  # the steps that run in this job
        self._steps = len(work.names)
        #: do rows go on in other jobs, once they are through the steps of this one?
        self.is_somewhere_else = self._here.stop < self._steps
        self.places: list[int] = []  #: rows that are to go on, and are this job's yet

    @property
    def stay_together(self) -> bool:
        """Are the rows on their way to a step that takes many of them at a time?"""
        return "together" in self._bind and self.is_somewhere_else

    def taken_out_of(self, open: list[int], steps: StepsSoFar | None) -> list[int]:
        """Return the open rows whose next step runs here; the others are to go on."""
        if steps is None:
            return open
        here = [place for place in open if len(steps.row(place).texts) in self._here]
        self.places = [place for place in open if len(steps.row(place).texts) not in self._here]
        return here

    def is_through(self, steps: StepsSoFar, place: int) -> bool:
        """Is a row through the steps of this job, and goes on in another one?"""
        return len(steps.row(place).texts) not in self._here

    def note_moved(self, results: RowResults) -> list[Moved]:
        """Note in the results in which jobs rows go on; return what is to be saved, then stored."""
        steps, moved = results.steps, results.value.moved
        if steps is None:
            return []
        by_step: dict[int, list[int]] = {}
        for place in sorted(self.places):
            by_step.setdefault(len(steps.row(place).texts), []).append(place)
        new = [(self._key(at, len(moved) + n), places) for n, (at, places) in enumerate(by_step.items())]
        moved += new
        self.places = []
        return new

    def _key(self, at: int, number: int) -> str:
        """Return the key of a job that begins with step `at`. A 0 in it tells it from jobs of delegated rows."""
        record, queue = self._taken.record, stored_steps.steps_in(self._bind)[at].queue
        return keys.job_in(keys.base(self._store.prefix, queue), f"{record.id}-0-{at}-{number}")

    def store_moved(self, moved: Iterable[Moved], results: RowResults) -> None:
        """Store the jobs in which rows go on. May be done again after a crash: it adds nothing twice."""
        if results.steps is None:
            return
        for key, places in moved:
            job, opts = self._job(key, places, results.steps, results.value.spent)
            patiently(partial(_add, self._store, self._taken, key, job, opts))

    def store_again(self, results: RowResults) -> None:
        """The run before may have ended before it stored them."""
        moved, values = results.value.moved, results.value.values
        self.store_moved(
            [one for one in moved if all(values[place] is not None for place in one[1])], results
        )

    def _job(
        self, key: str, places: Sequence[int], steps: StepsSoFar, spent: Mapping[int, Amounts]
    ) -> tuple[JobRow, str]:
        """Return the job for these rows and its options; what their steps have returned and spent goes along."""
        step = stored_steps.steps_in(self._bind)[len(steps.row(places[0]).texts)]
        every = self._rows.read()
        data = data_of(
            [codec.encode(every[place], "row") for place in places],
            [steps.text(place) for place in places],
            [spent.get(place, {}) for place in places],
        )
        delay = JobOptions.from_wire(json.loads(step.opts)).delay
        bind = _bind_of_next(self._bind, places)
        weights = UNKNOWN if step.is_weighed else None
        details = JobDetails(delay=delay, priority=self._taken.record.priority, bind=bind, weights=weights)
        return JobRow(1, keys.id_of(key), step.name, data, 1, 1, details), step.opts


def _add(store: Store, taken: Taken, key: str, job: JobRow, opts: str) -> None:
    """Add a job below each parent of the one that was taken."""
    base, piece = keys.base_of(key), _number_of_piece(key)
    add_siblings(store, taken, base=base, jobs=[job], opts=opts, piece=piece)


def _bind_of_next(bind: Mapping[str, Any], places: Sequence[int]) -> str:
    positions = positions_in(bind)
    labels, at = bind.get("labels"), [positions[place] for place in places]
    if labels is not None:
        labels = [labels[place] for place in places]
    elif "together" in bind and at[-1] - at[0] != len(at) - 1:
        labels = at  # numbers, of rows that do not follow each other
    steps = stored_steps.packed(stored_steps.steps_in(bind))
    return with_notes_of(bind, bind_of(at, labels=labels, steps=steps, has_kept=True))


def _number_of_piece(key: str) -> int:
    """Return where the job stands among pieces of its parents' children: behind all that were planned or delegated."""
    digest = hashlib.blake2b(key.encode(), digest_size=5).digest()
    return 2 * FIRST_PIECE_BEHIND + int.from_bytes(digest, "big")
