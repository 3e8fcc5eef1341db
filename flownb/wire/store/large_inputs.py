"""Large inputs of a batch's rows, and from which size on: stored once, beside the flow; jobs refer to them.

A reference is ``{"flownb:large": "<digest of the input's text>"}``. Which cells of a row may be one is said in the
job's ``bind``; a user's own dict that looks like one is stored beside the flow too.
"""

from __future__ import annotations

import hashlib
import re
import threading
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import methodcaller
from typing import Any

from flownb.errors import JobMissing
from flownb.wire import codec
from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server

MOST = 262_144  #: characters of a cell that stands in the job itself
MOST_REMEMBERED = 32_000_000  #: characters of inputs that a process keeps
_MARK = '{"flownb:large":'
_REFERENCE = re.compile(r'"flownb:large":"([a-z2-7]{16})"')
_looks_referred = methodcaller("startswith", _MARK)


def has_large(texts: Sequence[str]) -> bool:
    """Is one of these JSON texts to stand beside the flow: a large one, or what only looks like a reference?"""
    return bool(texts) and (max(map(len, texts)) > MOST or any(map(_looks_referred, texts)))


def refer(texts: Sequence[str], beside: dict[str, str]) -> list[str]:
    """Put references in place of large JSON texts; those are added to `beside`, by their digests.

    >>> beside = {}
    >>> refer(["1", '{"flownb:large":"mine"}'], beside)
    ['1', '{"flownb:large":"w5nyr434w3ycqw5k"}']
    >>> beside
    {'w5nyr434w3ycqw5k': '{"flownb:large":"mine"}'}
    """
    referred = list(texts)
    known: dict[int, str] = {}  # the same object often stands in many rows
    for place, text in enumerate(texts):
        if len(text) > MOST or text.startswith(_MARK):
            digest = known.get(id(text)) or known.setdefault(id(text), digest_of_text(text))
            beside[digest] = text
            referred[place] = f'{_MARK}"{digest}"}}'
    return referred


def digest_of_text(text: str) -> str:
    """Return the digest by which a large input is stored."""
    return b32encode(hashlib.blake2b(text.encode(), digest_size=10).digest()).decode().lower()


def digests_in(texts: Iterable[str]) -> list[str]:
    """Return what the data of rows may refer to, each digest once."""
    return list(dict.fromkeys(digest for text in texts for digest in _REFERENCE.findall(text)))


def with_digests(text: str, others: Mapping[str, str]) -> str:
    """Return a row's text in which references have these digests in place of theirs."""
    return _REFERENCE.sub(lambda found: found[0].replace(found[1], others.get(found[1], found[1])), text)


def digest_of(cell: Any) -> str | None:
    """Return what a cell refers to, None if it is itself."""
    return cell["flownb:large"] if isinstance(cell, dict) and cell.keys() == {"flownb:large"} else None


def digests_at(rows: Iterable[Any], paths: Sequence[Sequence[str]]) -> list[str]:
    """Return what the data of these rows refer to at these paths, each digest once."""
    found = (digest_of(holder[name]) for holder, name in _cells(rows, paths))
    return list(dict.fromkeys(digest for digest in found if digest is not None))


def fill(rows: Iterable[Any], paths: Sequence[Sequence[str]], texts: Mapping[str, str]) -> None:
    """Put the values themselves into the data of rows: each its own, since a function may change it."""
    for holder, name in _cells(rows, paths):
        digest = digest_of(holder[name])
        if digest is not None:
            holder[name] = codec.decode(texts[digest])


def _cells(rows: Iterable[Any], paths: Sequence[Sequence[str]]) -> Iterator[tuple[dict[str, Any], str]]:
    for row in rows:
        for *way, name in paths:
            holder = row
            for step in way:
                holder = holder.get(step) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and name in holder:
                yield holder, name


class Remembered:
    """The inputs that this process used last. A digest tells the text, wherever it is stored."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def find(self, digests: Iterable[str]) -> dict[str, str]:
        """Return those that are known."""
        with self._lock:
            found = {digest: self._texts[digest] for digest in digests if digest in self._texts}
            for digest in found:
                self._texts.move_to_end(digest)
            return found

    def add(self, texts: Mapping[str, str]) -> None:
        """Remember these, and forget the oldest where it is too much."""
        with self._lock:
            for digest, text in texts.items():
                if digest not in self._texts:
                    self._texts[digest] = text
                    self._size += len(text)
            while self._size > MOST_REMEMBERED:
                _, text = self._texts.popitem(last=False)
                self._size -= len(text)


_remembered = Remembered()


class LargeInputs:
    """The large inputs that a flow keeps beside its jobs."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, flow: str, digests: Sequence[str]) -> dict[str, str]:
        """Return the JSON texts of a flow's large inputs, by digest; those that were used just now are not read again.

        Raises `JobMissing` for one that is gone.
        """
        found = _remembered.find(digests)
        for digest in digests:  # one at a time: each is large
            if digest in found:
                continue
            with server_errors():
                stored: Any = self._server.client.hget(self._server.key("inputs", flow), digest)
            if stored is None:
                raise JobMissing(
                    "a large input of this row is gone from the server; run its fan_out again: if_exists='rerun'"
                )
            found[digest] = codec.text(stored)
            _remembered.add({digest: found[digest]})
        return found

    def fill(self, flow: str | None, rows: Sequence[Any], paths: Sequence[Sequence[str]]) -> None:
        """Put large inputs into the data of rows that refer to them, at these paths."""
        digests = digests_at(rows, paths)
        if digests:
            fill(rows, paths, self.read(flow or "", digests))
