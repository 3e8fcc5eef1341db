"""One row of a batch as a cell shows it: what a live view's panel says of it, without a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flownb.views.html import notebook_style
from flownb.views.last_frame import where_in_code
from flownb.views.long_texts import panel_text
from flownb.views.markup import Markup, fill, joined
from flownb.views.words import UNKNOWN, shown, state_word
from flownb.wire.records import STATES


def row_html(
    label: str,
    state: str,
    facts: Iterable[tuple[str, str]],
    sections: Iterable[tuple[str, str]],
    traceback: str | None,
    picture: str | None,
) -> str:
    """The row's heading, what is to be said of it in a word, its texts by name, and a picture that it returned.

    Texts that are empty are left out; `picture` is a ``data:`` URL.
    """
    parts: Sequence[tuple[str, str, bool]] = [
        ("in your code", where_in_code(traceback), True),
        ("traceback", panel_text(traceback, end=True), False),
        *((name, panel_text(text), True) for name, text in sections),
    ]
    return str(
        fill(
            "row_page.html",
            style=Markup(notebook_style()),
            label=shown(label, 120),
            tone=state if state in STATES else UNKNOWN,
            state=state_word(state),
            facts=" · ".join(f"{name} {text}" for name, text in facts if text),
            picture=fill("row_picture.html", source=picture) if picture else Markup(""),
            sections=joined(
                fill("row_section.html", name=name, text=text, open="open" if is_open else "")
                for name, text, is_open in parts
                if text
            ),
        )
    )
