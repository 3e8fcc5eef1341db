"""What notebooks keep of flows, on pages that are no Jupyter: GitHub's, by its documented rules, and nbconvert's."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser

import flownb as fn
from flownb.views.html import flow_html, report
from tests.support import example_snapshots as scenes
from tests.support.github_rules import as_on_github, words_of


@pytest.fixture
def batch(connection):
    """A batch in two groups that has ended, two of its ten rows failed."""

    @fn.task
    def price(n, country):
        print("looked up", n)
        if n % 5 == 3:
            raise ValueError(f"no tax for order {n}")
        return {"price": 2 * n}

    @fn.task
    def total(rows, country):
        return {"rows": len(rows)}

    orders = pd.DataFrame({"n": range(10), "country": ["de", "fr"] * 5}, index=[f"r{n}" for n in range(10)])
    return fn.fan_out(orders, price, name="prices", by="country", into=total).wait(timeout=60)


def read(words: str) -> str:
    return re.sub(r"\s+", " ", words)


def test_the_rules_take_away_what_github_takes_away():
    html = """<div class="a" style="color:red" onclick="x()" title="t"><style>p {}</style><script>x()</script>
        <svg><text>drawn</text></svg><img src="data:image/png;base64,xx" alt="seen"><img src="https://a/b.png">
        <details open hidden><summary>s</summary></details></div>"""
    assert read(as_on_github(html)) == (
        '<div title="t"> <img alt="seen"><img src="https://a/b.png"> '
        '<details open=""><summary>s</summary></details></div>'
    )


def test_on_github_a_flow_says_how_it_is_and_keeps_its_tree(browser: Browser):
    left = as_on_github(flow_html(scenes.wide()))
    page = browser.new_page()
    page.set_content(left)
    seen = page.locator("body").inner_text()
    page.close()
    for words in (
        "score-nov failing 1,505 jobs",
        "✓ 743 completed ✗ 4 failed 758 left: ► 12 active ○ 743 waiting ◇ 3 waiting for children",
        "├─ ◇ country fr  waiting for children\n│  └─ ✗ process-item-* × 1000  742 completed, 12 active, 3 failed",
        "2 × TimeoutError: no answer in 30 s",
        "1 × ValueError: lang is missing",
    ):
        assert words in seen
    assert "{" not in seen  # no rule of a style is left as words


def test_on_github_a_batch_and_its_row_say_what_they_say_in_a_cell(batch):
    shown = read(words_of(as_on_github(batch._repr_mimebundle_()["text/html"])))
    assert "prices" in shown
    assert "10 completed" in shown
    assert "2 × ValueError: no tax for order …" in shown
    row = read(words_of(as_on_github(batch.row("r3")._repr_html_())))
    for words in ("r3 failed", "ValueError: no tax for order 3", "looked up 3", '"country": "fr"'):
        assert words in row


def test_on_github_a_report_has_its_tables(batch):
    left = as_on_github(batch.to_html())
    shown = read(words_of(left))
    for words in ("prices", "Failures", "ValueError: no tax for order …", "Result"):
        assert words in shown
    assert left.count("<table>") == batch.to_html().count("<table>") >= 2
    assert words_of(as_on_github(report(scenes.wide()))).count("Traceback (most recent call last)") == 1


def notebook_of(*outputs: dict[str, Any]) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell("batch")
    cell.outputs = [nbformat.v4.new_output("display_data", data) for data in outputs]
    return nbformat.v4.new_notebook(cells=[cell])


def test_nbconvert_shows_flow_row_report_and_drawing_without_a_script(batch, browser: Browser, tmp_path):
    row, whole = ({"text/html": html} for html in (batch.row("r3")._repr_html_(), batch.to_html()))
    made = notebook_of(batch._repr_mimebundle_(), row, whole, batch.draw()._repr_mimebundle_())
    page, _ = HTMLExporter().from_notebook_node(made)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with browser.new_context(java_script_enabled=False, offline=True) as context:
        shown = context.new_page()
        shown.goto((tmp_path / "page.html").as_uri(), wait_until="commit")  # the page names a distant script
        outputs = shown.locator(".jp-OutputArea-child")
        outputs.nth(3).wait_for()
        flow, row_page, report_page = (outputs.nth(place).inner_text() for place in range(3))
        assert "2 × ValueError: no tax for order …" in read(flow)
        assert "├─" not in flow  # the words for pages that take the picture away
        assert outputs.nth(0).locator("img.fn-picture").bounding_box()["width"] > 200
        assert "looked up 3" in row_page
        assert "Result" in report_page
        assert outputs.nth(3).locator("img, svg").first.bounding_box()["width"] > 200
