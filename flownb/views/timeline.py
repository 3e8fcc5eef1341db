"""When the jobs of a flow waited and ran: as rows, and as a picture of bounded size.

Few jobs get a lane each. Many are folded into one lane a queue: how many ran and how many waited at each
moment, so that 30,000 jobs make as small a picture as 50.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flownb.views.phases import Phase, critical_path, phases
from flownb.views.svg import EDGE, INK, MUTED, PALETTE, card, el, to_text
from flownb.views.words import jobs, shown
from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, WAITING, JobRecord

if TYPE_CHECKING:
    import pandas as pd

MOST_LANES = 40
STEPS = 200  #: how finely a folded lane is cut in time
WIDTH, LEFT, RIGHT, TOP = 860.0, 190.0, 150.0, 34.0
PLOT = WIDTH - LEFT - RIGHT
JOB_LANE, QUEUE_LANE = 20.0, 52.0
MARK = "◆"  #: of a job on the critical path


def timeline_frame(records: Iterable[JobRecord], *, now: int | None = None) -> pd.DataFrame:
    """One row a phase of a job: name, queue, phase (waiting, running, retrying), start, end, seconds.

    What still lasts has no end; with `now` (milliseconds) its seconds are counted up to now.
    """
    import pandas as pd

    rows = [(record, phase) for record in records for phase in phases(record)]
    ends = [phase.end for _, phase in rows]
    until = [end if end is not None else now for end in ends]
    starts = [phase.start for _, phase in rows]
    return pd.DataFrame(
        {
            "name": pd.Series([record.name for record, _ in rows], dtype=object),
            "queue": pd.Series([record.queue for record, _ in rows], dtype=object),
            "phase": pd.Series([phase.kind for _, phase in rows], dtype=object),
            "start": _moments(starts),
            "end": _moments(ends),
            "seconds": pd.array(
                [
                    None if end is None else max(end - start, 0) / 1000
                    for start, end in zip(starts, until, strict=True)
                ],
                dtype="Float64",
            ),
        }
    )


def _moments(values: Sequence[int | None]) -> pd.Series:
    import pandas as pd

    naive = pd.Series(pd.array(values, dtype="Int64").astype("Float64"), dtype="Float64")
    return pd.Series(pd.to_datetime(naive.astype("float64"), unit="ms", utc=True)).dt.as_unit("ms")


def timeline_svg(records: Iterable[JobRecord], *, now: int) -> str:
    """The timeline as SVG: a lane a job, or a lane a queue when there are more than `MOST_LANES` jobs.

    The jobs of the critical path are marked; they have lanes of their own in any case.
    """
    records = list(records)
    rows = [(record, phases(record)) for record in records]
    rows = [(record, its) for record, its in rows if its]
    span = _span([phase for _, its in rows for phase in its], now)
    path = critical_path(records)
    longest = {id(record) for record in path} if len(path) > 1 else set()
    folded = len(rows) > MOST_LANES
    alone = [row for row in rows if id(row[0]) in longest] if folded else rows
    lanes = [
        _job_lane(record, its, span, TOP + JOB_LANE * place, critical=id(record) in longest)
        for place, (record, its) in enumerate(alone)
    ]
    height = JOB_LANE * len(lanes)
    for name, lane in (_by_queue(rows) if folded else {}).items():
        lanes.append(_queue_lane(name, lane, span, TOP + height))
        height += QUEUE_LANE
    parts = [*_axis(span, height), *lanes, _legend(height, folded=folded)]
    label = f"Timeline of {jobs(len(rows))}"
    return to_text(card(WIDTH, TOP + height + 38, label, *parts, scroll=True))


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time a picture shows, in milliseconds."""

    start: int
    end: int

    def x(self, moment: int | None) -> float:
        share = (min(self.end if moment is None else moment, self.end) - self.start) / (self.end - self.start)
        return LEFT + PLOT * max(share, 0.0)


def _span(all_phases: Sequence[Phase], now: int) -> Span:
    start = min((phase.start for phase in all_phases), default=now)
    lasting = any(phase.end is None for phase in all_phases)
    ends = [phase.end for phase in all_phases if phase.end is not None]
    end = max([*ends, now] if lasting or not ends else ends)
    return Span(start, max(end, start + 1))


def _text(
    text: str, x: float, y: float, *, size: int = 11, anchor: str = "start", ink: str = MUTED
) -> ET.Element:
    return el(
        "text",
        text,
        x=x,
        y=y,
        font_size=size,
        fill=ink,
        text_anchor=anchor,
        class_="fn-name" if ink == INK else "fn-note",
    )


