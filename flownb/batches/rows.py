"""Rows in: a DataFrame (a Series, a list) becomes one JSON text a row, an index and groups.

Everything here is pure. A table is turned into text column by column: each column
becomes a list of JSON fragments, and a row's text is its fragments put into one
template. What has no exact JSON form is refused with the row's label and the
column's name; docs/data-types.md lists every dtype.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from json.encoder import encode_basestring as _quoted
from typing import TYPE_CHECKING, Any

import pandas as pd

from flownb.batches import labels
from flownb.batches.columns import fragments_of, is_broken, shown
from flownb.batches.grouped_rows import Grouped, Groups, by_columns
from flownb.batches.input_table import InputTable, keyed, nearest_column, tabulated
from flownb.batches.refused_cells import Refused
from flownb.errors import FlowError
from flownb.files import references
from flownb.wire.store import large_inputs

if TYPE_CHECKING:
    from flownb.batches.repeats import Repeats

ROWS_AT_A_TIME = 10_000  #: rows that are turned into text together
MOST_CHARACTERS = 10_000_000  #: how long the JSON text of one row may be
#: characters of columns with large cells, where each row carries them itself
MOST_COPIED_CHARACTERS = 1_000_000_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """What a batch is made of. `texts`, `index`, `labels`, `ids` and the groups' positions go row by row.

    `groups` are in order of first appearance, or as pandas has them; a group's label is one JSON value
    for ``by="a"`` and a list of them for ``by=["a", "b"]``.
    """

    columns: tuple[str, ...]  #: that travel, in the table's order
    texts: list[str]  #: one JSON object a row: exactly the ``data`` of its job
    index: pd.Index[Any]
    index_spec: Mapping[str, Any]  #: from which, with the labels, the index is made again
    labels: list[Any]  #: of the index, as JSON values; empty where the spec says them all
    ids: list[str] = field(default_factory=list)  #: of the rows, once the batch has a name
    #: in the newest batch of the name, if that had other steps
    ids_before: list[str] = field(default_factory=list)
    groups: Groups | None = None
    by: tuple[str, ...] = ()
    #: the groups' labels and a spec of an index: the columns' dtypes
    group_index: Mapping[str, Any] | None = None
    whole_row: bool = False  #: the columns stand one level down, in ``row``
    refers: bool = True  #: large cells stand in `large`, and references to them in the texts
    large: Mapping[str, str] = field(default_factory=dict)  #: JSON texts by digest
    large_columns: tuple[str, ...] = ()  #: in which such cells stand
    has_files: bool = False  #: cells are files, or hold some; the texts refer to them
    weights: list[str] | None = None  #: what each row weighs in units that its queue limits
    repeats: Repeats | None = None
    """Where equal rows run once: then `texts`, `ids` and `weights` go run by run."""

    def __len__(self) -> int:
        """Return how many run."""
        return len(self.texts)

    @property
    def height(self) -> int:
        """How many rows the frame has."""
        return len(self) if self.repeats is None else len(self.repeats.runs)

    @cached_property
    def by_content(self) -> list[str]:
        """The texts that tell rows apart: a file counts by what is in it, wherever it is."""
        if not self.has_files:
            return self.texts
        large = {
            digest: large_inputs.digest_of_text(references.by_content(text))
            for digest, text in self.large.items()
            if references.MARK in text
        }
        return [references.by_content(large_inputs.with_digests(text, large)) for text in self.texts]

    def read_large(self, digests: Iterable[str]) -> dict[str, str]:
        """Return the texts of large cells by their digests."""
        return {digest: self.large[digest] for digest in digests}


def read(
    rows: object,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    key: Sequence[str] = (),
    by: str | Sequence[str] | None = None,
    grouped: Grouped | None = None,
    whole_row: bool = False,
    any_column: bool = False,
    takes_job: bool = False,
    loaded: Sequence[str] = (),
    refer: bool = True,
    start: int = 0,
    weigh: Callable[[InputTable], list[str] | None] = lambda table: None,
) -> Rows:
    """Turn `rows` into the JSON texts that fill a task's parameters.

    `rows` is a DataFrame; a Series, an array, or any iterable whose items go to
    the task's one parameter; or an iterable of dicts, read like a table (if the
    task has one parameter and no dict has its name as a key, each dict is an item;
    a key that some dicts lack is null there). An iterator is used up. Nothing of
    `rows` is kept or changed. `start` is the number of the first of the items.

    Only columns named in `required` or `optional` travel; a required one must
    exist. With `any_column` the others travel too. With `whole_row` all travel inside ``row``. With `takes_job`
    the parameter ``job`` is filled with the Job, so no column may have its name, nor one of `loaded`, which the
    task's setup fills.
    `grouped` are groups that pandas has made of the rows already. The columns of `key` are the rows' labels.
    `weigh` tells of a table what each row weighs.

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
    table = tabulated(rows, [*required] or [*optional][:1], everything=everything, start=start)
    if key:
        table = keyed(table, key)
    if takes_job and not whole_row:
        _refuse_column_job(table)
    if loaded and not whole_row:
        _refuse_loaded(table, loaded)
    columns = _travelling(table, required, optional, everything)
    if grouped is None and by is not None:
        grouped = by_columns(table, by)
    writer = _TextWriter(table, columns, whole_row=whole_row, refer=refer)
    for first in range(0, len(table.index), ROWS_AT_A_TIME):
        writer.write(slice(first, first + ROWS_AT_A_TIME))
    if max(map(len, writer.texts), default=0) > MOST_CHARACTERS:
        _refuse_long_rows([writer.texts], table.index)
    groups: Groups | None = None
    group_index: Mapping[str, Any] | None = None
    if grouped is not None:
        groups, group_index = grouped.described(lambda position: shown(table.index[position]))
    index_spec, chunk_of_labels = labels.index_to_json(table.index)
    stored_labels = chunk_of_labels(0, len(table.index))
    _refuse_broken_labels(table.index, index_spec["names"], stored_labels)
    return Rows(
        columns=tuple(columns),
        texts=writer.texts,
        index=table.index,
        index_spec=index_spec,
        labels=stored_labels,
        groups=groups,
        by=grouped.names if grouped else (),
        group_index=group_index,
        whole_row=whole_row,
        refers=refer,
        large=writer.large,
        large_columns=tuple(writer.large_columns),
        has_files=writer.has_files,
        weights=weigh(table),
    )


