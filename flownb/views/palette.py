"""Colours of the states and the symbols on their badges, and the type a picture is set in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flownb.views.markup import Markup, fill
from flownb.views.words import UNKNOWN
from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    PRIORITIZED,
    WAITING,
    WAITING_CHILDREN,
)


@dataclass(frozen=True, slots=True)
class Colours:
    """One state's colours."""

    line: str  #: border, badge, bar
    fill: str  #: the box


PALETTE: Mapping[str, Colours] = {
    WAITING: Colours("#7a808a", "#f3f4f6"),
    ACTIVE: Colours("#0072b2", "#e3f0f9"),
    DELAYED: Colours("#a4568a", "#f8ecf4"),
    PRIORITIZED: Colours("#b97a00", "#fdf3dc"),
    WAITING_CHILDREN: Colours("#4a93c4", "#f1f6fa"),
    COMPLETED: Colours("#00805d", "#e2f4ed"),
    FAILED: Colours("#c44e00", "#fdebe0"),
    UNKNOWN: Colours("#7a808a", "#ffffff"),
}
"""After Okabe and Ito, darkened where text must read on white: colour-blind eyes tell them apart."""

INK, MUTED, EDGE, CARD, FRAME = "#1f2430", "#5b6270", "#878d98", "#fcfcfb", "#e2e3e0"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
NAME_SIZE, NOTE_SIZE = 13, 11

BADGE_PATHS: Mapping[str, tuple[tuple[str, bool], ...]] = {
    COMPLETED: (("M-3.6 0.2 L-1 2.9 L3.8 -2.7", False),),
    FAILED: (("M-2.8 -2.8 L2.8 2.8 M2.8 -2.8 L-2.8 2.8", False),),
    ACTIVE: (("M-1.8 -3.2 L3.2 0 L-1.8 3.2 Z", True),),
    DELAYED: (("M0 -4.2 L0 0 L3 1.8", False),),
    PRIORITIZED: (("M0 3.4 L0 -3.2 M-2.8 -0.6 L0 -3.4 L2.8 -0.6", False),),
    WAITING_CHILDREN: (("M-3.4 0 L-3.4 0 M0 0 L0 0 M3.4 0 L3.4 0", False),),
}
"""What is on each badge as SVG paths, and whether it is filled: drawn, so that it looks alike in every font."""

SOLID_BADGES = (COMPLETED, ACTIVE, FAILED)
"""Badges filled with their colour: states in which something happens, or has happened."""


def style_colours() -> dict[str, Markup]:
    """The colours that styles are filled with, by name: of light and dark pages, and with more contrast."""
    return {name: fill(f"{name}.css") for name in ("light", "dark", "light_more", "dark_more")}
