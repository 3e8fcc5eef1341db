"""Many jobs in a timeline: a lane a queue, which says how many ran and waited at each moment."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence

from flownb.views.palette import EDGE, PALETTE
from flownb.views.phases import RETRYING, RUNNING, Phase
from flownb.views.svg import el
from flownb.views.time_axis import MARGIN, Span, heading
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, WAITING, JobRecord, Lane

HEIGHT, ENDS_HEIGHT = 68.0, 58.0
MAX_LANES = 40
STEPS = 200  #: how finely a lane is cut in time

Jobs = list[tuple[JobRecord, list[Phase]]]


def by_queue(rows: Jobs) -> dict[str, Jobs]:
    """The jobs of each queue; of too many queues the smallest ones together in a last lane."""
    sizes = Counter(record.queue for record, _ in rows)
    named = set(sizes)
    if len(sizes) > MAX_LANES:
        named = {queue for queue, _ in sizes.most_common(MAX_LANES - 1)}
    others = f"{len(sizes) - len(named)} other queues"
    lanes: dict[str, Jobs] = {queue: [] for queue in sizes if queue in named}
    for record, phases in rows:
        lanes.setdefault(record.queue if record.queue in named else others, []).append((record, phases))
    return lanes


def queue_lane(lane: Lane, its_jobs: Jobs, span: Span, y: float, counted: int = 0) -> ET.Element:
    """One queue: what ran is above its middle line, what waited below it. `counted` have failed, if rows as well."""
    middle = y + 48
    running = [phase for _, phases in its_jobs for phase in phases if phase.kind == RUNNING]
    waiting = [phase for _, phases in its_jobs for phase in phases if phase.kind != RUNNING]
    failed = failed_by_step(its_jobs, span)
    facts = _facts(its_jobs, lane.noun, most_at_once(running, span), sum(failed), counted)
    line = f"M{MARGIN:.0f} {middle:.0f}h{span.plot:.0f}"
    return el(
        "g",
        *heading(lane.name, facts, span, y + 14),
        _area(levels(running, span), span, middle, 26, ACTIVE, 0.85),
        _area(levels(waiting, span), span, middle, -12, WAITING, 0.5),
        _area(failed, span, middle, 10, FAILED, 1),
        el("path", d=line, stroke=EDGE, stroke_width=0.8, class_="fn-line"),
        class_="fn-lane",
    )


def ends_lane(rows: Jobs, span: Span, y: float) -> ET.Element:
    """All queues together: how many jobs ended in a second, and how many of these failed."""
    bottom = y + ENDS_HEIGHT - 8
    ended = ended_by_step(rows, span)
    failed = failed_by_step(rows, span)
    most = max(ended) or 1
    seconds = (span.end - span.start) / STEPS / 1000
    rate = f"up to {figure(most / seconds)} a second" if any(ended) else "none yet"
    return el(
        "g",
        *heading("ended", rate, span, y + 12),
        _area(ended, span, bottom, 30, COMPLETED, 0.85),
        _area(failed, span, bottom, 30 * max(failed) / most, FAILED, 1),
        class_="fn-ends",
    )


def figure(number: float) -> str:
    """A rate in as many figures as it is known.

    >>> figure(1234.5), figure(12.34), figure(0.123)
    ('1,230', '12.3', '0.123')
    """
    return f"{float(f'{number:.3g}'):,.10g}"


def _facts(its_jobs: Jobs, noun: str, at_once: int, failed: int, counted: int) -> str:
    count = len(its_jobs)
    facts = [f"{count:,} {noun}{'' if count == 1 else 's'}", f"up to {at_once} at once"]
    if retried := sum(any(phase.kind == RETRYING for phase in phases) for _, phases in its_jobs):
        facts.append(f"{retried:,} retried")
    if counted > failed and noun == "job":
        facts.append(f"{counted:,} row{'s' if counted > 1 else ''} failed")
    elif most := max(counted, failed):
        facts.append(f"{most:,} failed")
    return ", ".join(facts)


def levels(phases: Sequence[Phase], span: Span) -> list[float]:
    """How many phases were on, on average, in each step of time: exact, and one pass over the jobs."""
    width = (span.end - span.start) / STEPS
    inside, whole = [0.0] * (STEPS + 1), [0] * (STEPS + 2)
    for phase in phases:
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
    found, on = [], 0
    for step in range(STEPS):
        on += whole[step]
        found.append(inside[step] + on)
    return found


def most_at_once(phases: Sequence[Phase], span: Span) -> int:
    """The most phases on at one moment; one that ends as another starts does not count twice."""
    turns = [(phase.start, 1) for phase in phases]
    for phase in phases:
        end = span.end if phase.end is None else phase.end
        turns.append((end + 1 if phase.end in (None, phase.start) else end, -1))
    most = on = 0
    for _, turn in sorted(turns):
        on += turn
        most = max(most, on)
    return most


def _area(
    heights: Sequence[float], span: Span, bottom: float, high: float, state: str, opacity: float
) -> ET.Element:
    """A filled outline, its highest step at full height. Equal neighbours are one line: small text."""
    most = max(heights) or 1.0
    steps = [f"M{MARGIN:.0f} {bottom:.0f}"]
    before = ""
    for step, height in enumerate(heights):
        y = f"{bottom - high * height / most:.1f}".rstrip("0").rstrip(".")
        if y != before:
            steps.append(f"H{MARGIN + span.plot * step / STEPS:.1f}V{y}")
        before = y
    steps.append(f"H{MARGIN + span.plot:.0f}V{bottom:.0f}Z")
    fill = PALETTE[state].line
    return el("path", d="".join(steps), fill=fill, opacity=opacity, class_=f"fn-part fn-{state}")


def failed_by_step(its_jobs: Jobs, span: Span) -> list[int]:
    """How many jobs failed in each step of time."""
    return _by_step([phases[-1].end for record, phases in its_jobs if record.state == FAILED], span)


def ended_by_step(its_jobs: Jobs, span: Span) -> list[int]:
    """How many jobs ended in each step of time, well or badly."""
    return _by_step(
        [phases[-1].end for record, phases in its_jobs if record.state in (COMPLETED, FAILED)], span
    )


def _by_step(moments: Iterable[int | None], span: Span) -> list[int]:
    counts = [0] * STEPS
    for moment in moments:
        if moment is not None:
            step = int((moment - span.start) / (span.end - span.start) * STEPS)
            counts[min(max(step, 0), STEPS - 1)] += 1
    return counts
