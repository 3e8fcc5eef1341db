"""When the jobs of a flow waited and ran, as a picture of bounded size.

Few jobs get a lane each. Many are folded into one lane a queue, so that 30,000 jobs make as small a picture as 50.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping

from flownb.views import job_lanes, queue_lanes
from flownb.views.box_parts import text_width
from flownb.views.geometry import number
from flownb.views.palette import PALETTE
from flownb.views.phases import critical_path, phases
from flownb.views.svg import card, el, to_text
from flownb.views.time_axis import (
    HEADING_HEIGHT,
    LABEL_SIZE,
    LEAST_WIDTH,
    MARGIN,
    MOST_WIDTH,
    TOP,
    WIDTH,
    Span,
    axis,
    span_of,
    text,
)
from flownb.views.words import jobs
from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, WAITING, FlowCounts, JobRecord, Lane

MAX_JOB_LANES = 40
_LEGEND_GAP, _LEGEND_LINE = 24.0, 18.0


def timeline_svg(
    records: Iterable[JobRecord],
    *,
    now: int,
    width: float = WIDTH,
    counts: FlowCounts | None = None,
    named: Mapping[str, Lane] | None = None,
) -> str:
    """The timeline as SVG: a lane a job, or a lane a queue when there are more than `MAX_JOB_LANES` jobs.

    Above those is how many jobs ended in a second. The jobs of the critical path are marked; they have lanes of their
    own in any case. `counts` are the flow's: rows may have failed in jobs that have not. `named` says what lanes of
    queues are called that are not called after them.
    """
    records = list(records)
    rows = [(record, its) for record in records if (its := phases(record))]
    width = min(max(width, LEAST_WIDTH), MOST_WIDTH)
    span = span_of([phase for _, its in rows for phase in its], now, width)
    folded = len(rows) > MAX_JOB_LANES
    critical = _critical(records)
    failed = {queue: states.get(FAILED, 0) for queue, states in counts.by_stage.items()} if counts else {}
    lanes, ends = _lanes(rows, span, critical, failed if folded else None, named or {})
    legend, bottom = _legend(rows, span, ends[-1] + 22, folded=folded, has_path=bool(critical))
    stretches = [(top + HEADING_HEIGHT, end) for top, end in itertools.pairwise(ends)]
    parts = [*axis(span, stretches), *lanes, legend]
    return to_text(card(width, bottom + 16, f"Timeline of {jobs(len(rows))}", *parts, scroll=True))


def _critical(records: list[JobRecord]) -> set[int]:
    path = critical_path(records)
    return {id(record) for record in path} if len(path) > 1 else set()


def _lanes(
    rows: queue_lanes.Jobs,
    span: Span,
    critical: set[int],
    failed: Mapping[str, int] | None,
    named: Mapping[str, Lane],
) -> tuple[list[ET.Element], list[float]]:
    """The lanes from top to bottom, and where each ends; of folded ones how many have `failed` a queue."""
    lanes: list[ET.Element] = []
    ends = [TOP]
    folded = failed is not None
    if folded:
        lanes.append(queue_lanes.ends_lane(rows, span, TOP))
        ends.append(TOP + queue_lanes.ENDS_HEIGHT)
    for record, its in rows:
        on_path = id(record) in critical
        if on_path or not folded:
            lanes.append(job_lanes.job_lane(record, its, span, ends[-1], critical=on_path))
            ends.append(ends[-1] + job_lanes.HEIGHT)
    for queue, its_jobs in (queue_lanes.by_queue(rows) if failed is not None else {}).items():
        lane = named.get(queue, Lane(queue))
        lanes.append(queue_lanes.queue_lane(lane, its_jobs, span, ends[-1], (failed or {}).get(queue, 0)))
        ends.append(ends[-1] + queue_lanes.HEIGHT)
    return lanes, ends


def _legend(
    rows: queue_lanes.Jobs, span: Span, y: float, *, folded: bool, has_path: bool
) -> tuple[ET.Element, float]:
    """What the colours that are seen mean, in as many lines as it takes; and where it ends."""
    kinds = [(WAITING, "waiting"), (ACTIVE, "running")]
    if not folded:
        kinds += [(COMPLETED, "completed"), (DELAYED, "retrying")]
    if any(record.state == FAILED for record, _ in rows):
        kinds.append((FAILED, "failed"))
    entries = [_entry(state, word) for state, word in kinds]
    if has_path:
        words = f"{job_lanes.MARK} the whole takes as long as these, one after another"
        entries.append(([text(words, 0, 1)], text_width(words, LABEL_SIZE)))
    x, parts = MARGIN, []
    for inside, width in entries:
        if x > MARGIN and x + width > span.width - MARGIN:
            x, y = MARGIN, y + _LEGEND_LINE
        parts.append(el("g", *inside, transform=f"translate({number(x)} {number(y)})"))
        x += width + _LEGEND_GAP
    return el("g", *parts, class_="fn-legend"), y


def _entry(state: str, word: str) -> tuple[list[ET.Element], float]:
    look = {"fill": PALETTE[state].line, "class_": f"fn-part fn-{state}"}
    swatch = el("rect", x=0, y=-8, width=10, height=10, rx=2, **look)
    return [swatch, text(word, 15, 1)], 15 + text_width(word, LABEL_SIZE)
