"""What a notebook and a report show."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from flownb.views.html import flow_html, report
from flownb.views.html_table import frame_html
from flownb.views.markup import escape
from flownb.views.timeline import timeline_svg
from flownb.wire.records import WAITING_CHILDREN
from tests.support import example_snapshots as scenes


def test_a_flow_shows_state_counts_tree_and_failures():
    page = flow_html(scenes.wide())
    for words in (
        "score-nov",
        "failing",
        "1,505 jobs",
        "743</b> completed",
        '<img class="fn-picture" alt="Flow(&#39;score-nov&#39;: 1505 jobs, 743 completed, 4 failed)',
        "ValueError: lang is missing",
    ):
        assert words in page
    assert page == flow_html(scenes.wide())


def test_what_waits_for_others_is_said_in_one_word_wherever_a_person_reads():
    snapshot = scenes.wide()
    for page in (flow_html(snapshot), report(snapshot), flow_html(scenes.small())):
        read = re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
        read = re.sub(r"(class|src)=\"[^\"]*\"", "", read)
        assert "waiting for children" in read
        assert "waiting-children" not in read


def test_the_heading_says_for_how_many_the_root_waits():
    root = replace(scenes.job("r", "total", WAITING_CHILDREN, ["a"]), words="waiting for 2 rows")
    page = flow_html(scenes.flow("score", WAITING_CHILDREN, root, scenes.many("a", "row", {"waiting": 2})))
    assert '<span class="fn-state fn-waiting-children">waiting for 2 rows</span>' in page


def test_a_flow_in_a_notebook_tells_no_times_and_no_ids():
    assert "2023-11-14" not in flow_html(scenes.diamond())
    assert "12.3 s" not in flow_html(scenes.diamond())


def test_failures_are_grouped_by_message_most_frequent_first():
    page = report(scenes.wide())
    assert page.index("2 ×") < page.index("1 ×")
    assert page.count("TimeoutError: no answer in 30 s</span>") == 1
    assert "Traceback (most recent call last)" in page


def test_one_text_is_shown_as_it_is_and_several_as_their_kind_with_an_example():
    reasons = ["KeyError: 'tax'", "KeyError: 'tax'", "row 7 is bad", "row 8 is bad", None]
    failed = [scenes.record(f"r{n}", "failed", failed_reason=reason) for n, reason in enumerate(reasons)]
    page = report(scenes.empty(), failures=failed)
    assert "KeyError: &#39;tax&#39;" in page
    assert "row … is bad" in page
    assert "such as row 7 is bad" in page
    assert "no message" in page
    assert page.count("<li><b>") == 3


def test_a_report_has_all_its_parts():
    frame = pd.DataFrame({"score": [0.5, None]}, index=pd.Index(["a", "b"], name="row"))
    timeline = timeline_svg([scenes.record("a")], now=scenes.START + 5)
    page = report(scenes.wide(), table_html=frame, timelines=[timeline], title="November")
    for words in (
        "<!DOCTYPE html>",
        "<h1>November",
        "Queues",
        "Failures",
        "Timeline",
        "Result",
        "prefers-color-scheme",
    ):
        assert words in page
    assert page.count("<svg") == 2


def test_a_report_begins_with_the_result_below_one_title():
    frame = pd.DataFrame({"score": range(50)})
    timeline = timeline_svg([scenes.record("a")], now=scenes.START + 5)
    page = report(scenes.wide(), table_html=frame, table_of=1000, timelines=[timeline], title="score-nov")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Result", "Failures", "Tree", "Queues", "Timeline"]
    assert page.count(">score-nov<") == 2  # of the window and of the page
    assert "1,505 jobs · began 2023-11-14" in page
    assert "the first 50 of 1,000 rows" in page
    assert re.search(r'<td class="fn-number">1,\d{3}</td>', page)  # of a stage
    value = report(scenes.small(), value='{"rows": 1000, "note": "<b>"}')
    assert value.index("Result") < value.index("Tree")
    assert "&#34;note&#34;: &#34;&lt;b&gt;&#34;" in value


def test_numbers_of_a_users_stay_as_they_are():
    assert '<td class="fn-number">2026</td>' in frame_html(pd.DataFrame({"year": [2026]}))


def test_decimal_numbers_are_written_out_and_their_column_has_separators_where_some_are_large():
    made = frame_html(pd.DataFrame({"revenue": [39003500.25, 1234.5], "year": [2026.0, None]}))
    cells = re.findall(r'<td class="fn-number">(.*?)</td>', made)
    assert cells[1:3] + cells[4:6] == ["39,003,500", "2026", "1,234.5", ""]


def test_rows_of_several_steps_are_told_by_step():
    rows = scenes.flow("prices", "completed", scenes.many("a", "row", {"completed": 2000}, queue="fetch"))
    by_step = {"fetch": {"fetch": {"completed": 2000}, "parse": {"completed": 1990, "failed": 10}}}
    counts = replace(rows.counts, by_step=by_step)
    page = report(replace(rows, counts=counts, single_rows=2000))
    assert "<h2>Steps</h2>" in page
    assert re.search(r"parse</td><td[^>]*>1,990</td><td[^>]*>10</td>", page)
    assert "Queues" not in report(rows)  # the heading has said it


def test_a_report_of_nothing_is_a_report():
    page = report(scenes.empty())
    assert "Failures" not in page
    assert "no jobs" in page


def test_broken_tracebacks_do_no_harm():
    for stack in ("", "[", "{}", "[1]", "[]"):
        bad = scenes.record("a", "failed", failed_reason=None, stacktrace=stack)
        assert "no message" in report(scenes.empty(), failures=[bad])


def test_a_long_table_is_cut_and_says_so():
    made = frame_html(pd.DataFrame({"n": range(1000)}))
    assert made.count("<tr>") == 201
    assert "the first 200 of 1,000 rows" in made


def test_tables_of_every_kind_are_shown():
    frame = pd.DataFrame([[1, pd.NA], [pd.NaT, [1, 2]]], columns=["x", "x"])
    assert "[1, 2]" in frame_html(frame)
    several = pd.DataFrame({"v": [1]}, index=pd.MultiIndex.from_tuples([("a", 1)], names=["k", None]))
    assert frame_html(several).count("<th ") == 3
    assert frame_html(pd.DataFrame(index=["only"])).count("only") == 1


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(pd.Index([("a", 1), ("b", 2)], tupleize_cols=False), id="tuples"),
        pytest.param(pd.Index([("a",), ()], tupleize_cols=False), id="tuples of different lengths"),
        pytest.param(pd.Index([("a", 1), "b"], tupleize_cols=False, name="k"), id="tuples and texts"),
        pytest.param(pd.MultiIndex.from_arrays([["a", "b"]]), id="several levels, of which there is one"),
    ],
)
def test_an_index_of_one_level_is_one_column_whatever_its_labels(labels):
    made = frame_html(pd.DataFrame({"v": [1, 2]}, index=labels))
    assert made.count("<th ") == 2
    assert made.count("<td ") == 4
    assert escape(labels.get_level_values(0)[0]) in made


def test_pandas_is_loaded_only_for_tables():
    code = (
        "import sys; from tests.support import example_snapshots as s;"
        "from flownb.views import html, text, timeline; html.report(s.wide(), timelines=["
        "timeline.timeline_svg([], now=0)]); text.tree(s.wide()); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
