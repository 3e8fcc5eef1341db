"""An index as JSON labels and a spec, and back: same dtype, names and labels."""

from __future__ import annotations

import contextlib
import math
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from flownb.batches import arrow_labels
from flownb.batches.columns import MASKED, type_name
from flownb.batches.plain_labels import ODD, label_in, label_or_text, label_out
from flownb.errors import FlowError

TEXT_DTYPE: Any = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"


def index_to_json(index: pd.Index[Any]) -> tuple[dict[str, Any], Callable[[int, int], list[Any]]]:
    """An index for the server: a spec, and a function that gives the labels of a chunk of rows.

    A RangeIndex is whole in its spec and its chunks are empty. Labels of an object
    index that are no JSON values, dates, Decimals or tuples of such come back as
    text; ``spec["as_text"]`` then lists their types. ``freq`` is not kept.

    >>> spec, chunk = index_to_json(pd.Index(["a", "b", "c"], name="key"))
    >>> spec["names"], chunk(0, 2) + chunk(2, 4)
    (['key'], ['a', 'b', 'c'])
    """
    return _spec(index), partial(labels, index)


def labels(index: pd.Index[Any], start: int, stop: int) -> list[Any]:
    """The labels of rows `start` to `stop` as JSON values; none for a RangeIndex.

    Points in time are integers in the index's own unit, categories are their codes.

    >>> labels(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), 0, 1)
    [['a', 1]]
    """
    return _KINDS[_kind(index)].labels(index[start:stop])


