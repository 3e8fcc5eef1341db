"""Long texts in panels: cut with a word of what is left out; JSON as a person reads it, whole or in one line."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from flownb.errors import printable
from flownb.views.words import cut
from flownb.wire.secret_names import masked_values

MOST_CHARACTERS = 3000


def panel_text(text: str | None, *, end: bool = False) -> str:
    """Text without what does not print; of a long one the beginning, or the end."""
    text = text or ""
    if len(text) > MOST_CHARACTERS:
        left = f"… {len(text) - MOST_CHARACTERS:,} more characters …"
        text = f"{left}\n{text[-MOST_CHARACTERS:]}" if end else f"{text[:MOST_CHARACTERS]}\n{left}"
    return printable(text, kept="\n")


def panel_json(text: str | None) -> str:
    """JSON as a person reads it, without what its names say is secret.

    >>> print(panel_json('{"day":7}'))
    {
      "day": 7
    }
    """
    if text is None:
        return ""
    with contextlib.suppress(ValueError):  # another program's text: as it is
        text = json.dumps(masked_values(json.loads(text)), indent=2, ensure_ascii=False)
    return panel_text(text)


def in_a_line(value: Any, most: int) -> str:
    """A decoded JSON value in one line, the names of an object before its values, without secrets.

    >>> in_a_line({"day": 7, "text": "the quick brown fox"}, 24)
    "day 7, text 'the quick…"
    >>> in_a_line([1, 2], 24), in_a_line("a", 24)
    ('[1, 2]', "'a'")
    """
    value = masked_values(value)
    if isinstance(value, dict):
        parts = (f"{name} {_one(part, most)}" for name, part in value.items())
        return cut(printable(", ".join(parts)), most)
    return cut(_one(value, most), most)


def _one(value: Any, most: int) -> str:
    if isinstance(value, str):
        return printable(repr(value[: most + 1]))
    return printable(json.dumps(value, ensure_ascii=False)[: most + 1])
