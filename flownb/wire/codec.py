"""Values to JSON text and back.

User JSON is made once, here, and stays text on its way through Lua. What JSON cannot hold is refused
with the path to it and a way out.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import json.encoder
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flownb.arguments import shown
from flownb.errors import FlowError
from flownb.wire import plain_json, unfit

MOST_BYTES = 10_000_000  #: of JSON in one value
MOST_DEPTH = 500  #: levels of lists and dicts
_PATH_CHARACTERS = 60  # of the path to a value that is nested too deep, in a message

_scan_once: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_MOST_PLAIN = 2**63  # of a number that is written without a look at its length
_LEAVES = (str, int, bool, type(None))


def text(reply: Any) -> str:
    """Return what the server holds as text. Bytes that are not UTF-8 are kept, and go back to scripts as they came.

    >>> text(b"bull:q:1"), text(7)
    ('bull:q:1', '7')
    """
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else str(reply)


def text_or_none(reply: Any) -> str | None:
    """Return what the server holds as text, or None where it holds nothing.

    >>> text_or_none(None)
    """
    return None if reply is None else text(reply)


class TooLarge(FlowError):
    """A value whose JSON is larger than the server should hold."""


def encode(value: Any, where: str, *, nan: str = "refuse", most: int = MOST_BYTES) -> str:
    """Return `value` as compact JSON text.

    `where` is the path to it in a `FlowError`. `nan` is ``"refuse"`` (data a caller typed) or ``"null"``
    (rows and tasks' results, where a missing number is an answer). Raises `TooLarge` above `most` bytes.

    >>> encode({"item": 1.5}, "root.data")
    '{"item":1.5}'
    """
    if (number := text_of_number(value)) is not None:
        return number
    try:
        size = _size_of_flat(value)
        if size is None:
            value = _as_plain(value)
            size = _check(value, where, 0)
        if size > most:  # told at once, not after all is written as JSON
            raise _too_large(where, size, most)
        try:
            text = _json(value)
        except ValueError:
            if nan == "refuse":
                raise
            text = _json(_without_nan(value))
        size = _bytes_in(text)
    except FlowError:
        raise
    except Exception as error:  # also what a class of the caller's raises when it is read
        raise unfit.explain(value, where, error, _written) from None
    if size > most:
        raise _too_large(where, size, most)
    return text


def _size_of_flat(value: Any) -> int | None:
    """Return how many bytes the JSON of a dict of JSON's own leaves has at least; None for any other value.

    Most jobs' data are such a dict, which needs one look instead of two.
    """
    if type(value) is not dict:
        return None
    size = 0
    for key, item in value.items():
        kind = type(item)
        if type(key) is not str or kind not in plain_json.AS_IT_IS:
            return None
        if kind is str:
            size += len(item)
    return size


def _bytes_in(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def text_of_number(value: Any) -> str | None:
    """Return a finite number of few digits as `encode` does, in a sixth of the time; None for anything else.

    >>> text_of_number(1.5), text_of_number(True), text_of_number(float("inf"))
    ('1.5', None, None)
    """
    kind = type(value)
    if (kind is int and -_MOST_PLAIN < value < _MOST_PLAIN) or (kind is float and value - value == 0.0):
        return repr(value)
    return None


def joined(texts: Sequence[str], where: str) -> str:
    """Return a list as JSON text from those of its items; raise `TooLarge` as `encode` does.

    >>> joined(['{"item":1.5}', "2"], "the returned value")
    '[{"item":1.5},2]'
    """
    text = f"[{','.join(texts)}]"
    if (size := _bytes_in(text)) > MOST_BYTES:
        raise _too_large(where, size, MOST_BYTES)
    return text


def _as_plain(value: Any) -> Any:
    try:
        return plain_json.plain(value)
    except (plain_json.TooDeep, RecursionError):
        return value  # `_check` says where


def _written(value: Any) -> str:
    return _json(_as_plain(value))


def log_row(row: Any) -> str:
    r"""Return a row of a job's log as text that can be stored; half a character is spelled out.

    >>> log_row("half \ud83d"), log_row(7)
    ('half \\ud83d', '7')
    """
    try:
        text = str.__str__(row) if isinstance(row, str) else str(row)
    except Exception as error:  # of a class of the caller's, or a number of too many digits
        raise FlowError(f"log: {shown(row)} has no text ({type(error).__name__}); give text") from None
    if len(text) > MOST_BYTES:
        raise _too_large("log", len(text), MOST_BYTES)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def decode(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for what is none, FlowError for one nested too deep."""
    try:
        return _loads(text)
    except RecursionError:
        raise FlowError(
            f"a stored JSON text of {len(text):,} characters is nested too deep to be read"
        ) from None


def _loads(text: str) -> Any:
    """Do what `json.loads` does, without its looking for white space on both sides: half the time of a short text."""
    try:
        value, end = _scan_once(text, 0)
    except StopIteration:  # nothing, or what white space is before
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def decode_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text holds; an empty one where another program wrote something else.

    >>> decode_object('{"a":1}'), decode_object("{broken")
    ({'a': 1}, {})
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or nested deeper than Python reads
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


def _too_large(where: str, size: int, most: int) -> TooLarge:
    return TooLarge(
        f"{where}: at least {size:,} bytes of JSON, more than the {most:,} allowed; "
        "store it in a file and pass its path"
    )


def _check(value: Any, where: str, depth: int) -> int:
    """Refuse what `json` would silently change: keys that are not text, endless depth.

    Returns how many bytes the JSON has at least.
    """
    kind = type(value)
    if kind is str:
        return len(value)
    if kind in _LEAVES or kind is float:
        return 0
    if depth > MOST_DEPTH:
        raise FlowError(
            f"{where[:_PATH_CHARACTERS]}...: nested more than {MOST_DEPTH} levels deep, or in a circle"
        )
    if kind is dict or isinstance(value, Mapping):
        return _check_mapping(value, where, depth)
    if isinstance(value, (list, tuple)):
        size = 2 * len(value)  # a digit and a comma
        for i, item in enumerate(value):
            kind = type(item)
            if kind is str:
                size += len(item)
            elif kind not in _LEAVES:
                size += _check(item, f"{where}[{i}]", depth + 1)
        return size
    return _check_object(value, where, depth + 1)


def _check_mapping(value: Mapping[Any, Any], where: str, depth: int) -> int:
    size = 0
    for key, item in value.items():
        if not isinstance(key, str):
            raise FlowError(
                f"{where}: the key {shown(key)} is {type(key).__name__}, JSON keys are text; use str()"
            )
        kind = type(item)
        if kind is str:
            size += len(item)
        elif kind not in _LEAVES:
            size += _check(item, f"{where}.{key}", depth + 1)
    return size


def _check_object(value: Any, where: str, depth: int) -> int:
    """Look into a dataclass, and at the size of an array: a digit and a comma for each item."""
    if isinstance(value, str):
        return len(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = dataclasses.fields(value)
        return sum(_check(getattr(value, part.name), f"{where}.{part.name}", depth) for part in parts)
    return 2 * int(value.size) if _is_numpys(value) and hasattr(value, "tolist") else 0


def _is_numpys(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "numpy"


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
    if _is_numpys(value):
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


def _without_nan(value: Any) -> Any:
    """Return a copy with None for NaN, NaT and NA; infinity stays, and is refused."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if _is_numpys(value) and hasattr(value, "tolist"):
        return _without_nan(value.tolist())
    is_missing = type(value).__name__ in ("NAType", "NaTType") or (
        isinstance(value, float) and value != value
    )
    return None if is_missing else value
