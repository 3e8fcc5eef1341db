"""The queues of a flow, or its rows' steps, as a live view lists them, and a folded group of its jobs in its panel."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from flownb.state.stored_flow import StoredFlow
from flownb.views.words import in_reading_order, shown
from flownb.wire import keys
from flownb.wire.records import FAILED, FlowCounts, Snapshot


def page(counts: FlowCounts, message: Mapping[str, Any]) -> dict[str, Any]:
    """A line a queue, or a step where rows have several, as `group_list` has one a group."""
    stages: dict[str, Mapping[str, int]] = {}
    for queue, states in counts.by_stage.items():
        stages |= counts.by_step.get(queue, {queue: states})
    text = str(message.get("text") or "").strip().casefold()
    lines: list[list[Any]] = [
        [
            None,
            shown(queue),
            in_reading_order(states),
            sum(states.values()),
            states.get(FAILED, 0),
            None,
            "",
            None,
            "",
            0,
            0,
            sum(states.values()),
        ]
        for queue, states in stages.items()
        if text in queue.casefold()
    ]
    at = {"group": 1, "rows": 3, "failed": 4}.get(str(message.get("sort")))
    if at is not None:
        lines.sort(key=itemgetter(at), reverse=bool(message.get("descending")))
    total = sum(line[3] for line in lines)
    return {"groups": lines, "of": len(lines), "start": 0, "next": None, "known": total, "total": total}


def panel(stored: StoredFlow, snapshot: Snapshot, message: Mapping[str, Any]) -> dict[str, Any]:
    """How the jobs of one box are: its counts, and how long those of its queue took that ended last."""
    node = next((node for node in snapshot.nodes if node.key == message.get("key")), None)
    if node is None:
        return {"error": "these jobs are drawn otherwise by now"}
    runs = sorted(stored.store.throughput.read([keys.base_of(node.key)], snapshot.created)[0].runs)
    return {
        "name": "",
        "counts": in_reading_order(node.states),
        "rate": 0.0,
        "failed_share": "",
        "p50": round(1000 * runs[len(runs) // 2]) if runs else None,
        "p95": round(1000 * runs[min(len(runs) * 95 // 100, len(runs) - 1)]) if runs else None,
        "spent": "",
        "slowest": [],
    }
