"""Small plain values as texts that are the same in every process: how two values of one name are compared."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re
import types
from collections.abc import Iterable
from typing import Any

from flownb.arguments import with_article

MOST_ITEMS, MOST_LETTERS, SHOWN_LETTERS = 1_000, 10_000, 60

_SECRET = re.compile(
    r"secret|passw|pwd|token|credential|creds|api_?key|private_?key|authorization", re.IGNORECASE
)
_EXACT = (bool, int, float, complex, type(None), type(...), range)
_WITH_LASTING_TEXTS = {"datetime", "decimal", "fractions", "uuid", "pathlib", "zoneinfo", "numpy"}


class NotPlain(Exception):
    """A value that is large, or not made of plain values alone."""


def text_of(name: str, value: Any) -> str:
    """Return a value's text: itself if it is short, else its type and a hash. Raises `NotPlain`.

    Texts that may be secrets are not looked at: what is returned is stored.

    >>> text_of("factor", 2), text_of("rates", {"b": 1, "a": [2.5]}), text_of("API_KEY", "x")
    ('2', "{'a': [2.5], 'b': 1}", 'a str')
    """
    if _SECRET.search(name) and not isinstance(value, (bool, int, float, type(None))):
        return with_article(type(value).__qualname__)
    text = _Texts().of(value)
    if len(text) <= SHOWN_LETTERS:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=6).hexdigest()
    return f"{with_article(type(value).__qualname__)} ({digest})"


class _Texts:
    """The text of one value; it counts what it has read, so that a large value costs little."""

    def __init__(self) -> None:
        self._items = self._letters = 0

    def of(self, value: Any) -> str:
        self._items += 1
        if self._items > MOST_ITEMS:
            raise NotPlain
        kind = type(value)
        if kind in _EXACT:
            return hex(value) if kind is int and value.bit_length() > 1_000 else repr(value)
        if kind in (str, bytes):
            return self._letter_text(value)
        if isinstance(value, enum.Enum):
            return f"{kind.__qualname__}.{value.name}"
        if kind.__module__ in _WITH_LASTING_TEXTS and not getattr(value, "shape", ()):
            return self._letter_text(value)
        return self._of_many(value)

    def _letter_text(self, value: Any) -> str:
        if isinstance(value, (str, bytes)):
            self._letters += len(value)
        if self._letters > MOST_LETTERS:
            raise NotPlain
        return repr(value)

    def _of_many(self, value: Any) -> str:
        kind = type(value)
        if kind is list:
            return f"[{self._joined(value)}]"
        if issubclass(kind, tuple):
            return f"{'' if kind is tuple else kind.__qualname__}({self._joined(value)})"
        if kind in (set, frozenset):
            self._check_size(value)
            inside = f"{{{', '.join(sorted(map(self.of, value)))}}}" if value else ""
            return inside if value and kind is set else f"{kind.__name__}({inside})"
        if kind is dict:
            return f"{{{self._pairs(value)}}}"
        if kind is types.SimpleNamespace:
            return f"namespace({self._pairs(vars(value))})"
        if dataclasses.is_dataclass(kind):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return f"{kind.__qualname__}({self._pairs(fields)})"
        raise NotPlain

    def _joined(self, values: Any) -> str:
        self._check_size(values)
        return ", ".join(map(self.of, values))

    def _pairs(self, values: dict[Any, Any]) -> str:
        self._check_size(values)
        pairs = ((self.of(key), item) for key, item in values.items())
        return ", ".join(sorted(f"{key}: {self._of_item(key, item)}" for key, item in pairs))

    def _of_item(self, key: str, item: Any) -> str:
        return "a str" if type(item) in (str, bytes) and _SECRET.search(key) else self.of(item)

    def _check_size(self, values: Any) -> None:
        if len(values) > MOST_ITEMS:
            raise NotPlain


def digest_of(parts: Iterable[Any]) -> str:
    """Return a hash of texts and lists of texts."""
    return hashlib.blake2b(repr(list(parts)).encode("utf-8", "backslashreplace"), digest_size=6).hexdigest()
