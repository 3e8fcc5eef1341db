"""Middleware that wakes who waits in this process for a batch, once the end of its root is written."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from flownb.api.batch_ends import batch_ends
from flownb.wire import keys
from flownb.wire.outcomes import Outcome
from flownb.worker.middleware import Middleware
from flownb.worker.settings import WorkerSettings

_BASE_OF = attrgetter("base")


class EndOfBatch(Middleware):
    """Looks for outcomes of the queue in which roots of batches are."""

    _base: str  # written by `on_start`

    def on_start(self, settings: WorkerSettings) -> None:
        self._base = keys.base(settings.connection.prefix, keys.BATCH_QUEUE)

    def on_answers(self, outcomes: Sequence[Outcome], answers: Sequence[str]) -> None:
        if self._base in map(_BASE_OF, outcomes):
            batch_ends.note()
