"""Shows columns that are named like secrets: the call that stores them warns, and what others see has them masked."""

from __future__ import annotations

import json
import logging
import warnings

import pandas as pd
import pytest

import flownb as fn
from tests.widgets.test_view import ask, view_on

pytestmark = pytest.mark.usefixtures("connection")

KEY = "k-4711-very-secret"
ROWS = pd.DataFrame({"n": [1, 2], "api_key": [KEY, 'with "quotes" and \\ more']}, index=["a", "b"])


def careless(n, api_key):
    print("calling with", api_key)
    logging.getLogger("client").warning("header: Bearer %s", api_key)
    if n == 2:
        raise ValueError(f"refused: {api_key}")
    return {"n2": 2 * n, "token": api_key}


@pytest.fixture(params=["auto", 2, 1], ids=["auto", "shared jobs", "a job each"])
def batch(request):
    with pytest.warns(UserWarning, match="column 'api_key' is named like a secret"):
        return fn.fan_out(ROWS, fn.task(careless), rows_per_job=request.param).wait(timeout=30)


def test_logs_and_errors_are_without_them(batch):
    lines = batch.logs()["line"].tolist()
    assert lines == ["calling with ***", "client: header: Bearer ***"] * 2
    failures = batch.failures
    assert failures["message"].tolist() == ["refused: ***"]
    assert "quotes" not in failures["traceback"].iloc[0]
    assert batch.table()["_error"].dropna().tolist() == ["ValueError: refused: ***"]


def test_rows_and_pages_show_none(batch, tmp_path):
    for label in ("a", "b"):
        shown = repr(batch.row(label))
        assert "api_key = '***'" in shown
        assert KEY not in shown
        assert "quotes" not in shown
        in_a_cell = batch.row(label)._repr_html_()
        assert KEY not in in_a_cell
        assert "quotes" not in in_a_cell
    page = batch.to_html()
    assert "***" in page
    assert KEY not in page
    batch.export(tmp_path / "export")
    exported = b"".join(path.read_bytes() for path in (tmp_path / "export").iterdir())
    assert KEY.encode() not in exported


def test_a_live_view_shows_none(batch):
    view = view_on(batch)
    pages = [ask(view, "rows"), *(ask(view, "row", position=position) for position in (0, 1)), view.failures]
    shown = json.dumps(pages)
    assert shown.count("***") >= 4
    assert KEY not in shown
    assert "quotes" not in shown


def test_results_and_the_callers_own_table_are_whole(batch):
    assert batch.results()["token"].iloc[0] == KEY
    assert batch.table()["api_key"].tolist() == ROWS["api_key"].tolist()
    assert batch.row("a").inputs["api_key"] == KEY


def test_what_is_no_text_or_does_not_travel_is_no_secret():
    @fn.task
    def counted(n, token=None):
        return n

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fn.fan_out(ROWS.assign(token=[3, 4]), counted).wait(timeout=30)
        fn.fan_out(ROWS.rename(columns={"api_key": "tokens"}), counted).wait(timeout=30)
        fn.fan_out(ROWS, counted).wait(timeout=30)


def test_rows_of_an_iterator_warn_too():
    @fn.task
    def length(password):
        return len(password)

    with pytest.warns(UserWarning, match="column 'password'"):
        fn.fan_out(iter(["abc", "defg"]), length, name="read").wait(timeout=30)


def test_a_call_of_many_rows_shows_none_of_theirs():
    @fn.task(batch_size=2)
    def ask(rows):
        print(rows["api_key"].iloc[0])
        raise ValueError(rows["api_key"].iloc[-1])

    with pytest.warns(UserWarning, match="api_key"):
        batch = fn.fan_out(ROWS, ask).wait(timeout=30)
    assert set(batch.failures["message"]) == {"***"}
    assert set(batch.logs()["line"]) == {"***"}
