"""Columns of plain JSON values, packed some cells at a time: a million numbers take nine megabytes, not forty.

dtypes are nullable: ints Int64, floats (or both) Float64, bools boolean, texts pandas' text dtype, all else object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.batches.labels import TEXT_DTYPE

_EXACT = 2**53  # up to which a float holds every whole number
_NUMBERS = frozenset({int, float})

_Mask = npt.NDArray[np.bool_]


class PackedValues(NamedTuple):
    """Some cells of a column, held exactly."""

    kinds: frozenset[type]  #: of those that are there
    values: Any  #: an array of numbers, bools, texts or objects; None where no cell is there
    missing: _Mask
    are_ints: _Mask | None = None  #: of numbers of both kinds, all as floats: which are whole ones


def packed(values: Sequence[Any]) -> PackedValues:
    """Pack plain JSON values; None is missing.

    >>> packed([1, None]).values.dtype, packed([1, "a"]).values.dtype
    (dtype('int64'), dtype('O'))
    """
    kinds = frozenset(map(type, values)) - {type(None)}
    missing = _missing(values)
    try:
        array = _PACKERS.get(kinds, _objects)(values, missing)
    except (OverflowError, UnicodeEncodeError):  # an int beyond 64 bits, half a character
        array = _objects(values, missing)
    are_ints = None
    if kinds == _NUMBERS and array.dtype != object:
        are_ints = np.fromiter((type(value) is int for value in values), dtype=bool, count=len(values))
    return PackedValues(kinds, array, missing, are_ints)


def column(values: Sequence[Any]) -> Any:
    """Plain JSON values as an array of the dtype that holds all of them exactly; None is missing.

    >>> column([1, None, 2.5]).dtype, column([2**70, 1]).dtype
    (Float64Dtype(), dtype('O'))
    """
    return joined([packed(values)])


def joined(pieces: list[PackedValues]) -> Any:
    """Return the pieces of a column as one array, of the dtype that holds all cells exactly; the list is emptied.

    >>> joined([packed([1]), packed([None, 2.5])])
    <FloatingArray>
    [1.0, <NA>, 2.5]
    Length: 3, dtype: Float64
    """
    kinds = frozenset(chain.from_iterable(piece.kinds for piece in pieces))
    are_objects = not kinds or any(piece.kinds and piece.values.dtype == object for piece in pieces)
    if not are_objects and kinds in _JOINERS and (kinds != _NUMBERS or all(map(_fits_floats, pieces))):
        return _JOINERS[kinds](pieces)
    return _joined_objects(pieces)


def taken(array: Any, rows: npt.NDArray[np.int64]) -> Any:
    """Return these rows of what `joined` made, in this order."""
    if isinstance(array, pd.Series):
        return pd.Series(array.to_numpy()[rows], dtype=object, copy=False)
    return array.take(rows)


def integers(values: Sequence[int | None]) -> Any:
    """An Int64 array; None is missing."""
    missing = _missing(values)
    return pd.arrays.IntegerArray(_ints(values, missing), missing)


def floats(values: Sequence[float | None]) -> Any:
    """A Float64 array; None and NaN are missing."""
    missing = _missing(values)
    numbers = _floats(values, missing)
    return pd.arrays.FloatingArray(numbers, missing | np.isnan(numbers))


def strings(values: Sequence[str | None]) -> Any:
    """An array of pandas' text dtype; None is missing."""
    return pd.array(list(values), dtype=TEXT_DTYPE)


# ---- some cells --------------------------------------------------------------------------------------------


def _missing(values: Sequence[Any]) -> _Mask:
    if None not in values:
        return np.zeros(len(values), dtype=bool)
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


def _filled(values: Sequence[Any], missing: _Mask, filler: Any) -> Sequence[Any]:
    return [filler if value is None else value for value in values] if missing.any() else values


def _ints(values: Sequence[Any], missing: _Mask) -> Any:
    return np.array(_filled(values, missing, 0), dtype=np.int64)


def _floats(values: Sequence[Any], missing: _Mask) -> Any:
    return np.array(_filled(values, missing, 0.0), dtype=np.float64)


