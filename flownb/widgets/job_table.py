"""The jobs of a flow as a live view's table shows them: a page at a time, sorted or searched as a page asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flownb.errors import printable
from flownb.state.failed_jobs import failed_keys
from flownb.state.stored_flow import StoredFlow
from flownb.views.phases import waited_and_ran
from flownb.views.words import reason, shown
from flownb.wire import keys
from flownb.wire.records import ACTIVE, FAILED, JobRecord
from flownb.wire.store.job_records import TIMELINE_FIELDS

PAGE_ROWS = 50
MAX_SORTED = 5000  #: jobs of a flow that can be sorted by any column
MAX_SEARCHED = 10_000  #: jobs read for one page
_SEARCH_BATCH = 500  # jobs read at once

COLUMNS = ("name", "queue", "state", "attempts", "waited", "ran", "error")  #: of a row, after its job's key
_STATE = COLUMNS.index("state") + 1
_RANKS = {FAILED: 0, ACTIVE: 1}  # of states, without another order

Row = list[Any]


@dataclass(frozen=True)
class Query:
    """Which rows a page asks for."""

    start: int
    state: str | None
    queue: str | None
    text: str  #: in a job's name, whatever its case
    sort: str | None
    descending: bool

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Query:
        """The query in a page's message."""
        return cls(
            start=int(message.get("start") or 0),
            state=message.get("state") or None,
            queue=message.get("queue") or None,
            text=str(message.get("text") or "").strip().casefold(),
            sort=message.get("sort"),
            descending=bool(message.get("descending")),
        )

    @property
    def is_search(self) -> bool:
        """Say whether jobs have to be read to know whether they are asked for."""
        return bool(self.state or self.text)

    def accepts(self, record: JobRecord | None, name_of: Callable[[JobRecord], str]) -> bool:
        """Say whether a job, if there is one, has the state and the name that are asked for."""
        if record is None or self.state not in (None, record.state):
            return False
        return not self.text or self.text in name_of(record).casefold()


class JobTable:
    """A flow's jobs: failed ones first, then running ones, then as declared.

    Up to `MAX_SORTED` are put in any order; of more, those of one queue, or the failed ones, may be so few.
    """

    def __init__(self, flow: StoredFlow) -> None:
        self._flow = flow
        # Written by the thread that answers pages.
        self._keys: list[str] = []  # of all jobs, as declared
        self._keys_for: Any = None  # what was counted when they were read

    def page(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Rows from ``start`` on, and where the next page starts (None: there is none).

        ``of`` is how many rows there are in all. None: not all were read, but ``searched`` of ``among`` jobs.
        """
        query = Query.read(message)
        self._read_keys()
        wanted = [key for key in self._keys if query.queue in (None, keys.queue_of(key))]
        if len(wanted) > MAX_SORTED:
            wanted = self._failed_first(wanted, query)
        sortable = len(wanted) <= MAX_SORTED
        found = self._sorted(wanted, query) if sortable else self._searched(wanted, query)
        return {**found, "columns": list(COLUMNS), "sortable": sortable, "most_sorted": MAX_SORTED}

    def _read_keys(self) -> None:
        counts = self._flow.flow_state.counts()
        # Jobs that hold many rows delegate some to new jobs: then counts say more than their total.
        counted = counts if counts.rows_a_job else counts.total
        if counted != self._keys_for:
            self._keys = list(self._flow.flow_state.shape.jobs())
            self._keys_for = counted

    def _failed_first(self, wanted: list[str], query: Query) -> list[str]:
        """The server knows which jobs have failed: no others are read to find them."""
        if query.state not in (None, FAILED):
            return wanted
        failed = dict.fromkeys(failed_keys(self._flow.store, self._flow.flow_state.shape))
        among = set(wanted)
        first = [key for key in failed if key in among]
        return first if query.state else first + [key for key in wanted if key not in failed]

    def _sorted(self, wanted: list[str], query: Query) -> dict[str, Any]:
        """All are read, so they can be put in any order."""
        records = self._flow.store.jobs.read(wanted, TIMELINE_FIELDS)
        rows = [
            self._row(record) for record in records if record and query.accepts(record, self._flow.name_of)
        ]
        rows = _in_order(rows, query)
        end = query.start + PAGE_ROWS
        return {"rows": rows[query.start : end], "next": end if end < len(rows) else None, "of": len(rows)}

    def _searched(self, wanted: list[str], query: Query) -> dict[str, Any]:
        """No more is read than a page needs, and at most `MAX_SEARCHED` jobs; the next page goes on there."""
        rows: list[Row] = []
        position = query.start
        for position, record in self._read_on(wanted, query):  # noqa: B007 - where the search has stopped
            if record is not None and query.accepts(record, self._flow.name_of):
                rows.append(self._row(record))
                if len(rows) == PAGE_ROWS:
                    break
        found = {"rows": rows, "next": position if position < len(wanted) else None}
        if not query.is_search:
            return {**found, "of": len(wanted)}
        return {**found, "of": None, "searched": position, "among": len(wanted)}

    def _read_on(self, wanted: list[str], query: Query) -> Iterator[tuple[int, JobRecord | None]]:
        """The jobs from a page's start on, each with the position after it."""
        batch = _SEARCH_BATCH if query.is_search else PAGE_ROWS
        for first in range(query.start, min(len(wanted), query.start + MAX_SEARCHED), batch):
            records = self._flow.store.jobs.read(wanted[first : first + batch], TIMELINE_FIELDS)
            yield from enumerate(records, first + 1)

    def _row(self, record: JobRecord) -> Row:
        return [
            record.key,
            shown(self._flow.name_of(record), 80),
            shown(record.queue, 60),
            printable(record.state or "unknown"),
            record.attempts_made,
            *waited_and_ran(record),
            reason(record, 120) if record.failed_reason else None,
        ]


def _in_order(rows: list[Row], query: Query) -> list[Row]:
    """Rows by the column a page asks for, those without a value last; else by the rank of their states."""
    if query.sort not in COLUMNS:
        return sorted(rows, key=lambda row: _RANKS.get(row[_STATE], len(_RANKS)))
    column = COLUMNS.index(query.sort) + 1
    with_value = [row for row in rows if row[column] is not None]
    with_value.sort(key=lambda row: row[column], reverse=query.descending)
    return with_value + [row for row in rows if row[column] is None]
