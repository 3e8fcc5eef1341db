"""Rows that come as a frame of another library: polars, Arrow, DuckDB, what gives Arrow's C stream or narwhals knows.

They are read as pandas, with dtypes that follow from the frame's schema alone, so that a piece of a lazy frame has the
same ones as the whole. None of these libraries is needed here: whoever has such a frame has its library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flownb.batches.columns import type_name
from flownb.batches.frame_kinds import ARROW, PANDAS, POLARS, installed
from flownb.batches.labels import TEXT_DTYPE
from flownb.errors import FlowError

ROWS_A_PIECE = 10_000  #: of a lazy frame, that are read together


@dataclass(frozen=True, eq=False)
class GivenFrame:
    """Rows as the caller gave them, and as they are read: a frame of pandas, or pieces of one."""

    kind: str  #: of frame in which results come back, see `frame_kinds`
    rows: Any = None  #: what `tabulated` reads; None where there are `pieces`
    native: Any = None  #: the caller's own frame, where it is in memory as a whole
    pieces: Iterator[pd.DataFrame] | None = None  #: of a lazy frame

    def whole(self) -> Any:
        """Return the rows; the pieces of a lazy frame as one."""
        if self.pieces is None:
            return self.rows
        return pd.concat(list(self.pieces), ignore_index=True)  # there is one, if without rows


def opened(rows: Any) -> GivenFrame:
    """Return a frame of another library as pandas' frame, or frames; anything else as it is.

    >>> opened([1, 2]).rows
    [1, 2]
    """
    package = type(rows).__module__.partition(".")[0]
    if package == "narwhals" and hasattr(rows, "to_native"):
        return opened(rows.to_native())
    if package == "polars":
        return _of_polars(rows)
    if package == "pyarrow":
        return _of_arrow(rows)
    if package == "pandas" or not (hasattr(rows, "__arrow_c_stream__") or _is_known_to_narwhals(rows)):
        return GivenFrame(PANDAS, rows)
    return _read_as_stream(rows)


def _of_polars(rows: Any) -> GivenFrame:
    if hasattr(rows, "collect_batches"):  # a LazyFrame
        batches = rows.collect_batches(chunk_size=ROWS_A_PIECE, maintain_order=True, lazy=True)
        pieces = _never_empty(map(as_piece, batches), lambda: _as_pandas(rows.collect()))
        return GivenFrame(POLARS, pieces=pieces)
    if type(rows).__name__ == "Series":
        return GivenFrame(POLARS, _as_pandas(rows.to_frame()).iloc[:, 0])
    if type(rows).__name__ == "DataFrame":
        return GivenFrame(POLARS, _as_pandas(rows), native=rows.clone())
    return GivenFrame(PANDAS, rows)


def _of_arrow(rows: Any) -> GivenFrame:
    arrow = importlib.import_module("pyarrow")
    if isinstance(rows, arrow.Array | arrow.ChunkedArray):
        return GivenFrame(ARROW, _as_pandas(arrow.table([rows], names=["value"])).iloc[:, 0])
    if isinstance(rows, arrow.RecordBatch):
        rows = arrow.Table.from_batches([rows])
    if isinstance(rows, arrow.Table):
        return GivenFrame(ARROW, _as_pandas(rows), native=rows)
    if hasattr(rows, "scanner"):  # a Dataset
        rows = rows.scanner(batch_size=ROWS_A_PIECE)
    if hasattr(rows, "to_reader"):
        rows = rows.to_reader()
    if not hasattr(rows, "__arrow_c_stream__"):
        return GivenFrame(PANDAS, rows)
    return _read_as_stream(rows)


def _read_as_stream(rows: Any) -> GivenFrame:
    """Read what gives Arrow's C stream, or what narwhals can collect."""
    arrow = installed("pyarrow")
    if arrow is None:
        return GivenFrame(POLARS, _by_polars(rows))
    if not hasattr(rows, "__arrow_c_stream__"):
        rows = _collected(rows)
    reader = arrow.RecordBatchReader.from_stream(rows)
    pieces = _never_empty(_of_reader(reader), lambda: _as_pandas(reader.schema.empty_table()))
    return GivenFrame(ARROW, pieces=pieces)


def _of_reader(reader: Any) -> Iterator[pd.DataFrame]:
    for batch in reader:
        for start in range(0, batch.num_rows, ROWS_A_PIECE):
            yield as_piece(batch.slice(start, ROWS_A_PIECE))


