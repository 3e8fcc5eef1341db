"""A job's lane in a timeline: a bar for each run, a thin one for each wait, and words beside them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from flownb.views.palette import PALETTE
from flownb.views.phases import RETRYING, RUNNING, Phase
from flownb.views.svg import el
from flownb.views.time_axis import Span, heading
from flownb.views.words import duration
from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, WAITING, JobRecord

HEIGHT = 34.0
MARK = "◆"  #: of a job on the critical path


def job_lane(
    record: JobRecord, phases: Sequence[Phase], span: Span, y: float, *, critical: bool
) -> ET.Element:
    """The lane of a job that has at least one phase."""
    return el(
        "g",
        *heading(record.name, _facts(record, phases, span), span, y + 12, f" {MARK}" if critical else ""),
        *(_bar(phase, _state(phase, phases[-1], record), span, y) for phase in phases),
        class_="fn-lane",
    )


def _state(phase: Phase, last: Phase, record: JobRecord) -> str:
    """The state whose colour a phase has."""
    if phase.kind != RUNNING:
        return DELAYED if phase.kind == RETRYING else WAITING
    if record.state == FAILED or phase is not last:  # a job goes on after a run only where that failed
        return FAILED
    return ACTIVE if phase.end is None else COMPLETED


def _bar(phase: Phase, state: str, span: Span, y: float) -> ET.Element:
    x = span.x(phase.start)
    if phase.kind == RUNNING:
        top, height, least, opacity = y + 17, 10, 2.0, 1.0
    else:
        top, height, least, opacity = y + 20, 4, 1.0, 0.45
    return el(
        "rect",
        x=x,
        y=top,
        width=max(span.x(phase.end) - x, least),
        height=height,
        rx=2,
        fill=PALETTE[state].line,
        opacity=opacity,
        class_=f"fn-part fn-{state}",
    )


def _facts(record: JobRecord, phases: Sequence[Phase], span: Span) -> str:
    """How the job is or ended, how long it has run, and in how many runs."""
    words = [_ending(record, phases[-1])]
    runs = [
        (span.end if phase.end is None else phase.end) - phase.start
        for phase in phases
        if phase.kind == RUNNING
    ]
    if runs:
        words.append(duration(sum(runs)) + (f" in {len(runs)} runs" if len(runs) > 1 else ""))
    if record.attempts_made > max(len(runs), 1):  # another program's worker ran it before, and said no more
        words.append(f"attempt {record.attempts_made}")
    return " · ".join(word for word in words if word)


def _ending(record: JobRecord, last: Phase) -> str:
    if record.state == FAILED:
        return "failed"
    if last.end is not None:
        return ""
    return last.kind if last.kind == RETRYING else f"{last.kind} still"
