"""Values that no caller should pass, and some that look like those one may: made by a seeded generator."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

import flownb as fn

SECRET = "hunter2"  # stands in what messages must not show: values of the caller's own classes


class Untouchable:
    """Raises whatever it is asked: its truth, its text, its hash, whether it is equal to something."""

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError(SECRET)

    __bool__ = __eq__ = __ne__ = __len__ = __str__ = __repr__ = __hash__ = __contains__ = _refuse
    __int__ = __float__ = __index__ = __lt__ = __gt__ = __le__ = __ge__ = __add__ = __format__ = _refuse


class Told:
    """Shows a secret in its text, and is longer than any message."""

    def __repr__(self) -> str:
        return SECRET * 100_000

    __str__ = __repr__


class OddText(str):
    """Text of a class whose own methods raise."""

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError(SECRET)

    __repr__ = __str__ = __format__ = _refuse


class OddNumber(int):
    """A number of a class whose own methods raise."""

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError(SECRET)

    __repr__ = __str__ = __format__ = _refuse


class CallersOwn(RuntimeError):
    """What reading a caller's class raises is the caller's, and reaches the caller."""


class Unreadable(Mapping[str, Any]):
    """A mapping that has a length and cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise CallersOwn(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise CallersOwn(SECRET)

    def __len__(self) -> int:
        return 3

    def __repr__(self) -> str:
        raise CallersOwn(SECRET)


class Colour(enum.Enum):
    RED = "red"
    ODD = (1, {2})


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


Pair = collections.namedtuple("Pair", "left right")


def circle() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


def circular_dict() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["again"] = made
    return made


def deep(levels: int) -> Any:
    made: Any = 1
    for _ in range(levels):
        made = [made]
    return made


TEXTS = (
    *(
        "",
        " ",
        "a",
        "ok",
        " a",
        "a ",
        "x" * 257,
        "x" * 100_000,
        "é" * 129,
        "😀",
        "%s %d {0} {x!r}",
        "$x ${y}",
    ),
    *(
        "\0",
        "a\0b",
        "a\nb",
        "\r\n",
        "\x1b[31mred",
        "\x1b]0;owned\x07",
        "\x9b2J",
        "\u202egpj",
        "\u2028",
        "\ud800",
        "\udc80",
    ),
    *(
        "a:b",
        "a:b:c",
        ":",
        "::",
        "0",
        "123",
        "٣",
        "-1",
        "1.5",
        "nan",
        "inf",
        "*",
        "?",
        "[a]",
        "{a}",
        "{a",
        "flownb",
        "bull",
    ),
    *(
        "wait",
        "active",
        "meta",
        "id",
        "events",
        "waiting",
        "completed",
        "failed",
        "auto",
        "threads",
        "processes",
        "drop",
    ),
    *(
        "30s",
        "-5s",
        "5/s",
        "0/s",
        "1e9d",
        "9" * 400 + "s",
        "9" * 5000 + "/s",
        "exponential 1s",
        "exponential",
        "fixed x",
    ),
    *(
        "redis://",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "__proto__",
        "None",
        "q:a",
        "q:events",
        "'\"\\",
    ),
)

MAKERS: tuple[Callable[[], Any], ...] = (
    *(lambda value=value: value for value in (None, True, False, Ellipsis, NotImplemented)),
    *(
        lambda value=value: value
        for value in (0, 1, -1, 2, 3, 1000, 1001, 2**31, 2**53 + 1, 2**63, -(2**63), 10**18)
    ),
    *(lambda value=value: value for value in (10**400, 10**5000, -(10**5000))),
    *(
        lambda value=value: value
        for value in (0.0, -0.0, 0.5, 2.5, 1e-300, 1e308, math.nan, math.inf, -math.inf)
    ),
    *(
        lambda value=value: value
        for value in (np.int64(3), np.uint8(1), np.float64(0.5), np.float32(2.5), np.bool_(True))
    ),
    *(
        lambda value=value: value
        for value in (np.float64("nan"), np.str_("a"), np.bytes_(b"a"), np.timedelta64(1, "s"))
    ),
    *(
        lambda value=value: value
        for value in (np.datetime64("NaT"), np.datetime64("2024-01-01"), np.complex128(1j))
    ),
    lambda: np.array([]),
    lambda: np.array(3),
    lambda: np.array([1, 2]),
    lambda: np.array(["a", "b"]),
    lambda: np.array([{"a": 1}, None], dtype=object),
    lambda: np.zeros((2, 2)),
    lambda: np.ma.masked_array([1, 2], [True, False]),
    lambda: pd.Series([1, 2], name="a"),
    lambda: pd.Series([], dtype=object),
    lambda: pd.Series([True, False]),
    lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    lambda: pd.DataFrame(),
    lambda: pd.DataFrame({"a": [1, 2]}).groupby("a"),
    lambda: pd.Index(["a", "b"]),
    lambda: pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
    lambda: pd.Categorical(["a", "b"]),
    *(lambda value=value: value for value in (pd.NA, pd.NaT, pd.Timestamp("2024-01-01"), pd.Timedelta("1s"))),
    *(lambda value=value: value for value in (pd.Interval(0, 1), pd.Period("2024"), pd.Timedelta.max)),
    *(lambda value=value: value for value in (b"", b"a", b"\xff\x00", bytearray(b"a"), memoryview(b"a"))),
    *(
        lambda value=value: value
        for value in (1j, decimal.Decimal("NaN"), decimal.Decimal("1.5"), fractions.Fraction(1, 3))
    ),
    *(
        lambda value=value: value
        for value in (datetime.timedelta(-1), datetime.timedelta(seconds=1), datetime.timedelta.max)
    ),
    *(lambda value=value: value for value in (datetime.datetime.min, datetime.date.max, datetime.UTC)),
    *(lambda value=value: value for value in (Colour.RED, Colour.ODD, pathlib.Path("a"), uuid.UUID(int=0))),
    *(
        lambda value=value: value
        for value in (object, int, Point, len, lambda: 1, print, math, KeyError, KeyError("a"))
    ),
    lambda: object(),
    lambda: Untouchable(),
    lambda: Told(),
    lambda: OddText("a"),
    lambda: OddText(""),
    lambda: OddNumber(3),
    lambda: Unreadable(),
    lambda: Point({1: 2}),
    lambda: Point(Untouchable()),
    lambda: Pair(1, {2}),
    lambda: circle(),
    lambda: circular_dict(),
    lambda: deep(50),
    lambda: deep(501),
    lambda: deep(100_000),
    lambda: [],
    lambda: {},
    lambda: (),
    lambda: {1, 2},
    lambda: frozenset(),
    lambda: {1: 2, "1": 3},
    lambda: {None: 1},
    lambda: {("a", 1): 2},
    lambda: {"\ud800": 1},
    lambda: {"max": 5, "duration": 1000},
    lambda: {"max": np.int64(5), "duration": pd.NA},
    lambda: {"type": pd.Series([1]), "delay": 1},
    lambda: {"age": np.array([1]), "count": None},
    lambda: {"q": {"defaultJobOptions": pd.DataFrame()}},
    lambda: iter([]),
    lambda: (n for n in ("a", "b")),
    lambda: range(3),
    lambda: map(str, [1]),
    lambda: fn.Node("n", "q"),
    lambda: fn.Node(None, pd.NA),  # type: ignore[arg-type]
    lambda: {"name": "n", "queueName": "q"},
    lambda: {"name": np.array([1]), "queueName": pd.Series([1])},
)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Return a hostile value; sometimes inside a list or a dict."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(TEXTS)
    if kind < 0.85 or depth > 2:
        return rng.choice(MAKERS)()
    if kind < 0.92:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    keys = ("a", "name", "opts", "type", "delay", "max", rng.choice(TEXTS))
    return {rng.choice(keys): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def tree(rng: random.Random, depth: int = 0) -> Any:
    """Return a tree in which one or two things are hostile."""
    node: dict[Any, Any] = {"name": "n", "queueName": "q", "data": {"x": 1}, "opts": {"attempts": 2}}
    if depth < 3 and rng.random() < 0.5:
        node["children"] = [tree(rng, depth + 1) for _ in range(rng.randrange(3))]
    for _ in range(rng.randrange(3)):
        spoil(rng, node)
    if rng.random() < 0.1:
        return fn.Node(value(rng), value(rng), value(rng), value(rng), value(rng), prefix=value(rng))
    return node


def spoil(rng: random.Random, node: dict[Any, Any]) -> None:
    """Put a hostile value into one place of a node."""
    place = rng.choice(
        ("name", "queueName", "data", "inside", "opts", "option", "children", "prefix", "key", "gone")
    )
    if place == "inside":
        node["data"] = {"list": [0, {"deep": value(rng)}], "x": value(rng)}
    elif place == "option":
        node["opts"] = {rng.choice((*OPTIONS, rng.choice(TEXTS))): value(rng)}
    elif place == "key":
        node[rng.choice((*TEXTS, "queue_name", "childs", 5, None))] = value(rng)
    elif place == "gone":
        node.pop(rng.choice(("name", "queueName", "data", "opts")), None)
    else:
        node[place] = value(rng)


OPTIONS = (
    *(
        "jobId",
        "attempts",
        "backoff",
        "priority",
        "delay",
        "lifo",
        "timeout",
        "removeOnComplete",
        "removeOnFail",
    ),
    *(
        "failParentOnFailure",
        "ignoreDependencyOnFailure",
        "removeDependencyOnFailure",
        "continueParentOnFailure",
    ),
    *("stackTraceLimit", "keepLogs", "sizeLimit", "job_id", "stack_trace_limit", "remove_on_complete"),
)


def rows(rng: random.Random) -> Any:
    """Return rows for `fan_out` in which cells, labels or columns are hostile."""
    if rng.random() < 0.3:
        return value(rng)
    cells = [value(rng) if rng.random() < 0.3 else 1 for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.4:
        return cells
    column = pd.Series(cells, dtype=object)
    frame = pd.DataFrame({"x": column})
    if rng.random() < 0.2:
        frame = pd.concat([frame, frame], axis=1)
    if rng.random() < 0.2:
        frame.columns = pd.Index([rng.choice(MAKERS[:20])() for _ in frame.columns], dtype=object)
    if rng.random() < 0.3:
        frame.index = pd.Index([rng.choice((*TEXTS[:20], 1, None, (1, 2), 2.5)) for _ in cells], dtype=object)
    return frame
