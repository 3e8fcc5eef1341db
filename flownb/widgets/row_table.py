"""The rows of a batch as a live view's table shows them: found, filtered and sorted here, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flownb.batches.jobs_of_rows import Row, RowLocation
from flownb.batches.label_search import LabelMatches, LabelSearch, label_text
from flownb.batches.row_choice import RowQuery, page_of, wanted_rows
from flownb.batches.row_facts import RowFacts
from flownb.batches.row_steps import step_at
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import printable
from flownb.files.references import MARK
from flownb.views.long_texts import in_a_line
from flownb.views.words import cut, first_line
from flownb.widgets import row_texts
from flownb.wire import codec
from flownb.wire.log_lines import PrintedLine
from flownb.wire.records import ACTIVE, REMOVED

SEARCH_SECONDS = 0.04  #: of a question's time, for making labels text
_LABEL_CHARACTERS, _CELL_CHARACTERS, _VERSION_CHARACTERS = 40, 60, 12
_LOG_ROWS = 50  # the last ones of a job of many rows, among which the last line of each row is looked for


class RowTable:
    """The rows of one batch: failed ones first, then running ones, then as in the frame, or as a page asks."""

    def __init__(self, stored: StoredBatch, facts: RowFacts) -> None:
        self._stored = stored
        self._facts = facts
        self._search: LabelSearch | None = None
        # Of the last page's rows that share jobs, by position: nothing changes them, and one takes all of its job's.
        self._inputs: dict[int, str] = {}

    def page(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Rows ``[position, label, state, progress, attempts, seconds, version, inputs, value, error, line, picture,
        spent]``.

        ``of`` is how many there are to the question, ``known`` of how many ``total`` rows it is known how they are, and
        ``searched`` how many labels were looked at. More labels than ``most`` have the text: further rows are left out.
        """
        query = RowQuery.read(message)
        found = self.find(query.text).below(len(self._facts)) if query.text else None
        wanted = wanted_rows(self._facts, query, found)
        positions = page_of(self._facts, wanted, query, found).tolist()
        end = query.start + len(positions)
        return {
            "rows": self._rows(positions),
            "of": len(wanted),
            "start": query.start,
            "next": end if end < len(wanted) else None,
            "known": self._facts.known,
            "searched": len(self._facts) if found is None else found.searched,
            "most": found and found.most,
            "total": len(self._facts),
        }

    def find(self, text: str) -> LabelMatches:
        """The rows whose label has this text in it."""
        index = self._stored.index
        if self._search is None or len(self._search) != len(index):  # an iterator's rows come later
            self._search = LabelSearch(index)
        return self._search.find(text, SEARCH_SECONDS)

    # ---- the rows of a page --------------------------------------------------------------------------

    def _rows(self, positions: list[int]) -> list[list[Any]]:
        stored = self._stored
        are_known = self._inputs.keys() >= set(positions)
        found = stored.rows.read_located(positions, inputs=not are_known)
        locations, rows = [location for location, _ in found], [row for _, row in found]
        self._facts.note(positions, rows)
        inputs = self._inputs
        if not are_known:
            texts = (in_a_line(row_texts.inputs_of(stored, row), _CELL_CHARACTERS) for row in rows)
            inputs = dict(zip(positions, texts, strict=True))
            shared = zip(positions, found, strict=True)
            self._inputs = {
                at: inputs[at] for at, ((_, n), row) in shared if n is not None and row.state != REMOVED
            }
        index = stored.index
        lines = self._last_lines(positions, locations)
        running = self._progress(rows, locations)
        return [
            [
                position,
                cut(label_text(index[position]), _LABEL_CHARACTERS),
                printable(row.state),
                self._how_far(row, running.get(locations[at][0], "")),
                row.attempts,
                None if row.seconds is None else round(1000 * row.seconds),
                cut(printable(row.version or ""), _VERSION_CHARACTERS),
                inputs[position],
                row_texts.value_in_a_line(stored, row, _CELL_CHARACTERS),
                first_line(row.error, _CELL_CHARACTERS) if row.error else "",
                lines.get(position, ""),
                MARK in (row.value or ""),
                row_texts.spent_in_words(row),
            ]
            for at, (position, row) in enumerate(zip(positions, rows, strict=True))
        ]

    def _how_far(self, row: Row, progress: str) -> str:
        """Which of several steps a row is at, and what it says itself."""
        step = step_at(row, self._stored.steps) if self._stored.steps else None
        return " ".join(filter(None, [f"at {printable(step)}" if step else "", progress]))

    def _progress(self, rows: Sequence[Row], locations: Sequence[RowLocation]) -> dict[str, str]:
        """What running jobs of one row say of how far they are."""
        alone = [
            key for row, (key, n) in zip(rows, locations, strict=True) if row.state == ACTIVE and n is None
        ]
        found = self._stored.store.jobs.read(alone, ("progress",)) if alone else []
        return {job.key: progress_words(job.progress) for job in found if job}

    def _last_lines(self, positions: Sequence[int], locations: Sequence[RowLocation]) -> dict[int, str]:
        """The last line that each row has printed or logged."""
        keys = list(dict.fromkeys(key for key, _ in locations))
        logs = dict(zip(keys, self._stored.store.jobs.read_logs_of_each(keys, last=_LOG_ROWS), strict=True))
        numbers = self._stored.rows.numbers_in_logs(place for place in locations if logs[place[0]])
        found = {}
        for position, (key, within) in zip(positions, locations, strict=True):
            lines = (PrintedLine.read(text) for text in reversed(logs[key]))
            number = numbers.get((key, within))
            line = next((line for line in lines if within is None or line.row == number), None)
            if line is not None:
                found[position] = first_line(line.text, _CELL_CHARACTERS)
        return found


def progress_words(progress: str | None) -> str:
    """A job's progress in a few words: percent where it is a number, as BullMQ's dashboards take it.

    >>> progress_words("42"), progress_words('{"pages": 3}'), progress_words(None)
    ('42 %', 'pages 3', '')
    """
    value = codec.decode(progress or "0")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.0f} %" if 0 < value <= 100 else ""
    return in_a_line(value, 24) if value else ""
