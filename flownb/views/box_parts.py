"""How large a box is, and where its name, notes, badge and bar go: for pictures and the live page alike."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from flownb.views.geometry import Point, Rect
from flownb.views.palette import NAME_SIZE, NOTE_SIZE
from flownb.views.scene import Box
from flownb.views.words import cut

LINE_HEIGHT, BAR_HEIGHT = 16.0, 5.0
BAR_SPACE = BAR_HEIGHT + 3
PADDING_X, PADDING_Y = 44.0, 18.0  #: around the text, both sides together; the badge is left of it
TEXT_X, BADGE_X, BAR_X = 34.0, 18.0, 10.0
TEXT_MARGIN = 42.0  #: of a box's width, what a text that was measured may not fill
ESTIMATE_MARGIN = 44.0  #: and one whose width is estimated
NAME_BASELINE, NOTE_BASELINE = 12.5, 12.0  #: from the top of a line of text
CORNER_RADIUS, BADGE_RADIUS = 7, 8
PILE = (6.0, 3.0, 0.0)  #: offsets of the outlines of a box for many jobs, back to front
LEAST_SHARE = 5.0  #: of a bar: a single failed job of thousands must be seen

# Of a letter, in shares of the type's size: in DejaVu Sans, the widest of the fonts that pictures are set in.
_WIDTHS = {
    **dict.fromkeys(" ',./:;\\|ijlIJ-f", 0.36),
    **dict.fromkeys("()[]!tr", 0.44),
    **dict.fromkeys('"*_`csvxyzkFL?', 0.59),
    **dict.fromkeys("#+<=>^~w&OQ", 0.84),
    **dict.fromkeys("mMW@%…", 1.0),
}
_UPPER_WIDTH, _OTHER_WIDTH = 0.76, 0.64  # of capitals, of other letters of ASCII
_FOREIGN_WIDTH = 0.84  # of all others
_BOLD = 1.12  # times as wide: names are


@dataclass(frozen=True, slots=True)
class BoxParts:
    """Where the parts of one box go, from the box's top left corner."""

    outlines: tuple[float, ...]  #: offsets to the right and up; three read as "many" without a word
    badge: Point
    name: Point
    notes: tuple[Point, ...]
    bar: Rect | None


def parts_of(box: Box, width: float, height: float) -> BoxParts:
    """Where the parts of a box of this size go."""
    lines = 1 + len(box.notes)
    top = (height - LINE_HEIGHT * lines - (BAR_SPACE if has_bar(box) else 0)) / 2
    bar = Rect(BAR_X, height - BAR_HEIGHT - 5, width - 2 * BAR_X, BAR_HEIGHT)
    return BoxParts(
        outlines=PILE if box.folded else (0.0,),
        badge=(BADGE_X, top + LINE_HEIGHT / 2 + (4 if box.notes else 0)),
        name=(TEXT_X, top + NAME_BASELINE),
        notes=tuple((TEXT_X, top + NOTE_BASELINE + LINE_HEIGHT * line) for line in range(1, lines)),
        bar=bar if has_bar(box) else None,
    )


def has_bar(box: Box) -> bool:
    """Say whether a box shows how its jobs are shared out over the states."""
    return box.folded and bool(box.shares)


def size_of(box: Box) -> tuple[float, float]:
    """How wide and how high a box must be for its texts."""
    widths = [text_width(box.name, NAME_SIZE) * _BOLD, *(text_width(note, NOTE_SIZE) for note in box.notes)]
    height = PADDING_Y + LINE_HEIGHT * (1 + len(box.notes)) + (BAR_SPACE if has_bar(box) else 0)
    return max(widths) + PADDING_X, height


def text_width(text: str, size: float) -> float:
    """About how wide a text is in the widest font that it may be shown in; a little too wide rather than too narrow.

    >>> text_width("iii", 10) < text_width("www", 10)
    True
    """
    return size * sum(_character_width(character) for character in text)


def fitted(text: str, width: float, size: float) -> str:
    """`text`, cut so that it is no wider than `width`.

    >>> fitted("process-item-with-a-long-name", 80, 11)
    'process-ite…'
    """
    most = len(text)
    while most > 1 and text_width(cut(text, most), size) > width:
        most -= 1
    return cut(text, most)


def _character_width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if unicodedata.combining(character):
        return 0.0
    if not character.isascii() and character not in _WIDTHS:
        return _FOREIGN_WIDTH
    return _WIDTHS.get(character, _UPPER_WIDTH if character.isupper() else _OTHER_WIDTH)
