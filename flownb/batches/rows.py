"""Rows in: a DataFrame (a Series, a list) becomes one JSON text a row, an index and ids.

Everything here is pure. A table is turned into text column by column: each column
becomes a list of JSON fragments, and a row's text is its fragments put into one
template. What has no exact JSON form is refused with the row's label and the
column's name; docs/data-types.md lists every dtype.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as _quoted
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from flownb.batches.columns import Refused, fragments_of, is_broken, shown, type_name
from flownb.errors import FlowError
from flownb.wire.store import large_inputs

AT_A_TIME = 10_000  #: rows that are turned into text together
MOST_CHARACTERS = 10_000_000  #: how long the JSON text of one row may be
MOST_COPIED = 1_000_000_000  #: characters of columns with large cells, where each row carries them itself


@dataclass(frozen=True, eq=False)
class Rows:
    """What a batch is made of. `texts`, `index` and the groups' positions go row by row.

    `groups` are in order of first appearance; a group's label is one JSON value
    for ``by="a"`` and a list of them for ``by=["a", "b"]``.
    """

    columns: tuple[str, ...]  #: that travel, in the table's order
    texts: list[str]  #: one JSON object a row: exactly the ``data`` of its job
    index: pd.Index[Any]
    groups: list[tuple[Any, list[int]]] | None = None
    by: tuple[str, ...] = ()
    whole_row: bool = False  #: the columns stand one level down, in ``row``
    refers: bool = True  #: large cells stand in `large`, and references to them in the texts
    large: Mapping[str, str] = field(default_factory=dict)  #: JSON texts by digest
    large_columns: tuple[str, ...] = ()  #: in which such cells stand

    def __len__(self) -> int:
        return len(self.texts)


def read(
    rows: object,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    by: str | Sequence[str] | None = None,
    whole_row: bool = False,
    any_column: bool = False,
    refer: bool = True,
    start: int = 0,
) -> Rows:
    """Turn `rows` into the JSON texts that fill a task's parameters.

    `rows` is a DataFrame; a Series, an array, or any iterable whose items go to
    the task's one parameter; or an iterable of dicts, read like a table (if the
    task has one parameter and no dict has its name as a key, each dict is an item;
    a key that some dicts lack is null there). An iterator is used up. Nothing of
    `rows` is kept or changed. `start` is the number of the first of the items.

    Only columns named in `required` or `optional` travel; a required one must
    exist. With `any_column` the others travel too. With `whole_row` all travel inside ``row``.

    A text's keys are sorted, so the order of columns changes nothing; inside
    ``row`` they keep the table's order, since a function sees it. A cell of more than 262,144 characters of
    JSON stands in `large`, once however many rows have it, and a reference in the text; without `refer` in the text.

    Raises FlowError, naming the row's label and the column: names that are not
    unique, a parameter without a column, a missing `by` column, and values that
    have no JSON form (inf, bytes, sets, unknown objects).

    >>> table = pd.DataFrame({"text": ["a", None], "lang": "de", "n": [1, 2]}, index=["x", "y"])
    >>> rows = read(table, ["text"], ["lang", "model"], by="lang")
    >>> rows.texts
    ['{"lang":"de","text":"a"}', '{"lang":"de","text":null}']
    >>> rows.columns, rows.groups
    (('text', 'lang'), [('de', [0, 1])])
    """
    everything = whole_row or any_column
    if whole_row:
        required, optional = (), ()
    table = _tabulated(rows, [*required] or [*optional][:1], everything, start)
    travelling = _travelling(table, required, optional, everything)
    grouping = _grouping(table, by)
    order = travelling if whole_row else sorted(travelling)
    open_ended = [name for name in order if _is_open_ended(table.columns[name])]
    texts: list[str] = []
    large: dict[str, str] = {}
    large_columns: dict[str, None] = {}
    copied = 0
    by_columns: list[list[str]] = [[] for _ in grouping]
    for start in range(
        0, len(table.index), AT_A_TIME
    ):  # all columns of a large table at once are large as text
        piece = slice(start, start + AT_A_TIME)
        fragments = {
            name: _column_fragments(table, name, piece) for name in dict.fromkeys([*travelling, *grouping])
        }
        for column, name in zip(by_columns, grouping, strict=True):
            column += fragments[name]
        length = len(table.index[piece])
        found = [name for name in open_ended if large_inputs.has_large(fragments[name])]
        if found:
            _refuse_long_rows([fragments[name] for name in order], table.index[piece])
        for name in found:
            if refer:
                large_columns[name] = None
                fragments[name] = large_inputs.refer(fragments[name], large)
            else:
                copied += sum(map(len, fragments[name]))
                _refuse_many_copies(copied, name, start + length)
        texts += _texts(order, [fragments[name] for name in order], length, whole_row)
    if max(map(len, texts), default=0) > MOST_CHARACTERS:
        _refuse_long_rows([texts], table.index)
    groups = None if by is None else _groups(by_columns, alone=isinstance(by, str))
    return Rows(
        tuple(travelling),
        texts,
        table.index,
        groups,
        tuple(grouping),
        whole_row,
        refer,
        large,
        tuple(large_columns),
    )


def identities(
    rows: Rows, *, name: str, task: str, version: str, earlier: dict[bytes, int] | None = None
) -> list[str]:
    """One job id a row: who asks (`name`, `task`, `version`), the row's text, and which one of equal rows.

    An id is ``r`` and 16 characters of ``a-z2-7``. A re-sorted table gives the same
    set of ids, equal rows get ids of their own, a changed cell changes one id. Rows that come piece by piece
    hand on what came `earlier`.

    >>> ids = identities(read([1, 1, 2], ["n"]), name="b", task="t", version="1")
    >>> len(set(ids)), set(ids) == set(identities(read([2, 1, 1], ["n"]), name="b", task="t", version="1"))
    (3, True)
    """
    start = hashlib.blake2b(json.dumps([name, task, version]).encode(), digest_size=10)
    seen: dict[Any, int] = {} if earlier is None else earlier
    digests = bytearray()
    ids: list[str] = []
    for text in rows.texts:
        key = text if earlier is None else hashlib.blake2b(text.encode(), digest_size=8).digest()
        before = seen.get(key, 0)
        seen[key] = before + 1
        one = start.copy()
        one.update((f"{text}\0{before}" if before else text).encode())
        digests += one.digest()
        if len(digests) == 10 * AT_A_TIME:
            ids += _ids(digests)
            digests.clear()
    return ids + _ids(digests)


def _ids(digests: bytearray) -> list[str]:
    letters = base32(bytes(digests))
    return ["r" + letters[at : at + 16] for at in range(0, len(letters), 16)]


def fingerprint(ids: Iterable[str], *more: str) -> str:
    """A batch's id, made of its rows' ids and of whatever else tells it apart: ``b`` and 19 of ``a-z2-7``.

    The order of the rows counts, because the declared order is part of what an
    aggregate receives. Under a name of its own a re-sorted batch still runs no row
    again: that is decided by the rows' ids.

    >>> fingerprint(["r1", "r2"]) == fingerprint(["r2", "r1"])
    False
    >>> len(fingerprint([], "score"))
    20
    """
    known = json.dumps([more, list(ids)]).encode()
    return "b" + base32(hashlib.blake2b(known, digest_size=15).digest())[:19]


_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
_WEIGHTS = np.array([16, 8, 4, 2, 1], dtype=np.uint8)


def base32(data: bytes) -> str:
    """Base32 in small letters, of a multiple of five bytes; many times faster than base64's for a million."""
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).reshape(-1, 5)
    return bytes(_LETTERS[bits @ _WEIGHTS]).decode()


