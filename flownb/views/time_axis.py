"""The time axis of a timeline: which stretch is shown, where a moment is on it, and its ticks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flownb.views.box_parts import fitted, text_width
from flownb.views.palette import EDGE, INK, MUTED
from flownb.views.phases import Phase
from flownb.views.svg import el
from flownb.views.words import duration, shown

WIDTH, LEFT, RIGHT, TOP = 860.0, 190.0, 150.0, 34.0
PLOT = WIDTH - LEFT - RIGHT
LABEL_X, FACTS_X = LEFT - 10, WIDTH - RIGHT + 8
LABEL_SIZE = 11
_WIDEST = (
    1.15  # of a text, as it is taken to be, in the widest font that it may be shown in: DejaVu's figures
)
_LABEL_MARGIN, _TITLE_CHARACTERS = 8.0, 200
_MOST_TICKS = 6  # about
_DAY_MS = 86_400_000
_TICKS_MS = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000),
    *(60_000 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)),
)


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time a picture shows, in milliseconds."""

    start: int
    end: int

    def x(self, moment: int | None) -> float:
        """Where a moment is; None is the end."""
        share = (min(self.end if moment is None else moment, self.end) - self.start) / (self.end - self.start)
        return LEFT + PLOT * max(share, 0.0)


def span_of(phases: Sequence[Phase], now: int) -> Span:
    """From the first phase to the end of the last, or to `now` while one lasts."""
    start = min((phase.start for phase in phases), default=now)
    ends = [now if phase.end is None else phase.end for phase in phases] or [now]
    return Span(start, max(*ends, start + 1))


def axis(span: Span, height: float) -> list[ET.Element]:
    """Ticks in time since the first job: whole steps of 1, 2 or 5, seldom more than six."""
    length = span.end - span.start
    marks = []
    for moment in range(0, length + 1, _step(length / _MOST_TICKS)):
        x = span.x(span.start + moment)
        path = f"M{x:.1f} {TOP - 6:.0f}V{TOP + height:.0f}"
        line = el("path", d=path, stroke=EDGE, stroke_width=0.6, opacity=0.45, class_="fn-line")
        marks += [line, text(duration(moment), x, TOP - 12, anchor="middle", size=10)]
    return marks


def _step(least: float) -> int:
    whole_days = max(int(least / _DAY_MS) + 1, 1) * _DAY_MS
    return next((step for step in _TICKS_MS if step >= least), whole_days)


def label(name: str, y: float, mark: str = "") -> ET.Element:
    """The name of a lane, left of it; cut to the room there is, and whole when it is pointed at."""
    room = (LABEL_X - _LABEL_MARGIN) / _WIDEST - text_width(mark, LABEL_SIZE)
    made = text(fitted(shown(name), room, LABEL_SIZE) + mark, LABEL_X, y, anchor="end", ink=INK)
    made.append(el("title", shown(name, _TITLE_CHARACTERS)))
    return made


def width_of(parts: Iterable[ET.Element]) -> float:
    """How wide a timeline is with these parts: the words right of its lanes are never cut."""
    texts = [element for part in parts for element in part.iter("text")]
    ends = [
        float(found.attrib["x"]) + _WIDEST * text_width(found.text or "", float(found.attrib["font-size"]))
        for found in texts
        if found.attrib["text-anchor"] == "start"
    ]
    return max([WIDTH, *(end + _LABEL_MARGIN for end in ends)])


def text(
    words: str, x: float, y: float, *, size: int = LABEL_SIZE, anchor: str = "start", ink: str = MUTED
) -> ET.Element:
    """A line of text in a timeline."""
    look = {"font_size": size, "fill": ink, "text_anchor": anchor}
    return el("text", words, x=x, y=y, **look, class_="fn-name" if ink == INK else "fn-note")