def _numbers(values: Sequence[Any], missing: _Mask) -> Any:
    """Ints and floats together, unless a float could not hold one of the ints."""
    if any(abs(value) > _EXACT for value in values if type(value) is int):
        return _objects(values, missing)
    return _floats(values, missing)


def _bools(values: Sequence[Any], missing: _Mask) -> Any:
    return np.array(_filled(values, missing, False), dtype=bool)


def _texts(values: Sequence[Any], missing: _Mask) -> Any:
    return strings(values)


def _objects(values: Sequence[Any], missing: _Mask) -> Any:
    made = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        made[position] = pd.NA if value is None else value
    return made


_PACKERS: dict[frozenset[type], Callable[[Sequence[Any], _Mask], Any]] = {
    frozenset(): lambda values, missing: None,
    frozenset({int}): _ints,
    frozenset({float}): _floats,
    _NUMBERS: _numbers,
    frozenset({bool}): _bools,
    frozenset({str}): _texts,
}


# ---- all pieces of a column ----------------------------------------------------------------------------------


def _fits_floats(piece: PackedValues) -> bool:
    """Would floats hold these numbers exactly?"""
    if piece.kinds != {int} or not len(piece.values):
        return True
    return bool(piece.values.min() >= -_EXACT and piece.values.max() <= _EXACT)


def _emptied(pieces: list[PackedValues]) -> Iterator[tuple[slice, PackedValues]]:
    """Yield the pieces and which cells each has, and let go of each: so they and the whole are not held together."""
    pieces.reverse()
    at = 0
    while pieces:
        piece = pieces.pop()
        yield slice(at, at := at + len(piece.missing)), piece


def _numbers_and_missing(pieces: list[PackedValues], dtype: Any) -> tuple[Any, _Mask]:
    """The values of numbers or bools, with zeros for what is missing, and what is missing."""
    missing = np.concatenate([piece.missing for piece in pieces])
    made = np.zeros(len(missing), dtype=dtype)
    for rows, piece in _emptied(pieces):
        if piece.values is not None:
            made[rows] = piece.values
    return made, missing


def _joined_ints(pieces: list[PackedValues]) -> Any:
    return pd.arrays.IntegerArray(*_numbers_and_missing(pieces, np.int64))


def _joined_floats(pieces: list[PackedValues]) -> Any:
    numbers, missing = _numbers_and_missing(pieces, np.float64)
    missing |= np.isnan(numbers)
    return pd.arrays.FloatingArray(numbers, missing)


def _joined_bools(pieces: list[PackedValues]) -> Any:
    return pd.arrays.BooleanArray(*_numbers_and_missing(pieces, bool))


def _joined_texts(pieces: list[PackedValues]) -> Any:
    texts = [
        pd.Series(strings([None] * len(piece.missing)) if piece.values is None else piece.values)
        for _, piece in _emptied(pieces)
    ]
    return pd.concat(texts, ignore_index=True).array if len(texts) > 1 else texts[0].array


def _joined_objects(pieces: list[PackedValues]) -> Any:
    made = np.empty(sum(len(piece.missing) for piece in pieces), dtype=object)
    for rows, piece in _emptied(pieces):
        made[rows] = _as_objects(piece)
    return pd.Series(made, dtype=object, copy=False)  # a bare array would be looked through for text


def _as_objects(piece: PackedValues) -> Any:
    """The cells as Python's own values."""
    if piece.values is None:
        return pd.NA
    if piece.values.dtype == object:
        return piece.values
    if isinstance(piece.values, np.ndarray):
        made = piece.values.astype(object)
    else:
        made = piece.values.to_numpy(dtype=object, copy=True)
    if piece.are_ints is not None:
        made[piece.are_ints] = piece.values[piece.are_ints].astype(np.int64).astype(object)
    made[piece.missing] = pd.NA
    return made


_JOINERS: dict[frozenset[type], Callable[[list[PackedValues]], Any]] = {
    frozenset({int}): _joined_ints,
    frozenset({float}): _joined_floats,
    _NUMBERS: _joined_floats,
    frozenset({bool}): _joined_bools,
    frozenset({str}): _joined_texts,
}