def without_length(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec without its number of labels: pieces of one index have the same.

    >>> without_length(index_to_json(pd.Index(["a"]))[0]) == without_length(index_to_json(pd.Index(["b", "c"]))[0])
    True
    """
    rest = {name: value for name, value in spec.items() if name != "length"}
    if "parts" in spec:
        rest["parts"] = [without_length(part) for part in spec["parts"]]
    return rest


def index_from_json(spec: Mapping[str, Any], labels: Sequence[Any]) -> pd.Index[Any]:
    """The index that `spec` and all its labels, in order, describe: same dtype, names and labels.

    Raises FlowError if there are not as many labels as the spec promises.

    >>> import json
    >>> index = pd.date_range("2024-01-01", periods=3, tz="Europe/Paris", name="day", unit="us")
    >>> spec, chunk = index_to_json(index)
    >>> index_from_json(json.loads(json.dumps(spec)), chunk(0, 3)).equals(index)
    True
    """
    if spec["kind"] != "range" and len(labels) != spec["length"]:
        raise FlowError(f"index: {len(labels)} labels are stored, {spec['length']} rows were declared")
    index: pd.Index[Any] = _KINDS[spec["kind"]].index(spec, labels)
    index.names = [label_in(name) for name in spec["names"]]
    return index


@dataclass(frozen=True)
class _Kind:
    """How one kind of index is described, its labels written, and the index made again."""

    spec: Callable[[Any], dict[str, Any]]
    labels: Callable[[Any], list[Any]]
    index: Callable[[Mapping[str, Any], Sequence[Any]], Any]


def _kind(index: pd.Index[Any] | _Gaps) -> str:
    if isinstance(index, _Gaps):
        return "gaps"
    for kind, classes in _CLASSES.items():
        if isinstance(index, classes):
            return kind
    dtype: Any = index.dtype
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if isinstance(dtype, pd.ArrowDtype) and arrow_labels.are_exact(dtype.pyarrow_dtype):
        return "arrow"
    if isinstance(index.array, MASKED):
        return "nullable"
    return "number" if isinstance(dtype, np.dtype) and dtype.kind in "biuf" else "object"


_CLASSES: dict[str, Any] = {
    "range": pd.RangeIndex,
    "multi": pd.MultiIndex,
    "category": pd.CategoricalIndex,
    "interval": pd.IntervalIndex,
    "time": (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex),
}


def _spec(index: pd.Index[Any]) -> dict[str, Any]:
    kind = _kind(index)
    names = [label_or_text(name) for name in index.names]
    return {"kind": kind, "length": len(index), "names": names, **_KINDS[kind].spec(index)}


def _parts_spec(parts: Iterable[pd.Index[Any]]) -> dict[str, Any]:
    return {"parts": [_spec(part) for part in parts]}


def _parts_labels(parts: Iterable[pd.Index[Any]]) -> list[Any]:
    return [list(label) for label in zip(*(labels(part, 0, len(part)) for part in parts), strict=True)]


def _parts_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> list[pd.Index[Any]]:
    columns = list(zip(*labels, strict=True)) or [()] * len(spec["parts"])
    parts = zip(spec["parts"], columns, strict=True)  # of all rows, or of those of a group
    return [index_from_json({**part, "length": len(column)}, column) for part, column in parts]


@dataclass
class _Gaps:
    """A level of whole numbers or bools of which some rows have none: as an index by itself it would be floats."""

    level: pd.Index[Any]
    codes: np.ndarray[Any, Any]
    names: Sequence[Any] = (None,)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> _Gaps:
        return _Gaps(self.level, self.codes[rows])

    def labels(self) -> list[Any]:
        values = self.level.tolist()
        return [None if code < 0 else values[code] for code in self.codes.tolist()]

    @classmethod
    def of_labels(cls, spec: Mapping[str, Any], labels: Sequence[Any]) -> _Gaps:
        number = {
            label: code
            for code, label in enumerate(label for label in dict.fromkeys(labels) if label is not None)
        }
        level = _number_in(spec, list(number))
        return cls(level, np.array([number.get(label, -1) for label in labels], dtype=np.int64))


def _levels(index: pd.MultiIndex) -> list[Any]:
    plain = index.set_names([None] * index.nlevels)  # a level's number could be another level's name
    return [_level(plain, number) for number in range(index.nlevels)]


def _level(index: pd.MultiIndex, number: int) -> Any:
    level, codes = index.levels[number], np.asarray(index.codes[number])
    if isinstance(level.dtype, np.dtype) and level.dtype.kind in "biu" and (codes < 0).any():
        return _Gaps(level, codes)
    return _listable(index.get_level_values(number))


def _multi_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    parts: list[Any] = _parts_in(spec, labels)
    made = pd.MultiIndex.from_arrays([part.codes if isinstance(part, _Gaps) else part for part in parts])
    gaps = {number: part for number, part in enumerate(parts) if isinstance(part, _Gaps)}
    if not gaps:
        return made
    levels: Any = [
        gaps[number].level if number in gaps else level for number, level in enumerate(made.levels)
    ]
    codes: Any = [gaps[number].codes if number in gaps else found for number, found in enumerate(made.codes)]
    return pd.MultiIndex(levels=levels, codes=codes)


def _listable(index: pd.Index[Any]) -> pd.Index[Any]:
    return pd.Index(index.to_numpy(), name=index.name) if isinstance(index, pd.RangeIndex) else index


def _ends(index: pd.IntervalIndex[Any]) -> list[pd.Index[Any]]:
    return [_listable(index.left), _listable(index.right)]


def _interval_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    left, right = _parts_in(spec, labels)
    return pd.IntervalIndex.from_arrays(left, right, closed=spec["closed"])


def _category_spec(index: pd.CategoricalIndex[Any]) -> dict[str, Any]:
    categories = index.categories
    return {
        "categories": _spec(categories),
        "labels": labels(categories, 0, len(categories)),
        "ordered": bool(index.ordered),
    }


def _category_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    categories = index_from_json(spec["categories"], spec["labels"])
    made = pd.Categorical.from_codes(list(labels), categories=categories, ordered=spec["ordered"])
    return pd.CategoricalIndex(made)


_MISSING_TIME = np.iinfo(np.int64).min


def _time_spec(index: Any) -> dict[str, Any]:
    if isinstance(index.dtype, pd.DatetimeTZDtype) and not _has_a_name(index.dtype):
        return {"dtype": f"datetime64[{index.unit}, UTC]", "as_utc": True}
    is_of_zoneinfo = isinstance(getattr(index.dtype, "tz", None), zoneinfo.ZoneInfo)
    return {"dtype": str(index.dtype), **({"zoneinfo": True} if is_of_zoneinfo else {})}


def _has_a_name(dtype: pd.DatetimeTZDtype) -> bool:
    try:
        return str(pd.api.types.pandas_dtype(str(dtype))) == str(dtype)
    except (TypeError, ValueError, KeyError):
        return False


def _time_labels(index: Any) -> list[Any]:
    return [None if value == _MISSING_TIME else value for value in index.asi8.tolist()]


def _time_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    numbers = np.array([_MISSING_TIME if value is None else value for value in labels], dtype=np.int64)
    dtype: Any = pd.api.types.pandas_dtype(spec["dtype"])
    if isinstance(dtype, pd.PeriodDtype):
        return pd.PeriodIndex.from_ordinals(numbers, freq=dtype.freq)  # type: ignore[attr-defined]
    if isinstance(dtype, pd.DatetimeTZDtype):
        times = pd.DatetimeIndex(numbers.view(f"M8[{dtype.unit}]"))
        zone = zoneinfo.ZoneInfo(str(dtype.tz)) if "zoneinfo" in spec else dtype.tz  # pandas 2 reads pytz's
        return times.tz_localize("UTC").tz_convert(zone)
    return pd.Index(numbers.view(dtype))


def _number_labels(index: Any) -> list[Any]:
    if index.dtype.kind != "f":
        return list(index.tolist())
    return [_float_out(value) for value in index.to_numpy().tolist()]


def _float_out(value: Any) -> Any:
    if value is None or value is pd.NA or math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value


def _number_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    dtype = np.dtype(spec["dtype"])
    values = (
        [math.nan if label is None else float(label) for label in labels] if dtype.kind == "f" else labels
    )
    return pd.Index(np.array(values, dtype=dtype))


def _nullable_labels(index: Any) -> list[Any]:
    values = index.array.to_numpy(dtype=object, na_value=None).tolist()
    return [_float_out(value) for value in values] if index.dtype.kind == "f" else list(values)


def _nullable_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    dtype: Any = pd.api.types.pandas_dtype(spec["dtype"])
    missing = np.array([label is None for label in labels], dtype=bool)
    values = np.array([0 if label is None else label for label in labels], dtype=dtype.numpy_dtype)
    return pd.Index(dtype.construct_array_type()(values, missing))


def _text_labels(index: pd.Index[Any]) -> list[Any]:
    return [None if gone else str(text) for text, gone in zip(index.tolist(), index.isna(), strict=True)]


def _text_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    return pd.Index(pd.array(list(labels), dtype=_text_dtype(spec)))


def _text_spec(index: pd.Index[Any]) -> dict[str, Any]:
    dtype: Any = index.dtype
    return {"dtype": str(dtype), "storage": dtype.storage}


def _text_dtype(spec: Mapping[str, Any]) -> Any:
    """The same dtype, in the same storage where this kernel has it."""
    is_str = spec["dtype"] == "str"
    if is_str and TEXT_DTYPE != "str":
        return TEXT_DTYPE
    with contextlib.suppress(ImportError, ValueError):
        return pd.StringDtype(spec["storage"], **({"na_value": np.nan} if is_str else {}))
    return spec["dtype"]


def _object_spec(index: pd.Index[Any]) -> dict[str, Any]:
    odd = sorted({type_name(label) for label in index if label_out(label) is ODD})
    return {"dtype": str(index.dtype), **({"as_text": odd} if odd else {})}


def _object_labels(index: pd.Index[Any]) -> list[Any]:
    return [label_or_text(label) for label in index]


def _object_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    values = np.empty(len(labels), dtype=object)
    values[:] = [label_in(label) for label in labels]
    made = pd.Index(values, dtype=object, tupleize_cols=False)
    if spec["dtype"] == "object" or "as_text" in spec:
        return made
    try:
        return made.astype(spec["dtype"])
    except (TypeError, ValueError, ImportError, NotImplementedError, OverflowError):
        return made


def _dtype_spec(index: pd.Index[Any]) -> dict[str, Any]:
    return {"dtype": str(index.dtype)}


_KINDS: dict[str, _Kind] = {
    "range": _Kind(
        lambda index: {"start": index.start, "stop": index.stop, "step": index.step},
        lambda index: [],
        lambda spec, labels: pd.RangeIndex(spec["start"], spec["stop"], spec["step"]),
    ),
    "multi": _Kind(
        lambda index: _parts_spec(_levels(index)),
        lambda index: _parts_labels(_levels(index)),
        _multi_in,
    ),
    "gaps": _Kind(lambda gaps: {"dtype": str(gaps.level.dtype)}, _Gaps.labels, _Gaps.of_labels),
    "interval": _Kind(
        lambda index: {"closed": index.closed, **_parts_spec(_ends(index))},
        lambda index: _parts_labels(_ends(index)),
        _interval_in,
    ),
    "category": _Kind(_category_spec, lambda index: index.codes.tolist(), _category_in),
    "time": _Kind(_time_spec, _time_labels, _time_in),
    "number": _Kind(_dtype_spec, _number_labels, _number_in),
    "nullable": _Kind(_dtype_spec, _nullable_labels, _nullable_in),
    "text": _Kind(_text_spec, _text_labels, _text_in),
    "arrow": _Kind(
        lambda index: {"dtype": str(index.dtype), "arrow": arrow_labels.type_text(index)},
        lambda index: [label_out(value) for value in arrow_labels.values_out(index)],
        lambda spec, labels: arrow_labels.index_in(spec["arrow"], list(map(label_in, labels))),
    ),
    "object": _Kind(_object_spec, _object_labels, _object_in),
}