def ungrouped(rows: Any, by: Any) -> tuple[Any, Any]:
    """Turn ``df.groupby("carrier")`` into its rows and the columns it goes by; leave anything else as it is.

    Rows without a group are left out where pandas leaves them out.

    >>> frame = pd.DataFrame({"team": ["x", None], "n": [1, 2]})
    >>> rows, by = ungrouped(frame.groupby("team"), None)
    >>> by, len(rows)
    (['team'], 1)
    """
    if not hasattr(rows, "ngroups"):
        return rows, by
    if by is not None:
        raise FlowError("by: the rows are grouped already; leave by= out, or give the DataFrame itself")
    frame, keys = rows.obj, rows.keys if isinstance(rows.keys, list) else [rows.keys]
    names = [_column_of(key, rows) for key in keys]
    if not isinstance(frame, pd.DataFrame) or None in names:
        raise FlowError(
            "rows: they are grouped by what is no column of theirs; make it one with df.assign, and give by="
        )
    if rows.dropna:
        frame = frame.dropna(subset=names)
    return frame, [str(name) for name in names]


def _column_of(key: Any, grouped: Any) -> Hashable | None:
    """Return the name of the column whose values `key` groups by; None for values made from a column, or others.

    A key that only bears a column's name (``df["day"].dt.date``, ``pd.Grouper(key="day", freq="D")``) is no column.
    """
    frame = grouped.obj
    if type(key) is pd.Grouper and key.dropna == grouped.dropna:  # with a freq it is of a class of its own
        key = key.key
    if isinstance(key, pd.Series):
        name = key.name
        return name if name in frame.columns and key.equals(frame[name]) else None
    return key if isinstance(key, Hashable) and key is not None and key in frame.columns else None


