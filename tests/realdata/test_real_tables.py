"""Shows that tables of real data come out of `fan_out`, groups and attach as pandas has them.

A sample of the tables in `make test`, all of them by `make realdata`; FLOWNB_SEED chooses another sample, other rows and forms.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from tests.support import real_tables
from tests.support.same_index import assert_index

SEED = int(os.environ.get("FLOWNB_SEED", "0"))
SAMPLE = 20  #: tables, beside one of each package
MOST_GROUPS = 12


def chosen_tables():
    names = list(real_tables.tables())
    if os.environ.get("FLOWNB_REALDATA") == "all":
        return names
    chance = random.Random(SEED)
    packages = sorted({name.partition("/")[0] for name in names})
    of_each = [
        chance.choice([name for name in names if name.startswith(f"{package}/")]) for package in packages
    ]
    return sorted({*of_each, *chance.sample(names, SAMPLE)})


def as_read(frame):
    return frame


def with_times(frame):
    """Columns that bear dates as times, one with a zone."""
    for name in frame.columns:
        if str(name).lower() in ("date", "time", "time_hour", "timestamp", "datetime"):
            times = pd.to_datetime(frame[name].astype(str), errors="coerce", format="mixed", utc=True)
            times = times.where(times.dt.year.between(2, 9998))  # pandas prints no others
            return frame.assign(**{name: times.dt.tz_convert("America/New_York")})
    return frame


def nullable(frame):
    return frame.convert_dtypes()


def of_arrow(frame):
    return frame.convert_dtypes(dtype_backend="pyarrow")


def categories(frame):
    return frame.apply(lambda column: column.astype("category") if is_key(column) else column)


FORMS = [as_read, with_times, nullable, of_arrow, categories]


def is_key(column):
    return 2 <= column.nunique() <= MOST_GROUPS and not pd.api.types.is_float_dtype(column)


def numbered(frame):
    return frame.reset_index(drop=True)


def by_first(frame):
    return frame.set_index(frame.columns[0]) if len(frame.columns) > 1 else frame


def by_two(frame):
    return frame.set_index(list(frame.columns[:2])) if len(frame.columns) > 2 else frame


LABELLED = [as_read, numbered, by_first, by_two]


def plain(column):
    """A column's cells as JSON has them: None for missing, text for times."""
    cells = column.astype(object).tolist()
    texts = [cell.isoformat() if isinstance(cell, pd.Timestamp) else cell for cell in cells]
    return [
        None if missing else text.replace("+00:00", "Z") if isinstance(cell, pd.Timestamp) else text
        for cell, text, missing in zip(cells, texts, column.isna(), strict=True)
    ]


@pytest.fixture
def tasks():
    @fn.task
    def look(row):
        return {"_given": sum(value is not None for value in row.values()), "_last": list(row.values())[-1]}

    @fn.task
    def total(rows):
        return {"rows": len(rows), "given": int(rows["_given"].sum())}

    return look, total


@pytest.mark.parametrize("name", chosen_tables())
def test_a_real_table_comes_out_as_pandas_has_it(name, tasks):
    look, total = tasks
    chance = random.Random(f"{SEED} {name}")
    form, labelled = chance.choice(FORMS), chance.choice(LABELLED)
    frame = labelled(form(real_tables.table(name, SEED)))
    frame = frame.replace([np.inf, -np.inf], np.nan)
    given = frame.notna().sum(axis=1)

    batch = fn.fan_out(frame, look).wait(timeout=100)
    assert batch.failures.empty, batch.failures["message"].head()
    results, table = batch.results(), fn.attach(batch.name).table()
    for index in (results.index, table.index):
        assert_index(index, frame.index)
    if frame.empty:  # what the task would return is not known
        return
    assert results["_given"].tolist() == given.tolist()
    assert plain(results["_last"]) == plain(frame.iloc[:, -1])
    for column in frame.columns:
        assert plain(table[str(column)]) == plain(frame[column]), column

    keys = [column for column in frame.columns if is_key(frame[column])]
    if not keys:
        return
    by = [chance.choice(keys), chance.choice(keys)][: chance.choice([1, 2])]
    by = by[0] if len(set(by)) == 1 else by
    flags = {
        "dropna": chance.random() < 0.5,
        "sort": chance.random() < 0.5,
        "observed": chance.random() < 0.5,
    }
    grouped = frame.groupby(by, **flags)
    found = fn.fan_out(grouped, look, into=total).result(timeout=100)
    sizes = grouped.size()
    assert found["rows"].tolist() == sizes.tolist()
    for level in range(sizes.index.nlevels):
        assert_index(found.index.get_level_values(level), sizes.index.get_level_values(level))
    assert found["given"].tolist() == [int(part.notna().sum().sum()) for _, part in grouped]