def _job_lane(record: JobRecord, its: Sequence[Phase], span: Span, y: float, *, critical: bool) -> ET.Element:
    failed = record.state == FAILED
    bars = []
    for phase in its:
        waiting = phase.kind != "running"
        idle = DELAYED if phase.kind == "retrying" else WAITING
        broke = failed or phase is not its[-1]  # a job goes on after a run only where that failed
        state = idle if waiting else FAILED if broke else ACTIVE if phase.end is None else COMPLETED
        x = span.x(phase.start)
        bars.append(
            el(
                "rect",
                x=x,
                y=y + (7 if waiting else 3),
                width=max(span.x(phase.end) - x, 1.0 if waiting else 2.0),
                height=4 if waiting else 12,
                rx=2,
                fill=PALETTE[state].line,
                opacity=0.45 if waiting else 1,
                class_=f"fn-part fn-{state}",
            )
        )
    ends = its[-1]
    said = (
        "failed"
        if failed
        else ""
        if ends.end is not None
        else ends.kind
        if ends.kind == "retrying"
        else f"{ends.kind} still"
    )
    again = f"attempt {record.attempts_made}" if record.attempts_made > 1 else ""
    seconds = (span.end if ends.end is None else ends.end) - ends.start if ends.kind == "running" else 0
    words = [word for word in (said, duration(seconds) if ends.kind == "running" else "", again) if word]
    return el(
        "g",
        _text(
            shown(record.name, 26) + (f" {MARK}" if critical else ""),
            LEFT - 10,
            y + 13,
            anchor="end",
            ink=INK,
        ),
        *bars,
        _text(" · ".join(words), WIDTH - RIGHT + 8, y + 13),
        class_="fn-lane",
    )


Lane = list[tuple[JobRecord, list[Phase]]]


def _by_queue(rows: Lane) -> dict[str, Lane]:
    """The jobs of each queue, the first queues by their own name and what is too many together."""
    sizes = Counter(record.queue for record, _ in rows)
    order = list(dict.fromkeys(record.queue for record, _ in rows))
    if len(order) > MOST_LANES:
        largest = sorted(order, key=lambda queue: -sizes[queue])[: MOST_LANES - 1]
        order = [queue for queue in order if queue in set(largest)]
    lanes: dict[str, Lane] = {queue: [] for queue in order}
    for record, its in rows:
        rest = f"{len(sizes) - len(order)} other queues"
        lanes.setdefault(record.queue if record.queue in lanes else rest, []).append((record, its))
    return lanes


def _queue_lane(name: str, lane: Lane, span: Span, y: float) -> ET.Element:
    """One queue: what ran stands on its middle line, what waited hangs below it."""
    middle = y + 28
    running = [phase for _, its in lane for phase in its if phase.kind == "running"]
    waiting = [phase for _, its in lane for phase in its if phase.kind != "running"]
    failed = _failed_by_step(lane, span)
    facts = f"at most {_most_at_once(running, span)} at once"
    if again := sum(any(phase.kind == "retrying" for phase in its) for _, its in lane):
        facts += f", {again} retried"
    if any(failed):
        facts += f", {sum(failed)} failed"
    return el(
        "g",
        _text(shown(name, 28), LEFT - 10, middle - 4, anchor="end", ink=INK),
        _area(_levels(running, span), middle, 20, ACTIVE, 0.85),
        _area(_levels(waiting, span), middle, -12, WAITING, 0.5),
        _area(failed, middle, 9, FAILED, 1),
        el("path", d=f"M{LEFT:.0f} {middle:.0f}h{PLOT:.0f}", stroke=EDGE, stroke_width=0.8, class_="fn-line"),
        _text(jobs(len(lane)), WIDTH - RIGHT + 8, middle - 9, ink=INK),
        _text(facts, WIDTH - RIGHT + 8, middle + 5, size=10),
        class_="fn-lane",
    )


