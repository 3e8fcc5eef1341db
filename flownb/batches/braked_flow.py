"""A flow with brakes: what holds it, how it goes on, and what it will come to. `Batch` is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pandas as pd

from flownb.api.flow import Flow
from flownb.batches import braking, estimates
from flownb.batches.stored_batch import StoredBatch
from flownb.wire.flow_log import log_flow
from flownb.wire.pauses import PILOT


class BrakedFlow(Flow[Any]):
    """The part of a batch that brakes hold."""

    _stored: StoredBatch
    _has_warned = False  #: of a budget in a unit that nobody has told

    def resume(
        self, *, budget: Mapping[str, float] | None = None, max_failures: int | str | None = None
    ) -> Self:
        """Let a paused batch go on, whatever has paused it: by hand, its pilot, its budget or too many failures.

        `budget` and `max_failures` are as in `fan_out`; what is not named stays as it is. Failed rows are counted anew.
        Raises `FlowError`, which names both figures, while what was spent reaches the budget.

        >>> @task
        ... def ask(n):
        ...     spend(usd=0.5)
        ...     return n
        >>> batch = fan_out(range(9), ask, pilot=2, budget={"usd": 2}).wait(timeout=30)
        >>> batch.progress().paused
        'a pilot of 2 rows'
        >>> batch.resume(budget={"usd": 10}).wait(timeout=30).progress().spent
        {'usd': 4.5}
        """
        self._connection.ensure_writable()
        self._stored.record_now()
        braking.resume(self._stored, budget, max_failures)
        log_flow("is resumed", flow=self._stored.id)
        return self

    def estimate(self) -> pd.DataFrame:
        """Return what the batch will come to: a DataFrame low likely high, a row for each of these.

        *rows* of the batch, *seconds* that it still takes (as `Progress.eta`; of a paused one once it goes on), each
        unit that rows have spent and *failures*, in all, by the rows that have ended: the whole batch is between low
        and high nine times out of ten, where they were drawn at random. Missing before a row has ended.

        >>> @task
        ... def ask(n):
        ...     spend(usd=0.5)
        >>> batch = fan_out(range(100), ask, pilot=10).wait(timeout=30)
        >>> float(batch.estimate().loc["usd", "likely"])
        50.0
        """
        return estimates.estimate(self._stored, self.progress())

    def _is_held(self) -> bool:
        pause = braking.read_held(self._stored)
        if pause is not None and pause.brake == PILOT and not self._has_warned:
            self._has_warned = True
            braking.warn_of_units(self._stored)
        return pause is not None
