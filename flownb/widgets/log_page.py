"""The lines that rows have printed and logged, as a live view shows them: the ones that ended last, or are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flownb.batches.label_search import LabelMatches, label_text
from flownb.batches.printed import lines_of, read_wanted
from flownb.batches.row_facts import RowFacts
from flownb.batches.stored_batch import StoredBatch
from flownb.views.words import cut, first_line

MOST_ROWS, MOST_LINES = 200, 100  #: of one answer
_LABEL_CHARACTERS, _LINE_CHARACTERS = 30, 120


def page(
    stored: StoredBatch, facts: RowFacts, message: Mapping[str, Any], find: Callable[[str], LabelMatches]
) -> dict[str, Any]:
    """``lines`` ``[position, label, time, stream, text]``, the newest last; of how many; of how many rows.

    `text` in the question is looked for in the lines of the rows that ended last, and by `find` in the labels of all,
    of which so many are ``found``; ``level`` is one of logging's.
    """
    newest = list(dict.fromkeys(reversed(facts.newest)))[:MOST_ROWS]
    wanted = read_wanted(None, message.get("level") or None)
    text = str(message.get("text") or "").strip().casefold()
    index = stored.index
    named = set(find(text).positions[:MOST_ROWS].tolist()) if text else set()
    found = [
        (line.time or 0, position, cut(label_text(index[position]), _LABEL_CHARACTERS), line)
        for position, line in lines_of(stored, sorted(named.union(newest)))
        if wanted.takes(line)
    ]
    found = [
        item
        for item in found
        if item[1] in named or text in item[2].casefold() or text in item[3].text.casefold()
    ]
    found.sort(key=lambda item: item[0])
    return {
        "lines": [
            [
                position,
                label,
                line.time,
                line.stream,
                first_line(line.text, _LINE_CHARACTERS) if line.text else "",
            ]
            for _, position, label, line in found[-MOST_LINES:]
        ],
        "of": len(found),
        "rows": len(newest),
        "found": len(named) if text else None,
    }
