"""The time axis of a timeline: which stretch is shown, where a moment is on it, and its ticks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from flownb.views.box_parts import fitted, text_width
from flownb.views.palette import EDGE, INK, MUTED
from flownb.views.phases import Phase
from flownb.views.svg import el
from flownb.views.words import duration, shown

WIDTH = 1100.0  #: of a picture for nobody's page in particular
LEAST_WIDTH, MOST_WIDTH = 320.0, 4000.0
MARGIN, TOP = 14.0, 30.0  #: left and right of the lanes; above them, with the ticks
LABEL_SIZE = 11
HEADING_HEIGHT = 18.0  #: of a lane, at its top: its words
_GAP, _TITLE_CHARACTERS = 16.0, 200
_PIXELS_A_TICK = 140  # about
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
    width: float = WIDTH  #: of the picture, in pixels

    @property
    def plot(self) -> float:
        """How wide a lane is."""
        return self.width - 2 * MARGIN

    def x(self, moment: int | None) -> float:
        """Where a moment is; None is the end."""
        share = (min(self.end if moment is None else moment, self.end) - self.start) / (self.end - self.start)
        return MARGIN + self.plot * max(share, 0.0)


def span_of(phases: Sequence[Phase], now: int, width: float) -> Span:
    """From the first phase to the end of the last, or to `now` while one lasts."""
    start = min((phase.start for phase in phases), default=now)
    ends = [now if phase.end is None else phase.end for phase in phases] or [now]
    return Span(start, max(*ends, start + 1), width)


def axis(span: Span, stretches: Sequence[tuple[float, float]]) -> list[ET.Element]:
    """Ticks in time since the first job, whole steps of 1, 2 or 5; their lines go through `stretches`, from y to y.

    Those leave out what has words: a line through a letter makes it another one.
    """
    length = span.end - span.start
    marks = []
    for moment in range(0, length + 1, _step(length * _PIXELS_A_TICK / span.plot)):
        x = span.x(span.start + moment)
        path = "".join(f"M{x:.1f} {top:.0f}V{bottom:.0f}" for top, bottom in [(TOP - 6, TOP), *stretches])
        line = el("path", d=path, stroke=EDGE, stroke_width=0.6, opacity=0.45, class_="fn-line")
        anchor = "start" if not moment else "end" if x > span.width - 2 * MARGIN else "middle"
        marks += [line, text(duration(moment), x, TOP - 12, anchor=anchor)]
    return marks


def _step(least: float) -> int:
    whole_days = max(int(least / _DAY_MS) + 1, 1) * _DAY_MS
    return next((step for step in _TICKS_MS if step >= least), whole_days)


def heading(name: str, facts: str, span: Span, y: float, mark: str = "") -> list[ET.Element]:
    """The line inside a lane, at its top: its name, cut to the room there is and whole when pointed at, and facts."""
    taken = text_width(facts, LABEL_SIZE) + text_width(mark, LABEL_SIZE)
    room = max(span.plot - taken - _GAP, LABEL_SIZE)
    label = text(fitted(shown(name), room, LABEL_SIZE) + mark, MARGIN, y, ink=INK)
    label.append(el("title", shown(name, _TITLE_CHARACTERS)))
    return [label, text(facts, span.width - MARGIN, y, anchor="end")]


def text(words: str, x: float, y: float, *, anchor: str = "start", ink: str = MUTED) -> ET.Element:
    """A line of text in a timeline."""
    look = {"font_size": LABEL_SIZE, "fill": ink, "text_anchor": anchor}
    return el("text", words, x=x, y=y, **look, class_="fn-name" if ink == INK else "fn-note")
