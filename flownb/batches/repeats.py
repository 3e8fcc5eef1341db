"""Rows with equal arguments that run once: which rows of the frame one run stands for (``fan_out(unique=True)``)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from flownb.batches.rows import Rows


@dataclasses.dataclass(frozen=True)
class Repeats:
    """Which run each row of the frame is of; runs are numbered as their first rows stand."""

    runs: list[int]  #: of each row of the frame: the number of its run

    def first_rows(self) -> list[int]:
        """Return the first row of each run.

        >>> Repeats([0, 1, 0, 2]).first_rows()
        [0, 1, 3]
        """
        found: list[int] = []
        for row, run in enumerate(self.runs):
            if run == len(found):
                found.append(row)
        return found

    def among(self, rows: Iterable[int]) -> dict[int, list[int]]:
        """Return the runs of these rows, each with those that it is of.

        >>> Repeats([0, 1, 0, 2]).among([2, 3])
        {0: [2], 2: [3]}
        """
        found: dict[int, list[int]] = {}
        for row in rows:
            found.setdefault(self.runs[row], []).append(row)
        return found

    def in_several(self, groups: Sequence[Iterable[int]]) -> set[int]:
        """Return the runs that have rows in more than one of these groups of rows.

        >>> Repeats([0, 1, 0, 1]).in_several([[0, 1], [2]])
        {0}
        """
        times = Counter(run for rows in groups for run in {self.runs[row] for row in rows})
        return {run for run, n in times.items() if n > 1}


def run_once(rows: Rows) -> Rows:
    """Return the rows with equal ones run once; those that have no equal as they are.

    What goes row by row into jobs has one entry a run by then; index, labels and groups are still of all rows.
    """
    numbers: dict[str, int] = {}
    repeats = Repeats([numbers.setdefault(text, len(numbers)) for text in rows.by_content])
    if len(numbers) == len(rows.texts):
        return rows
    first = repeats.first_rows()
    return dataclasses.replace(
        rows,
        texts=[rows.texts[row] for row in first],
        ids=[rows.ids[row] for row in first],
        ids_before=[rows.ids_before[row] for row in first] if rows.ids_before else [],
        weights=None if rows.weights is None else [rows.weights[row] for row in first],
        repeats=repeats,
    )