@dataclass(frozen=True)
class _Table:
    columns: Mapping[str, pd.Series[Any] | list[Any]]
    index: pd.Index[Any]


def _tabulated(rows: object, parameters: list[str], everything: bool, start: int) -> _Table:
    if isinstance(rows, pd.DataFrame):
        return _of_frame(rows, parameters)
    if isinstance(rows, np.ndarray):
        rows = _of_one_dimension(rows)
    if isinstance(rows, pd.Index):
        rows = rows.to_series(index=pd.RangeIndex(len(rows)))
    if isinstance(rows, pd.Series):
        return _Table({_only(parameters, rows.name, everything): rows}, rows.index)
    if isinstance(rows, str | bytes | bytearray | Mapping):
        hint = ", or make a table of it: pd.DataFrame(value)" if isinstance(rows, Mapping) else ""
        raise FlowError(
            f"rows: a {type(rows).__name__} is one value, not rows; put it in a list: [value]{hint}"
        )
    if isinstance(rows, set | frozenset):
        raise FlowError("rows: a set has no order, so its rows could not be found again; give sorted(rows)")
    if hasattr(rows, "to_pandas"):
        raise FlowError(f"rows: {type_name(rows)} is not a pandas DataFrame; give rows.to_pandas()")
    if not isinstance(rows, Iterable):
        raise FlowError(f"rows: {type_name(rows)} holds no rows; give a DataFrame, a Series or a list")
    return _of_items(list(rows), parameters, everything, start)


def _of_one_dimension(array: np.ndarray[Any, Any]) -> pd.Series[Any]:
    if array.ndim != 1:
        raise FlowError(
            f"rows: the array has {array.ndim} dimensions; give a DataFrame, so that its columns have names"
        )
    return pd.Series(array)


def _of_frame(frame: pd.DataFrame, parameters: list[str]) -> _Table:
    if isinstance(frame.columns, pd.MultiIndex):
        raise FlowError(
            f"columns: they have {frame.columns.nlevels} levels; make one name of each: "
            'df.columns = ["_".join(map(str, c)) for c in df.columns]'
        )
    if not len(frame) and not len(frame.columns):
        return _nothing(parameters, frame.index)
    names = _text_names(list(frame.columns))
    return _Table({name: frame.iloc[:, place] for place, name in enumerate(names)}, frame.index)


def _of_items(items: list[Any], parameters: list[str], everything: bool, start: int) -> _Table:
    index = pd.RangeIndex(start, start + len(items))
    if not items:
        return _nothing(parameters, index)
    if isinstance(items[0], pd.DataFrame):
        raise FlowError(
            "rows: each is a DataFrame; give pd.concat(frames) or, to read them one after the other, "
            'fan_out((row for frame in frames for row in frame.to_dict("records")), ...)'
        )
    if not all(isinstance(item, dict) for item in items) or (
        not everything and len(parameters) == 1 and not any(parameters[0] in item for item in items)
    ):
        return _Table({_only(parameters, None, everything): items}, index)
    keys = list(dict.fromkeys(key for item in items for key in item))
    columns = {
        name: [item.get(key) for item in items] for key, name in zip(keys, _text_names(keys), strict=True)
    }
    return _Table(columns, index)


def _nothing(parameters: list[str], index: pd.Index[Any]) -> _Table:
    return _Table({name: [] for name in parameters}, index)


def _only(parameters: list[str], name: Hashable, everything: bool) -> str:
    """The one column that single items go to."""
    if len(parameters) == 1:
        return parameters[0]
    if everything and not parameters:
        return "value" if name is None else str(name)
    if not parameters:
        raise FlowError("rows: the task has no parameter to give the items to; give it one")
    raise FlowError(
        f"rows: single items fill one parameter, but the task needs {_listed(parameters)}; "
        "give a DataFrame with these columns, or a list of dicts"
    )


