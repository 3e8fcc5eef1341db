"""Rows in files: CSV as pandas reads it, Parquet as pyarrow or polars do, piece by piece."""

from __future__ import annotations

import glob
import importlib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePath
from typing import Any

import pandas as pd

from flownb.batches.arrow_frames import ROWS_A_PIECE, as_piece, opened
from flownb.batches.frame_kinds import installed
from flownb.errors import FlowError

_CSV = re.compile(r"\.csv(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE)
_PARQUET = re.compile(r"\.parquet$", re.IGNORECASE)


def pieces_of_files(rows: Any) -> Iterator[pd.DataFrame] | None:
    """Return what the files hold that a path, or a pattern such as ``rows/*.parquet``, names; None for what is no path.

    >>> pieces_of_files([1, 2]) is None, pieces_of_files("a text") is None
    (True, True)
    """
    if not isinstance(rows, str | PurePath):
        return None
    path = os.path.expanduser(str.__str__(rows) if isinstance(rows, str) else rows)
    if _CSV.search(path):
        return _of_csv(_files(path))
    if _PARQUET.search(path):
        return _of_parquet(_files(path))
    _refuse_folder(path)
    if isinstance(rows, str):
        return None
    raise FlowError(f"rows: {path} is no .csv or .parquet; read it, and give the DataFrame")


def _files(path: str) -> list[str]:
    if "://" in path:
        raise FlowError(
            f"rows: {path} is no path here; open it with its library, as pl.scan_parquet(...) does"
        )
    if os.path.isfile(path):
        return [path]
    _refuse_folder(path)
    try:
        found = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
    except ValueError:  # a null character
        found = []
    if not found:
        raise FlowError(f"rows: there is no file {path} in {os.getcwd()}")
    return found


def _refuse_folder(path: str) -> None:
    """Raise `FlowError` for a folder, and say how the files in it are named together."""
    if not _is_folder(path):
        return
    patterns = [f"{path.rstrip('/')}/{name}" for name in ("*.parquet", "**/*.parquet", "*.csv", "**/*.csv")]
    found = [pattern for pattern in patterns if next(glob.iglob(pattern, recursive=True), None)]
    how = f"name the files in it: {found[0]!r}" if found else "and no .parquet or .csv file is in it"
    raise FlowError(f"rows: {path} is a folder; {how}")


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # a null character
        return False


def _of_parquet(files: list[str]) -> Iterator[pd.DataFrame]:
    if installed("pyarrow") is None:
        if installed("polars") is None:
            raise FlowError(
                "rows: pyarrow or polars reads Parquet, and neither is installed: pip install pyarrow"
            )
        pieces: Any = opened(importlib.import_module("polars").scan_parquet(files)).pieces
        return iter(pieces)
    return _by_pyarrow(files)


def _by_pyarrow(files: list[str]) -> Iterator[pd.DataFrame]:
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    for file in files:
        try:
            # With pre_buffer all that was read is held to the end.
            with parquet.ParquetFile(file, pre_buffer=False) as source:
                yield as_piece(source.schema_arrow.empty_table())  # the columns, of a file without rows too
                yield from map(as_piece, source.iter_batches(batch_size=ROWS_A_PIECE))
        except (OSError, arrow.ArrowException) as error:
            raise FlowError(f"rows: {file}: pyarrow cannot read it: {error}") from None


def _of_csv(files: list[str]) -> Iterator[pd.DataFrame]:
    """Read twice: a column's dtype is that of all its rows, not of those that happen to stand in a piece."""
    kinds: dict[Any, set[str]] = {}
    for piece in _csv_pieces(files, None):
        for name, column in piece.items():
            kinds.setdefault(name, set()).update([] if column.isna().all() else [str(column.dtype)])
    return _csv_pieces(files, {name: _dtype_of(found) for name, found in kinds.items()})


def _csv_pieces(files: list[str], dtypes: dict[Any, str] | None) -> Iterator[pd.DataFrame]:
    for file in files:
        try:
            with pd.read_csv(
                file, chunksize=ROWS_A_PIECE, dtype=dtypes, dtype_backend="numpy_nullable"
            ) as reader:
                yield from map(partial(_checked, file), reader)
        except FlowError:
            raise
        except (OSError, ValueError) as error:  # not a table, or not UTF-8
            raise FlowError(f"rows: {file}: pandas cannot read it: {str(error).strip()}") from None


def _checked(file: str, piece: pd.DataFrame) -> pd.DataFrame:
    if not isinstance(piece.index, pd.RangeIndex):
        raise FlowError(f"rows: {file}: its lines have more fields than its first line has names")
    return piece


def _dtype_of(kinds: set[str]) -> str:
    """The dtype that holds what a column has in all pieces."""
    if len(kinds) < 2:
        return next(iter(kinds), "object")
    return "Float64" if kinds == {"Int64", "Float64"} else "string"