class _TextWriter:
    """Writes a table as one JSON text a row, some rows at a time: a whole table's fragments would be large."""

    def __init__(self, table: InputTable, columns: list[str], *, whole_row: bool, refer: bool) -> None:
        self.table = table
        self.whole_row = whole_row
        self.refer = refer
        self.order = columns if whole_row else sorted(columns)
        self.open_ended = [name for name in self.order if _is_open_ended(table.columns[name])]
        self.texts: list[str] = []
        self.large: dict[str, str] = {}  #: JSON texts of large cells by digest
        self.large_columns: dict[str, None] = {}
        self.has_files = False  #: do cells refer to files?
        self.copied = 0  #: characters of columns with large cells that are not referred to

    def write(self, piece: slice) -> None:
        index = self.table.index[piece]
        fragments = {name: _column_fragments(self.table, name, piece) for name in self.order}
        large = [name for name in self.open_ended if large_inputs.has_large(fragments[name])]
        self.has_files = self.has_files or any(_have_files(fragments[name]) for name in self.open_ended)
        if large:
            _refuse_long_rows([fragments[name] for name in self.order], index)
            self._put_aside(fragments, large, rows=piece.start + len(index))
        columns = [fragments[name] for name in self.order]
        self.texts += _texts(self.order, columns, len(index), self.whole_row)

    def _put_aside(self, fragments: dict[str, list[str]], columns: list[str], rows: int) -> None:
        """Leave references in place of the large cells of these columns, if a worker of flownb reads them."""
        for name in columns:
            if self.refer:
                self.large_columns[name] = None
                fragments[name] = large_inputs.refer(fragments[name], self.large)
            else:
                self.copied += sum(map(len, fragments[name]))
                _refuse_many_copies(self.copied, name, rows)