def _levels(its: Sequence[Phase], span: Span) -> list[float]:
    """How many phases were on, on average, in each step of time: exact, and one pass over the jobs."""
    width = (span.end - span.start) / STEPS
    inside, whole = [0.0] * (STEPS + 1), [0] * (STEPS + 2)
    for phase in its:
        first = (phase.start - span.start) / width
        last = ((span.end if phase.end is None else min(phase.end, span.end)) - span.start) / width
        low, high = int(first), int(last)
        if low == high:
            inside[low] += last - first
            continue
        inside[low] += low + 1 - first
        inside[high] += last - high
        whole[low + 1] += 1
        whole[high] -= 1
    levels, on = [], 0
    for step in range(STEPS):
        on += whole[step]
        levels.append(inside[step] + on)
    return levels


def _most_at_once(its: Sequence[Phase], span: Span) -> int:
    """The most phases on at one moment; one that ends as another starts does not count twice."""
    turns = [(phase.start, 1) for phase in its]
    turns += [
        (span.end + 1 if phase.end is None else phase.end, -1) for phase in its if phase.end != phase.start
    ]
    turns += [(phase.start + 1, -1) for phase in its if phase.end == phase.start]
    most = on = 0
    for _, turn in sorted(turns):
        on += turn
        most = max(most, on)
    return most


def _area(levels: Sequence[float], bottom: float, high: float, state: str, opacity: float) -> ET.Element:
    """A filled outline, its highest step at full height. Equal neighbours are one line: small text."""
    most = max(levels) or 1.0
    steps = [f"M{LEFT:.0f} {bottom:.0f}"]
    before = ""
    for step, level in enumerate(levels):
        y = f"{bottom - high * level / most:.1f}".rstrip("0").rstrip(".")
        if y != before:
            steps.append(f"H{LEFT + PLOT * step / STEPS:.1f}V{y}")
        before = y
    steps.append(f"H{LEFT + PLOT:.0f}V{bottom:.0f}Z")
    fill = PALETTE[state].line
    return el("path", d="".join(steps), fill=fill, opacity=opacity, class_=f"fn-part fn-{state}")


def _failed_by_step(lane: Lane, span: Span) -> list[int]:
    """How many jobs failed in each step of time."""
    failed = [0] * STEPS
    for record, its in lane:
        end = its[-1].end
        if record.state == FAILED and end is not None:
            step = int((end - span.start) / (span.end - span.start) * STEPS)
            failed[min(max(step, 0), STEPS - 1)] += 1
    return failed


def _axis(span: Span, height: float) -> list[ET.Element]:
    """Ticks in time since the first job: whole steps of 1, 2 or 5, seldom more than six."""
    step = _tick((span.end - span.start) / 6)
    marks = []
    for moment in range(0, span.end - span.start + 1, step):
        x = span.x(span.start + moment)
        line = el(
            "path",
            d=f"M{x:.1f} {TOP - 6:.0f}V{TOP + height:.0f}",
            stroke=EDGE,
            stroke_width=0.6,
            opacity=0.45,
            class_="fn-line",
        )
        marks += [line, _text(duration(moment), x, TOP - 12, anchor="middle", size=10)]
    return marks


def _tick(least: float) -> int:
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000)
    minutes = (60_000 * n for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
    return next(
        (step for step in (*steps, *minutes) if step >= least),
        max(int(least / 86_400_000) + 1, 1) * 86_400_000,
    )


def duration(milliseconds: int) -> str:
    """A duration for people: ``250 ms``, ``12.3 s``, ``4 min 10 s``, ``2 h 5 min``.

    >>> duration(12_340), duration(250_000)
    ('12.3 s', '4 min 10 s')
    """
    if milliseconds < 1000:
        return f"{milliseconds} ms" if milliseconds else "0 s"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f}".removesuffix(".0") + " s"
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    left = round(milliseconds / 1000)
    parts: list[tuple[int, str]] = []
    for unit, size in units:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def _legend(height: float, *, folded: bool) -> ET.Element:
    y = TOP + height + 22
    kinds = [(WAITING, "waiting"), (ACTIVE, "running"), (FAILED, "failed")]
    if not folded:
        kinds[2:2] = [(COMPLETED, "completed"), (DELAYED, "retrying")]
    parts: list[ET.Element] = []
    for place, (state, word) in enumerate(kinds):
        x = LEFT + 96 * place
        swatch = el(
            "rect",
            x=x,
            y=y - 8,
            width=10,
            height=10,
            rx=2,
            fill=PALETTE[state].line,
            class_=f"fn-part fn-{state}",
        )
        parts += [swatch, _text(word, x + 15, y + 1)]
    parts.append(_text(f"{MARK} decides how long it takes", LEFT + 96 * len(kinds), y + 1))
    return el("g", *parts, class_="fn-legend")