def _by_polars(rows: Any) -> pd.DataFrame:
    polars = installed("polars")
    if polars is None or not hasattr(rows, "__arrow_c_stream__"):
        raise FlowError(
            f"rows: {type_name(rows)} is read through Arrow, which is not installed: pip install pyarrow"
        )
    return _as_pandas(polars.DataFrame(rows))


def _never_empty(
    pieces: Iterator[pd.DataFrame], columns_alone: Callable[[], pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """The pieces; of a frame without rows one that has its columns."""
    some = False
    for piece in pieces:
        some = True
        yield piece
    if not some:
        yield columns_alone()


def _is_known_to_narwhals(rows: Any) -> bool:
    narwhals = installed("narwhals") if hasattr(rows, "columns") else None
    return narwhals is not None and hasattr(narwhals.from_native(rows, pass_through=True), "to_native")


def _collected(rows: Any) -> Any:
    """A frame that only narwhals can read (of Dask, Modin, Spark, ...) as a table of Arrow."""
    frame = importlib.import_module("narwhals").from_native(rows)
    return (frame.collect() if hasattr(frame, "collect") else frame).to_arrow()


# ---- as pandas ----------------------------------------------------------------------------------------


def _as_pandas(rows: Any) -> pd.DataFrame:
    """An eager frame of polars or Arrow, with dtypes that can hold missing values."""
    arrow = installed("pyarrow")
    if arrow is None:
        columns = {series.name: _polars_column(series) for series in rows}
        return pd.DataFrame(columns, index=pd.RangeIndex(rows.height))
    wide = _wide_columns(rows)
    table = arrow.table(rows.drop(list(wide)) if wide else rows)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_dtype_of, ignore_metadata=True)
    if not wide:
        return frame
    columns = {name: wide[name] if name in wide else frame[name] for name in rows.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(rows.height))


def _wide_columns(rows: Any) -> dict[str, pd.Series[Any]]:
    """Columns of polars with ints of 128 bits, which Arrow has not: `results()` of large ints has such."""
    if not type(rows).__module__.startswith("polars"):
        return {}
    wide = [name for name, dtype in rows.schema.items() if "Int128" in str(dtype)]
    return {name: pd.Series(rows[name].to_list(), dtype=object) for name in wide}


_NULLABLE: dict[str, Any] = {
    **{f"int{bits}": f"Int{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UInt{bits}" for bits in (8, 16, 32, 64)},
    "float": "Float32",
    "double": "Float64",
    "bool": "boolean",
}


def _dtype_of(of: Any) -> Any:
    """The dtype of pandas for a type of Arrow; None for pandas' own choice, which is exact for times and categories."""
    types = importlib.import_module("pyarrow").types
    if str(of) in _NULLABLE:
        return pd.api.types.pandas_dtype(_NULLABLE[str(of)])
    if types.is_string(of) or types.is_large_string(of) or types.is_string_view(of):
        return pd.api.types.pandas_dtype(TEXT_DTYPE)
    of_pandas = (
        types.is_timestamp,
        types.is_duration,
        types.is_dictionary,
        types.is_null,
        types.is_interval,
    )
    if any(is_such(of) for is_such in of_pandas):
        return None
    return pd.ArrowDtype(of)  # cells of lists and structs as Python's own


def _polars_column(series: Any) -> Any:
    """A column of polars, where pyarrow is not there to hand it over."""
    name = type(series.dtype).__name__
    if name in ("Datetime", "Duration"):
        return _polars_times(series)
    if name in ("String", "Categorical", "Enum"):
        return pd.array(series.to_list(), dtype=TEXT_DTYPE)
    dtype = name if name in _NULLABLE.values() else name.lower()
    if dtype in _NULLABLE.values():
        return pd.array(series.to_list(), dtype=dtype)
    return pd.Series(series.to_list(), dtype=object)


def _polars_times(series: Any) -> pd.Series[Any]:
    values = pd.Series(series.to_numpy())  # to_list would lose nanoseconds
    zone = getattr(series.dtype, "time_zone", None)
    return values if zone is None else values.dt.tz_localize("UTC").dt.tz_convert(zone)


def as_piece(rows: Any) -> pd.DataFrame:
    """A piece of a lazy frame. Its categories are its own, so they become plain values."""
    frame = _as_pandas(rows)
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            frame[name] = column.astype(column.cat.categories.dtype)
    return frame
