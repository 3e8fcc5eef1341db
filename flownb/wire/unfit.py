"""Why a value has no JSON text: which part of it, what is wrong with that, and a way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flownb.arguments import with_article
from flownb.errors import FlowError

_MOST_LEVELS = 100  # below which the part is looked for
_MOST_KEY = 40  # characters of a key in a path

_HINTS = {
    "bytes": "use base64 text, or store it in a file and pass its path",
    "bytearray": "use base64 text, or store it in a file and pass its path",
    "DataFrame": 'use .to_dict("records"), fan out over its rows, or store it in a file and pass its path',
}


def explain(value: Any, where: str, error: Exception, write: Callable[[Any], str]) -> FlowError:
    """Return the refusal of a value that `write` could not make JSON text of, for which it raised `error`.

    `where` is the path to the value; that to the part of it that does not fit is added.
    """
    path, part, cause = where, value, error
    for _ in range(_MOST_LEVELS):
        found = _first_unfit(part, write)
        if found is None:
            break
        step, part, cause = found
        path += step
    return FlowError(f"{path}: {_reason(cause)}")


def _first_unfit(value: Any, write: Callable[[Any], str]) -> tuple[str, Any, Exception] | None:
    """Return the step to the first part of a value that has no JSON text, the part, and what that raised."""
    for step, part in _parts(value):
        try:
            write(part).encode()
        except Exception as error:
            return step, part, error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with the step to it; keys count as parts of their own."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            shown = str.__str__(key)[:_MOST_KEY]
            yield f", its key {shown!r}", key
            yield f".{shown}", item
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", item) for i, item in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{part.name}", getattr(value, part.name)) for part in dataclasses.fields(value))


def _reason(error: Exception) -> str:
    said = str(error)
    if isinstance(error, UnicodeEncodeError):
        return "holds text that is not Unicode (a lone surrogate); encode it first"
    if isinstance(error, RecursionError) or "Circular" in said:
        return "holds itself; break the circle"
    # The codec names the kind of what it does not know.
    if isinstance(error, TypeError) and said.isidentifier():
        return f"{with_article(said)} is not JSON; {_HINTS.get(said, 'pass text, numbers, lists or dicts')}"
    if isinstance(error, ValueError) and ("digits" in said or "too large" in said):
        return "a whole number of so many digits is not read as JSON; pass it as text"
    if isinstance(error, ValueError) and (said == "nan" or "JSON compliant" in said):
        return "NaN and infinity are not JSON; use None"
    return f"reading it raised {type(error).__name__}; pass text, numbers, lists or dicts"
