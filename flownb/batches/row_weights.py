"""What each row weighs in the units that its queue limits: told from its columns before anything is stored."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flownb.arguments import Rate, shown
from flownb.batches.columns import fragments_of
from flownb.batches.columns import shown as shown_label
from flownb.batches.input_table import InputTable
from flownb.errors import FlowError, OptionError
from flownb.tasks.weights import Weights, refuse_heavy, text_of


@dataclass(frozen=True)
class RowWeights:
    """How rows are weighed; `rates` are the limits of their queue that hold for them."""

    weights: Weights | None  #: None: nobody says what rows weigh
    rates: Sequence[Rate] = ()
    queue: str = ""

    def of(self, table: InputTable) -> list[str] | None:
        """Return what each row weighs, as its job says it. Raises FlowError for one that is heavier than a limit."""
        if self.weights is None:
            return None
        columns = self._columns_of(table, self.weights)
        if not columns:
            return [self._of_row(self.weights, {}, table, 0)] * len(table.index) if len(table.index) else []
        rows = zip(*columns.values(), strict=True)
        return [
            self._of_row(self.weights, dict(zip(columns, row, strict=True)), table, position)
            for position, row in enumerate(rows)
        ]

    def _of_row(self, weights: Weights, values: dict[str, Any], table: InputTable, position: int) -> str:
        row = f"row {shown_label(table.index[position])}"
        try:
            found = weights.of(values)
        except OptionError as error:
            raise FlowError(f"{row}: {error}") from error.__cause__
        refuse_heavy(found, self.rates, self.queue, row)
        return text_of(found)

    def _columns_of(self, table: InputTable, weights: Weights) -> dict[str, list[Any]]:
        """Return the columns that tell a row's weight, each cell as the task would get it."""
        found = {}
        for name in weights.names:
            if name in table.columns:
                found[name] = [json.loads(fragment) for fragment in fragments_of(table.columns[name])]
            elif name not in weights.optional:
                near = difflib.get_close_matches(name, list(table.columns), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise FlowError(f"weight: no column has the name {shown(name)}{hint}")
        return found


NO_WEIGHTS = RowWeights(None)
