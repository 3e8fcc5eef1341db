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
import math
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from flownb.errors import FlowError
from flownb.wire import plain_json

MOST_BYTES = 10_000_000  #: of JSON in one value
MOST_DEPTH = 500  #: levels of lists and dicts
_PATH_CHARACTERS = 60  # of the path to a value that is nested too deep, in a message

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


def encode(value: Any, where: str, *, nan: str = "refuse") -> str:
    """Return `value` as compact JSON text.

    `where` is the path to it in a `FlowError`. `nan` is ``"refuse"`` (data a caller typed) or ``"null"``
    (rows and tasks' results, where a missing number is an answer).

    >>> encode({"item": 1.5}, "root.data")
    '{"item":1.5}'
    """
    try:
        value = _as_plain(value)
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


def _as_plain(value: Any) -> Any:
    try:
        return plain_json.plain(value)
    except (plain_json.TooDeep, RecursionError):
        return value  # `_check` says where


def decode(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for what is none, FlowError for one nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise FlowError(
            f"a stored JSON text of {len(text):,} characters is nested too deep to be read"
        ) from None


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


def _check(value: Any, where: str, depth: int) -> None:
    """Refuse what `json` would silently change: keys that are not text, endless depth."""
    kind = type(value)
    if kind in _LEAVES or kind is float:
        return
    if depth > MOST_DEPTH:
        raise FlowError(
            f"{where[:_PATH_CHARACTERS]}...: nested more than {MOST_DEPTH} levels deep, or in a circle"
        )
    if kind is dict or isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise FlowError(
                    f"{where}: the key {key!r} is {type(key).__name__}, JSON keys are text; use str()"
                )
            if type(item) not in _LEAVES:
                _check(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            if type(item) not in _LEAVES:
                _check(item, f"{where}[{i}]", depth + 1)
    else:
        _check_dataclass(value, where, depth + 1)


def _check_dataclass(value: Any, where: str, depth: int) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for part in dataclasses.fields(value):
            _check(getattr(value, part.name), f"{where}.{part.name}", depth)


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
    "DataFrame": 'use .to_dict("records"), fan out over its rows, or store it in a file and pass its path',
}


def _reason(value: Any, where: str, error: Exception) -> str:
    if isinstance(error, TypeError):
        kind = str(error)
        return f"a {kind} is not JSON; {_HINTS.get(kind, 'pass text, numbers, lists or dicts')}"
    if "Circular" in str(error) or isinstance(error, RecursionError):
        return "holds itself; break the circle"
    return f"NaN and infinity are not JSON; use None{_path_of_nan(value)}"


def _path_of_nan(value: Any, path: str = "") -> str:
    """Say where inside a value the first NaN or infinity is."""
    if isinstance(value, float) and not math.isfinite(value):
        return f" (at {path.lstrip('.')})" if path else ""
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    return next(filter(None, (_path_of_nan(item, at) for at, item in parts)), "")


def _without_nan(value: Any) -> Any:
    """Return a copy with None for NaN, NaT and NA; infinity stays, and is refused."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _without_nan(value.tolist())
    is_missing = type(value).__name__ in ("NAType", "NaTType") or (
        isinstance(value, float) and value != value
    )
    return None if is_missing else value