def _travelling(
    table: InputTable, required: Sequence[str], optional: Sequence[str], everything: bool
) -> list[str]:
    _refuse_unfilled(table, required)
    if everything:
        return list(table.columns)
    travelling = [name for name in table.columns if name in required or name in optional]
    if optional and table.columns and not travelling:
        raise FlowError(
            f"parameter {optional[0]!r}: no column has this name{nearest_column(optional[0], table)}, nor that of any "
            "other parameter, so every row would run the same; rename a column"
        )
    return travelling


def _refuse_unfilled(table: InputTable, required: Sequence[str]) -> None:
    for name in required:
        if name not in table.columns:
            raise FlowError(
                f"parameter {name!r}: no column has this name{nearest_column(name, table)}; "
                "rename a column, add one with df.assign, or give the parameter a default"
            )


def _refuse_column_job(table: InputTable) -> None:
    if "job" in table.columns:
        raise FlowError(
            "column 'job': the task's parameter of this name receives the Job, not the cell; rename the column: "
            'df.rename(columns={"job": "job_name"}), or leave it out: df.drop(columns="job")'
        )


def _refuse_loaded(table: InputTable, loaded: Sequence[str]) -> None:
    for name in loaded:
        if name in table.columns:
            raise FlowError(
                f"column {name!r}: the task's setup fills the parameter of this name, not the cell; rename the column: "
                f"df.rename(columns={{{name!r}: ...}}), or leave it out: df.drop(columns={name!r})"
            )


def _texts(names: list[str], columns: list[list[str]], length: int, whole_row: bool) -> list[str]:
    fields = ",".join(_quoted(name).replace("%", "%%") + ":%s" for name in names)
    template = f'{{"row":{{{fields}}}}}' if whole_row else f"{{{fields}}}"
    if not names:
        return [template] * length
    return list(map(template.__mod__, zip(*columns, strict=True)))


def _is_open_ended(column: pd.Series[Any] | list[Any]) -> bool:
    """May a cell of it be of any length? Numbers and times are short."""
    return isinstance(column, list) or column.dtype.kind not in "iufbmM"


def _have_files(fragments: list[str]) -> bool:
    return any(text[0] in "[{" and references.MARK in text for text in fragments)


def _refuse_long_rows(columns: Sequence[Sequence[str]], index: pd.Index[Any]) -> None:
    """Refuse a row whose fragments, one of each column, are too much together."""
    lengths = [sum(map(len, row)) for row in zip(*columns, strict=True)]
    longest = max(lengths, default=0)
    if longest > MOST_CHARACTERS:
        raise FlowError(
            f"row {shown(index[lengths.index(longest)])}: its data are {longest / 1e6:.1f} MB of JSON, the most is "
            f"{MOST_CHARACTERS / 1e6:.0f} MB; store the large value in a file and send its path"
        )


def _refuse_broken_labels(index: pd.Index[Any], names: Sequence[Any], labels: Sequence[Any]) -> None:
    """Refuse an index with half a character in a label or a name: no label that is stored has one."""
    if is_broken(json.dumps(names, ensure_ascii=False)):
        raise FlowError(
            f"index {list(index.names)!r}: its name has half a character (a lone surrogate); rename it"
        )
    texts = [label for label in labels if isinstance(label, str | list | dict)]
    if texts and is_broken(json.dumps(texts, ensure_ascii=False)):
        at = next(i for i, label in enumerate(labels) if is_broken(json.dumps(label, ensure_ascii=False)))
        raise FlowError(
            f"row {shown(index[at])}: its label has half a character (a lone surrogate); rename it"
        )


def _refuse_many_copies(copied: int, name: str, rows: int) -> None:
    if copied > MOST_COPIED_CHARACTERS:
        raise FlowError(
            f"column {name!r}: other programs read plain data, so each row's job would carry its large value itself, "
            f"{copied / 1e9:.1f} GB of JSON for {rows:,} rows; store the value in a file and send its path"
        )


def _column_fragments(table: InputTable, name: str, piece: slice) -> list[str]:
    if is_broken(name):
        raise FlowError(f"column {name!r}: its name has half a character (a lone surrogate); rename it")
    column = table.columns[name]
    try:
        return fragments_of(column[piece] if isinstance(column, list) else column.iloc[piece])
    except Refused as refused:
        row = shown(table.index[piece][refused.position])
        raise FlowError(f"row {row}, column {name!r}: {refused}") from None