def _text_names(names: Sequence[Hashable]) -> list[str]:
    """Names of columns as text, every one of them once."""
    first: dict[str, Hashable] = {}
    for name in names:
        text = str(name)
        if text in first:
            _refuse_same_name(first[text], name)
        first[text] = name
    return list(first)


def _refuse_same_name(one: Hashable, other: Hashable) -> NoReturn:
    if type(one) is type(other):
        raise FlowError(
            f"column {other!r}: two columns have this name, and a row could carry only one; "
            "rename one, or keep the first of each: df.loc[:, ~df.columns.duplicated()]"
        )
    raise FlowError(
        f"column {other!r}: as text it has the name of column {one!r}; rename one: df.rename(columns=...)"
    )


def _travelling(
    table: _Table, required: Sequence[str], optional: Sequence[str], everything: bool
) -> list[str]:
    for name in required:
        if name not in table.columns:
            raise FlowError(
                f"parameter {name!r}: no column has this name{_nearest(name, table)}; "
                "rename a column, add one with df.assign, or give the parameter a default"
            )
    if everything:
        return list(table.columns)
    travelling = [name for name in table.columns if name in required or name in optional]
    if optional and table.columns and not travelling:
        raise FlowError(
            f"parameter {optional[0]!r}: no column has this name{_nearest(optional[0], table)}, nor that of any other "
            "parameter, so every row would run the same; rename a column"
        )
    return travelling


def _grouping(table: _Table, by: str | Sequence[str] | None) -> list[str]:
    if by is None:
        return []
    names = [str(name) for name in ([by] if isinstance(by, str) else by)]
    if not names:
        raise FlowError("by=[]: name at least one column, or leave by= out")
    for name in names:
        if name in table.columns:
            continue
        if name in map(str, table.index.names):
            raise FlowError(f"by={name!r}: this is a level of the index, not a column; give df.reset_index()")
        raise FlowError(f"by={name!r}: no column has this name{_nearest(name, table)}")
    return names


def _nearest(name: str, table: _Table) -> str:
    near = difflib.get_close_matches(name, table.columns, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f" (columns: {_listed(list(table.columns))}{hint})"


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _texts(names: list[str], columns: list[list[str]], length: int, whole_row: bool) -> list[str]:
    fields = ",".join(_quoted(name).replace("%", "%%") + ":%s" for name in names)
    template = f'{{"row":{{{fields}}}}}' if whole_row else f"{{{fields}}}"
    if not names:
        return [template] * length
    return list(map(template.__mod__, zip(*columns, strict=True)))


def _groups(columns: list[list[str]], *, alone: bool) -> list[tuple[Any, list[int]]]:
    places: dict[tuple[str, ...], list[int]] = {}
    for position, key in enumerate(zip(*columns, strict=True)):
        places.setdefault(key, []).append(position)
    labels = ([json.loads(text) for text in key] for key in places)
    return [
        (label[0] if alone else label, where) for label, where in zip(labels, places.values(), strict=True)
    ]


def _is_open_ended(column: pd.Series[Any] | list[Any]) -> bool:
    """May a cell of it be of any length? Numbers and times are short."""
    return isinstance(column, list) or column.dtype.kind not in "iufbmM"


def _refuse_long_rows(columns: Sequence[Sequence[str]], index: pd.Index[Any]) -> None:
    """Refuse a row whose fragments, one of each column, are too much together."""
    lengths = [sum(map(len, row)) for row in zip(*columns, strict=True)]
    longest = max(lengths, default=0)
    if longest > MOST_CHARACTERS:
        raise FlowError(
            f"row {shown(index[lengths.index(longest)])}: its data are {longest / 1e6:.1f} MB of JSON, the most is "
            f"{MOST_CHARACTERS / 1e6:.0f} MB; store the large value in a file and send its path"
        )


def _refuse_many_copies(copied: int, name: str, rows: int) -> None:
    if copied > MOST_COPIED:
        raise FlowError(
            f"column {name!r}: other programs read plain data, so each row's job would carry its large value itself, "
            f"{copied / 1e9:.1f} GB of JSON for {rows:,} rows; store the value in a file and send its path"
        )


def _column_fragments(table: _Table, name: str, piece: slice) -> list[str]:
    if is_broken(name):
        raise FlowError(f"column {name!r}: its name has half a character (a lone surrogate); rename it")
    column = table.columns[name]
    try:
        return fragments_of(column[piece] if isinstance(column, list) else column.iloc[piece])
    except Refused as refused:
        row = shown(table.index[piece][refused.position])
        raise FlowError(f"row {row}, column {name!r}: {refused}") from None
