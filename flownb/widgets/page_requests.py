"""What a live view answers when a page asks: one job, a page of jobs, the timeline; and what its buttons do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flownb.api.flow import stored
from flownb.api.job import find_job, stored_job
from flownb.state.failures import failed_keys
from flownb.views import timeline as timelines
from flownb.views.phases import failed_runs
from flownb.views.words import cut, printable, reason, shown
from flownb.wire import codec, keys
from flownb.wire.records import ACTIVE, FAILED, JobRecord, Snapshot
from flownb.wire.store.job_records import BRIEF_FIELDS

if TYPE_CHECKING:
    from flownb.api.flow import Flow

PAGE = 50  #: rows of the table that a page shows
MOST_SORTED = 5000  #: jobs of a flow that can be sorted by any column
MOST_SEARCHED = 10_000  #: jobs read for one answer
MOST_APART = 12  #: jobs of an opened group that stand for themselves
_MOST_TEXT, _MOST_LOG = 3000, 60
_BUTTONS = ("pause", "resume", "cancel", "retry", "remove")


# ---- one job -------------------------------------------------------------------------------------------


def job(flow: Flow, key: str) -> dict[str, Any]:
    """All that is known of a job, as texts that are safe to show."""
    found = stored(flow)
    _, record = stored_job(find_job(found.store, key))
    traces = codec.decode(record.stacktrace or "[]")
    logs = found.store.jobs.read_logs(key)
    return {
        "key": key,
        "name": shown(found.name_of(record), 200),
        "id": shown(record.id, 100),
        "queue": shown(record.queue, 100),
        "state": printable(record.state or "unknown"),
        "attempts": record.attempts_made,
        "failed_runs": failed_runs(record),
        "created": record.timestamp,
        "started": record.processed_on,
        "ended": record.finished_on,
        "data": _pretty(record.data),
        "result": _pretty(record.returnvalue if record.returnvalue != "null" else None),
        "progress": _pretty(record.progress),
        "error": _text(record.failed_reason),
        "traceback": _text(traces[-1], end=True) if traces and isinstance(traces[-1], str) else "",
        "log": [_text(row) for row in logs[-_MOST_LOG:]],
        "log_rows": len(logs),
    }


def _pretty(text: str | None) -> str:
    """JSON as a person reads it."""
    if text is None:
        return ""
    with contextlib.suppress(ValueError):  # another program's text: as it is
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return _text(text)


def _text(text: str | None, *, end: bool = False) -> str:
    """Text without what does not print; of a long one the beginning, or the end."""
    text = text or ""
    if len(text) > _MOST_TEXT:
        left = f"… {len(text) - _MOST_TEXT:,} more characters …"
        text = f"{left}\n{text[-_MOST_TEXT:]}" if end else f"{text[:_MOST_TEXT]}\n{left}"
    return "\n".join(printable(line) for line in text.split("\n"))


# ---- a folded group, opened ------------------------------------------------------------------------------


def members(flow: Flow, parent: str, first: str) -> tuple[str, ...]:
    """The jobs of a folded group to draw one by one: the failed ones, then the first declared ones."""
    store, shape = stored(flow).store, stored(flow).flow_state.shape
    groups = shape.groups([parent])[0] or ()
    group = next(group for group in groups if first in group["first"])
    of_queue = [key for key in shape.children(parent) if keys.base_of(key) == group["base"]]
    if sum(other["base"] == group["base"] for other in groups) > 1:
        others = {key for other in groups if other is not group for key in other["first"]}
        of_queue = [key for key in of_queue if key not in others]
    mine = set(of_queue)
    failed = [
        key
        for key in (*store.children.read_failed(parent), *store.children.read_ignored(parent))
        if key in mine
    ]
    most = group["count"] if group["count"] <= MOST_APART else MOST_APART - 1
    return tuple(dict.fromkeys([*failed[:most], *of_queue]))[:most]


# ---- the table -----------------------------------------------------------------------------------------

_COLUMNS = ("name", "queue", "state", "attempts", "waited", "ran", "error")
_FIRST = {FAILED: 0, ACTIVE: 1}


class Pages:
    """The jobs of a flow, a page at a time: failed ones first, then running ones, then as declared.

    Up to `MOST_SORTED` are put in any order; of more, those of one queue, or the failed ones, may be so few.
    """

    def __init__(self, flow: Flow) -> None:
        self._stored = stored(flow)
        self._keys: list[str] = []
        self._then: Any = None

    def page(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Rows from ``ask["start"]`` on, and where the next page starts (None: there is none).

        ``of`` is how many rows there are in all. None: not all were looked at, but ``searched`` of ``among`` jobs.
        """
        counts = self._stored.flow_state.counts()
        now = (
            counts if counts.rows_a_job else counts.total
        )  # jobs that hold many rows hand on some to new ones
        if now != self._then:
            self._keys = list(self._stored.flow_state.shape.jobs())
            self._then = now
        wanted = self._wanted(ask)
        if len(wanted) > MOST_SORTED:
            wanted = self._failed_first(wanted, ask)
        sortable = len(wanted) <= MOST_SORTED
        found = self._sorted(wanted, ask) if sortable else self._searched(wanted, ask)
        return {**found, "columns": list(_COLUMNS), "sortable": sortable, "most_sorted": MOST_SORTED}

    def _wanted(self, ask: Mapping[str, Any]) -> list[str]:
        queue = ask.get("queue")
        return [key for key in self._keys if not queue or keys.queue_of(key) == queue]

    def _failed_first(self, wanted: list[str], ask: Mapping[str, Any]) -> list[str]:
        """The server knows which jobs have failed: no others are looked at for them."""
        state = ask.get("state")
        if state not in (None, "", FAILED):
            return wanted
        failed = dict.fromkeys(failed_keys(self._stored.store, self._stored.flow_state.shape))
        mine = set(wanted)
        first = [key for key in failed if key in mine]
        return first if state == FAILED else first + [key for key in wanted if key not in failed]

    def _sorted(self, wanted: list[str], ask: Mapping[str, Any]) -> dict[str, Any]:
        """All are read, so they can be put in any order."""
        state, start, sort = ask.get("state"), int(ask.get("start") or 0), ask.get("sort")
        records = [r for r in self._stored.store.jobs.read(wanted, BRIEF_FIELDS) if r]
        rows = [self._row(record) for record in records if not state or record.state == state]
        if sort in _COLUMNS:
            place = _COLUMNS.index(sort) + 1
            there = [row for row in rows if row[place] is not None]
            there.sort(key=lambda row: row[place], reverse=bool(ask.get("descending")))
            rows = there + [row for row in rows if row[place] is None]
        else:
            rows.sort(key=lambda row: _FIRST.get(row[3], 2))
        more = start + PAGE < len(rows)
        return {"rows": rows[start : start + PAGE], "next": start + PAGE if more else None, "of": len(rows)}

    def _searched(self, wanted: list[str], ask: Mapping[str, Any]) -> dict[str, Any]:
        """No more is read than a page needs, and at most `MOST_SEARCHED` jobs; the next page goes on there."""
        state, start = ask.get("state"), int(ask.get("start") or 0)
        rows: list[list[Any]] = []
        place = start
        while place < len(wanted) and len(rows) < PAGE and place - start < MOST_SEARCHED:
            some = wanted[place : place + (500 if state else PAGE)]
            for record in self._stored.store.jobs.read(some, BRIEF_FIELDS):
                place += 1
                if record and (not state or record.state == state):
                    rows.append(self._row(record))
                    if len(rows) == PAGE:
                        break
        found = {"rows": rows, "next": place if place < len(wanted) else None}
        return (
            {**found, "of": None, "searched": place, "among": len(wanted)}
            if state
            else {**found, "of": len(wanted)}
        )

    def _row(self, record: JobRecord) -> list[Any]:
        waited = record.processed_on - record.timestamp if record.processed_on and record.timestamp else None
        ran = record.finished_on - record.processed_on if record.finished_on and record.processed_on else None
        return [
            record.key,
            shown(self._stored.name_of(record), 80),
            shown(record.queue, 60),
            printable(record.state or "unknown"),
            record.attempts_made,
            None if waited is None else max(waited, 0),
            None if ran is None else max(ran, 0),
            reason(record, 120) if record.failed_reason else None,
        ]


# ---- the timeline ----------------------------------------------------------------------------------------


def timeline(flow: Flow) -> dict[str, Any]:
    """The timeline's picture. Reads every job of the flow."""
    snapshot = stored(flow).snapshot(nodes=False)
    records = stored(flow).records()
    return {"svg": timelines.timeline_svg(records, now=snapshot.finished or snapshot.now)}


# ---- the buttons -----------------------------------------------------------------------------------------


def actions(flow: Flow, snapshot: Snapshot) -> Iterator[str]:
    """The buttons that make sense now."""
    if (
        snapshot.finished is None and stored(flow).flow_state.flow
    ):  # other programs' workers would not honour them
        yield "resume" if snapshot.counts.paused else "pause"
        yield "cancel"
    if snapshot.counts.count(FAILED):
        yield "retry"
    yield "remove"


def act(flow: Flow, what: str) -> dict[str, Any]:
    """Do what a button says."""
    if what not in _BUTTONS:
        return {"error": cut(printable(f"no such button: {what}"), 100)}
    getattr(flow, what)()
    return {"done": what}
