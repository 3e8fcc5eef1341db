"""Values to JSON text and back, and flownb's own packed lists.

User JSON is made once, here, and stays text on its way through Lua. What JSON cannot hold is refused
with its place and the way to mend it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import json
import json.encoder
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flownb.errors import FlowError
from flownb.wire import keys

MOST_BYTES = 10_000_000
MOST_DEPTH = 500
_TOLD = 60  # characters of a place too deep that a message tells

_LEAVES = (str, int, bool, type(None))


def text(reply: Any) -> str:
    """Return what the server holds as text. Bytes that are not UTF-8 are kept, and go back as they came.

    >>> text(b"bull:q:1"), text(7)
    ('bull:q:1', '7')
    """
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else str(reply)


def text_or_none(reply: Any) -> str | None:
    """Return what the server holds as text, or None where it holds nothing.

    >>> text_or_none(None)
    """
    return None if reply is None else text(reply)


def encode(value: Any, where: str, *, nan: str = "refuse") -> str:
    """Return `value` as compact JSON text.

    `where` names the place in a `FlowError`. `nan` is ``"refuse"`` (data a caller typed) or ``"null"``
    (rows and tasks' results, where a missing number is an answer).

    >>> encode({"item": 1.5}, "root.data")
    '{"item":1.5}'
    """
    try:
        _check(value, where, 0)
        try:
            text = _json(value)
        except ValueError:
            if nan == "refuse":
                raise
            text = _json(_without_nan(value))
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise FlowError(
            f"{where}: holds text that is not Unicode (a lone surrogate); encode it first"
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, FlowError):
            raise
        raise FlowError(f"{where}: {_reason(value, where, error)}") from None
    if size > MOST_BYTES:
        raise FlowError(
            f"{where}: {size:,} bytes of JSON, more than the {MOST_BYTES:,} allowed; "
            "store it in a file and pass its path"
        )
    return text


def decode(text: str) -> Any:
    """Return the value of a JSON text."""
    return json.loads(text)


def decode_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text holds; an empty one where another program wrote something else.

    >>> decode_object('{"a":1}'), decode_object("{broken")
    ({'a': 1}, {})
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def decode_each(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of each JSON text; many at once take a quarter of the time that they take one by one.

    >>> decode_each({"a": "1", "b": "[2]"})
    {'a': 1, 'b': [2]}
    """
    try:
        values = json.loads(f"[{','.join(texts.values())}]")
    except ValueError:
        values = []
    if len(values) != len(texts):  # one of them is no JSON text: say which by its error
        values = [decode(text) for text in texts.values()]
    return dict(zip(texts, values, strict=True))


def _check(value: Any, where: str, depth: int) -> None:
    """Refuse what `json` would silently change: keys that are not text, endless depth."""
    kind = type(value)
    if kind in _LEAVES or kind is float:
        return
    if depth > MOST_DEPTH:
        raise FlowError(f"{where[:_TOLD]}...: nested more than {MOST_DEPTH} levels deep, or in a circle")
    if kind is dict or isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise FlowError(
                    f"{where}: the key {key!r} is {type(key).__name__}, JSON keys are text; use str()"
                )
            if type(item) not in _LEAVES:
                _check(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            if type(item) not in _LEAVES:
                _check(item, f"{where}[{i}]", depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for part in dataclasses.fields(value):
            _check(getattr(value, part.name), f"{where}.{part.name}", depth + 1)


def _default(value: Any) -> Any:
    """Give `json` a plain value for one it does not know; see docs/data-types.md."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        if value != value:  # pandas' NaT
            raise ValueError("nan")
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (decimal.Decimal, uuid.UUID, os.PathLike)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__module__.split(".")[0] == "numpy":
        return value.tolist()
    if type(value).__name__ == "NAType":
        raise ValueError("nan")
    raise TypeError(type(value).__name__)


_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default)


def _json_maker() -> Callable[[Any], str]:
    """Return what `_STRICT.encode` does, without its making a new C encoder for every value: half the time."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return _STRICT.encode
    chunks = make(None, _default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_json = _json_maker()
_HINTS = {
    "bytes": "use base64 text, or store it in a file and pass its path",
    "bytearray": "use base64 text, or store it in a file and pass its path",
    "set": "use sorted(...) to make it a list",
    "frozenset": "use sorted(...) to make it a list",
    "DataFrame": 'use .to_dict("records"), fan out over its rows, or store it in a file and pass its path',
    "Series": "use .tolist()",
}


def _reason(value: Any, where: str, error: Exception) -> str:
    if isinstance(error, TypeError):
        kind = str(error)
        return f"a {kind} is not JSON; {_HINTS.get(kind, 'pass text, numbers, lists or dicts')}"
    if "Circular" in str(error) or isinstance(error, RecursionError):
        return "holds itself; break the circle"
    return f"NaN and infinity are not JSON; use None{_place_of_nan(value)}"


def _place_of_nan(value: Any, path: str = "") -> str:
    """Say where inside a value the first NaN or infinity is."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return f" (at {path.lstrip('.')})" if path else ""
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    return next(filter(None, (_place_of_nan(item, place) for place, item in parts)), "")


def _without_nan(value: Any) -> Any:
    """Return a copy with None for NaN, NaT and NA; infinity stays, and is refused."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _without_nan(value.tolist())
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    return value


@dataclasses.dataclass(frozen=True, slots=True)
class Children:
    """A parent's declared children, in order; of a batch, with the rows they stand for."""

    keys: list[str]
    positions: list[int] | None = None  #: row numbers in the frame
    labels: list[Any] | None = None  #: index labels, as JSON
    counts: list[int] | None = None  #: rows in each child; None: each child is one row
    places: list[int | None] | None = None
    """Where in its child each row is, None where the child is the row; without it they are all there, in order."""
    added: bool = False  #: by the parent itself, while it ran

    def locations(self) -> Iterator[tuple[str, int | None]]:
        """Yield for each row the key of its job and where it is in that job; None where the job is the row."""
        if self.counts is None:
            return zip(self.keys, itertools.repeat(None))
        keys = itertools.chain.from_iterable(map(itertools.repeat, self.keys, self.counts))
        places = self.places or itertools.chain.from_iterable(map(range, self.counts))
        return zip(keys, places, strict=True)


@dataclasses.dataclass(slots=True)
class PlannedRows:
    """Which rows a parent's children stand for, child by child; see `Children`."""

    positions: list[int]
    labels: list[Any]  #: empty where the index needs none
    counts: list[int] | None = None
    places: list[int | None] | None = None

    def pieces(self, children: int, most: int) -> Iterator[tuple[int, int, PlannedRows]]:
        """Cut into pieces of about `most` rows: from child, to child, and the rows of those."""
        if self.counts is None:
            for start in range(0, children, most):
                stop = min(start + most, children)
                yield start, stop, PlannedRows(self.positions[start:stop], self.labels[start:stop])
            return
        start = row = rows = 0
        for stop, count in enumerate(self.counts, 1):
            rows += count
            if rows >= most or stop == children:
                end = row + rows
                yield (
                    start,
                    stop,
                    PlannedRows(
                        self.positions[row:end],
                        self.labels[row:end],
                        self.counts[start:stop],
                        self.places and self.places[row:end],
                    ),
                )
                start, row, rows = stop, end, 0


def pack_children(bases: Sequence[str], ids: Sequence[str], rows: PlannedRows | None = None) -> bytes:
    """Pack children for the server: their queues' qualified names, their ids, and maybe their rows."""
    names = list(dict.fromkeys(bases))
    place = {name: i for i, name in enumerate(names)}
    of = [place[base] for base in bases] if len(names) > 1 else 0
    packed: dict[str, Any] = {"bases": names, "of": of, "ids": list(ids)}
    if rows is not None:
        packed["positions"], packed["labels"] = rows.positions, rows.labels
        if rows.counts is not None:
            packed["counts"], packed["places"] = rows.counts, rows.places
    return zlib.compress(json.dumps(packed, ensure_ascii=False, separators=(",", ":")).encode(), 1)


def unpack_children(packed: bytes, *, added: bool = False) -> Children:
    """Undo `pack_children`."""
    found = json.loads(zlib.decompress(packed))
    bases, of, ids = found["bases"], found["of"], found["ids"]
    if not of and bases:  # all are in one queue
        job_keys = keys.jobs_in(bases[0], ids)
    else:
        job_keys = [keys.job_in(bases[i], id) for i, id in zip(of or (), ids, strict=True)]
    rows = {name: found.get(name) for name in ("positions", "labels", "counts", "places")}
    return Children(job_keys, **rows, added=added)
