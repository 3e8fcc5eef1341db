"""Answers what a live page asks for: one job, an opened group, the timeline; and does what its buttons say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from flownb.api.flow import stored
from flownb.api.job import find_job, stored_job
from flownb.errors import printable
from flownb.state.stored_flow import StoredFlow
from flownb.views import failure_groups, time_axis
from flownb.views import timeline as timelines
from flownb.views.long_texts import panel_json, panel_text
from flownb.views.phases import failed_runs, waited_and_ran
from flownb.views.words import cut, shown
from flownb.wire import codec, keys
from flownb.wire.records import FAILED, JobRecord, Snapshot

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.batches.batch import Batch
    from flownb.batches.stored_batch import StoredBatch

MAX_DRAWN = 12  #: jobs of an opened group that are drawn one by one
_LOG_ROWS = 60
_BUTTONS = ("pause", "resume", "cancel", "retry", "remove")


# ---- one job -------------------------------------------------------------------------------------------


def job(flow: StoredFlow, key: str) -> dict[str, Any]:
    """All that is known of a job, as texts that are safe to show."""
    _, record = stored_job(find_job(flow.store, key))
    logs = flow.store.jobs.read_logs(key)
    waited, ran = waited_and_ran(record)
    return {
        "key": key,
        "name": shown(flow.name_of(record), 200),
        "id": shown(record.id, 100),
        "queue": "" if record.queue == keys.BATCH_QUEUE else shown(record.queue, 100),
        "state": printable(record.state or "unknown"),
        "attempts": record.attempts_made,
        "failed_runs": failed_runs(record),
        "created": record.timestamp,
        "started": record.processed_on,
        "ended": record.finished_on,
        "waited": waited,
        "ran": ran,
        "data": panel_json(record.data),
        "result": panel_json(record.returnvalue if record.returnvalue != "null" else None),
        "progress": panel_json(record.progress),
        "error": panel_text(record.failed_reason),
        "traceback": _last_traceback(record),
        "log": [panel_text(row) for row in logs[-_LOG_ROWS:]],
        "log_rows": len(logs),
    }


def _last_traceback(record: JobRecord) -> str:
    traces = codec.decode(record.stacktrace or "[]")
    return panel_text(traces[-1], end=True) if traces and isinstance(traces[-1], str) else ""


# ---- a folded group, opened ------------------------------------------------------------------------------


def group_jobs(flow: StoredFlow, parent: str, first: str) -> tuple[str, ...]:
    """The jobs of a folded group to draw one by one: the failed ones, then the first declared ones.

    The group is the one of `parent`'s that has the key `first` among its first jobs.
    """
    groups = flow.flow_state.shape.groups([parent])[0] or ()
    group = next(group for group in groups if first in group["first"])
    others = [other for other in groups if other is not group and other["base"] == group["base"]]
    elsewhere = {key for other in others for key in other["first"]}
    declared = [
        key
        for key in flow.flow_state.shape.children(parent)
        if keys.base_of(key) == group["base"] and key not in elsewhere
    ]
    most = group["count"] if group["count"] <= MAX_DRAWN else MAX_DRAWN - 1
    failed = _failed_among(flow, parent, set(declared))
    return tuple(dict.fromkeys([*failed[:most], *declared]))[:most]


def _failed_among(flow: StoredFlow, parent: str, among: set[str]) -> list[str]:
    children = flow.store.children
    return [key for key in (*children.read_failed(parent), *children.read_ignored(parent)) if key in among]


# ---- the timeline ----------------------------------------------------------------------------------------


def timeline(flow: StoredFlow, width: Any) -> dict[str, Any]:
    """The timeline's picture, as wide as the page has room. Reads every job of the flow."""
    snapshot = flow.snapshot(nodes=False)
    pixels = float(width) if isinstance(width, int | float) else time_axis.WIDTH
    now, counts = snapshot.finished or snapshot.now, snapshot.counts
    named = flow.lanes(counts)
    svg = timelines.timeline_svg(flow.drawn_records(), now=now, width=pixels, counts=counts, named=named)
    return {"svg": svg}


# ---- the buttons -----------------------------------------------------------------------------------------


def actions(flow: StoredFlow, snapshot: Snapshot) -> Iterator[str]:
    """The buttons that make sense now."""
    # Workers of other programs would honour neither pause nor cancel.
    if snapshot.finished is None and flow.flow_state.flow:
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


def retry(flow: Flow, message: Mapping[str, Any]) -> dict[str, Any]:
    """Run again what failed: the row at a ``position``, or all of a ``kind`` of error."""
    if "position" in message:
        _retry_row(flow, int(message["position"]))
    else:
        _retry_kind(flow, message["kind"])
    return {"done": "retry"}


def _retry_row(flow: Flow, position: int) -> None:
    label = cast("StoredBatch", stored(flow)).index[position]
    cast("Batch", flow).retry(rows=[label])


def _retry_kind(flow: Flow, kind: str) -> None:
    if stored(flow).row_queue is not None:
        cast("Batch", flow).retry(error=kind)
        return
    for record in stored(flow).snapshot(failures=True).failures:
        if failure_groups.kind_of_record(record) == kind:
            find_job(stored(flow).store, record.key).retry()
