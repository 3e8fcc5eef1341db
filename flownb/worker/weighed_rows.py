"""Weighs a job of rows that have come to a step whose queue limits what calls weigh, before the job begins."""

from __future__ import annotations

import json

from flownb.api.job import Job
from flownb.errors import UnrecoverableError
from flownb.tasks.weights import sum_of, text_of
from flownb.wire import codec
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.hosts import InSlot
from flownb.worker.job_files import rows_of
from flownb.worker.run_outcomes import outcome_of_error
from flownb.worker.step_calls import RowsWithSteps
from flownb.worker.weighing import Weighed, weights_of
from flownb.worker.work import Work


def weighed_rows(taken: Taken, work: Work, store: Store) -> Outcome | None:
    """Return the outcome with which a job goes back in line, weighed; None where it is to run, as its rows fail."""
    calls = RowsWithSteps(taken, work, store, InSlot(lambda awaitable: None))
    kept = rows_of(taken, store).kept
    try:
        texts = []
        for place in range(json.loads(taken.record.bind or "{}")["rows"]):
            returned = [codec.encode(value, "value") for value in (kept[place] if place < len(kept) else ())]
            texts.append(text_of(weights_of(work.steps[0].task, calls.row_at(place, returned))))
    except (UnrecoverableError, OSError):  # the second of a file that an earlier step has returned
        return None
    return outcome_of_error(taken, Weighed(sum_of(texts)), work.retry, Job(taken.record, store=store))
