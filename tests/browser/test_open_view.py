"""The view of a batch that an analyst leaves open: what it says to who only looks, and that everybody can use it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

AXE = Path(__file__).parents[1] / "javascript" / "node_modules" / "axe-core" / "axe.min.js"

# 300 rows in three shops, done to the last but two; 12 fail of one kind, 3 of another; each says its number
BATCH = """
import threading
import pandas as pd
import flownb as fn

hold = threading.Event()

@fn.task
def price(n, country):
    print("looked up", n)
    fn.spend(usd=0.01)
    if n % 25 == 3:
        raise ValueError(f"no tax for order {n}")
    if n % 100 == 17:
        return {}["rate"]
    if n in (298, 299):
        hold.wait()
    return {"price": 2 * n}

@fn.task
def total(rows, country):
    return {"rows": len(rows)}

orders = pd.DataFrame({"n": range(300), "country": ["de", "fr", "it"] * 100}, index=[f"r{n}" for n in range(300)])
batch = fn.fan_out(orders, price, name="prices", by="country", into=total, rows_per_job=1)
batch.watch()"""


@pytest.fixture
def view(notebook):
    """A notebook with the view, all that fails has failed."""
    nb = notebook(BATCH, "hold.set()", width=1200, height=1400)
    nb.run(0)
    nb.see(".fn-whole [role=tab]", "Failures (15)")
    return nb


def tab(nb, name):
    nb.page.locator(".fn-whole").get_by_role("tab", name=re.compile(f"^{name}")).click()


def test_the_open_view_answers_what_a_reader_asks(view):
    nb = view
    # It has opened the failures by itself: how many, of which kinds, where in the code.
    nb.see("[role=tab][aria-selected=true]", "Failures (15)")
    nb.see(".fn-kind >> nth=0", "12 ×")
    nb.see(".fn-kind >> nth=0", "ValueError: no tax for order …")
    nb.see(".fn-kind >> nth=1", "3 ×")
    nb.see(".fn-kind >> nth=1", 'in price: return {}["rate"]')
    nb.see(".fn-kind >> nth=1", "r17")

    # Which rows of the second kind.
    second = nb.page.locator(".fn-kind").nth(1)
    second.get_by_role("button", name="Show rows").click()
    nb.see(".fn-bar-of-tools", "1 to 3 of 3 rows")
    assert nb.page.locator(".fn-rows tbody .fn-link").all_inner_texts() == ["r17", "r117", "r217"]
    nb.page.get_by_role("button", name="only KeyError: 'rate' ×").click()

    # What row r17 printed: its label is typed, its pile opens, and all about it stands beside.
    field = nb.page.get_by_label("Find a row")
    field.fill("r17")
    nb.see(".fn-find [role=status]", "11 rows")
    field.press("Enter")
    nb.see(".fn-details h3", "r17")
    nb.see(".fn-details pre", "looked up 17")
    nb.see(".fn-details pre", 'return {}["rate"]')
    nb.see(".fn-whole .fn-node.fn-chosen .fn-name", "price r17")

    # Which group has how many failures.
    field.fill("")
    tab(nb, "Groups")
    nb.see("[aria-label=groups] tbody tr >> nth=0", "100")
    nb.page.get_by_role("button", name="failed", exact=True).click()
    nb.see("[aria-label=groups] [aria-sort=descending]", "failed")

    # What a group has cost, and how long its rows take; the same of its pile in the tree.
    nb.see("[aria-label=groups] tbody tr >> nth=0", "1 usd")
    nb.page.locator("[aria-label=groups]").get_by_role("button", name="it", exact=True).click()
    nb.see(".fn-details h3", "it")
    nb.see(".fn-details dl", "median")
    nb.see(".fn-details dl", "spent")
    nb.page.locator(".fn-whole .fn-node[aria-label*='× 100']").first.press("Enter")
    nb.see(".fn-details h3", "price × 100")
    nb.see(".fn-details dl", "1 usd")

    # What it has printed, followed live.
    tab(nb, "Logs")
    nb.page.get_by_label("follow live").check()
    nb.see(".fn-lines li", "looked up")
    assert nb.errors == []


def test_a_selection_in_the_panel_stays_while_rows_end(view):
    nb = view
    nb.page.locator(".fn-kind .fn-link", has_text="r3").first.click()
    nb.see(".fn-details pre", "no tax for order 3")
    select = """() => { const pre = document.querySelector(".fn-details pre"); getSelection().selectAllChildren(pre); }"""
    nb.page.evaluate(select)
    nb.run(1)
    nb.see(".fn-whole .fn-head", "completed")
    nb.page.wait_for_timeout(2500)  # the panel is read again a second after the last change
    assert "no tax for order 3" in nb.page.evaluate("getSelection().toString()")


def test_failures_of_a_kind_run_again_and_the_line_to_debug_one_is_told(view):
    nb = view
    nb.run(1)
    nb.see(".fn-whole .fn-head", "completed")
    first = nb.page.locator(".fn-kind").first
    first.get_by_role("button", name="Debug").click()
    nb.see(".fn-kind code", "fn.attach('prices').debug('r3')")
    nb.see(".fn-kind >> nth=0", "12 ×")
    nb.page.locator(".fn-kind").nth(1).get_by_role("button", name="Retry these").click()
    nb.see(".fn-whole .fn-head", "completed")
    nb.see(".fn-kind >> nth=1", "3 ×")  # they fail again
    assert nb.errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_that_keeps_anybody_out(notebook, dark):
    nb = notebook(BATCH, "hold.set()", width=1200, height=1400, dark=dark)
    nb.run(0)
    nb.see(".fn-whole [role=tab]", "Failures (15)")
    nb.page.evaluate(AXE.read_text(encoding="utf-8"))
    nb.page.locator(".fn-samples .fn-link").first.click()
    nb.see(".fn-details pre")
    for name in ("Failures", "Rows", "Groups", "Logs", "Timeline"):
        tab(nb, name)
        nb.page.wait_for_timeout(700)  # colours fade in
        found = nb.page.evaluate("() => axe.run('.fn-whole').then(({ violations }) => violations)")
        assert [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in found] == []


@pytest.mark.parametrize("width", [600, 1200, 2400])
def test_no_words_are_below_eleven_pixels_and_nothing_sticks_out(notebook, width):
    nb = notebook(BATCH, "hold.set()", width=width, height=1400)
    nb.run(0)
    nb.see(".fn-whole [role=tab]", "Failures (15)")
    for name in ("Failures", "Rows", "Groups", "Logs", "Timeline"):
        tab(nb, name)
        nb.page.wait_for_timeout(500)
        small, outside = nb.page.evaluate(
            """() => {
                const root = document.querySelector(".fn-whole");
                const seen = [...root.querySelectorAll("*")].filter((it) => it.getClientRects().length);
                const said = seen.filter((it) => [...it.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
                const scale = (it) => it.getCTM?.()?.a ?? it.parentElement?.getCTM?.()?.a ?? 1;
                const size = (it) => parseFloat(getComputedStyle(it).fontSize) * scale(it);
                const right = root.getBoundingClientRect().right + 1;
                const loose = seen.filter((it) => !it.closest("svg, .fn-scroll, .fn-lines, pre"));
                return [said.filter((it) => it.tagName !== "title" && size(it) < 10.9), loose.filter((it) =>
                    it.getBoundingClientRect().right > right)].map((found) => found.map((it) => it.outerHTML.slice(0, 120)));
            }"""
        )
        assert (small, outside) == ([], []), name


LINE = """
import threading
import flownb as fn

hold = threading.Event()

@fn.task
def price(n):
    fn.spend(usd=0.5)
    if n % 10 == 3:
        raise ValueError(f"no tax for order {n}")
    if n == 39:
        hold.wait()
    return 2 * n

batch = fn.fan_out(range(40), price, name="prices", rows_per_job=1)
batch"""


@pytest.mark.parametrize("width", [600, 1200])
def test_a_simple_batch_that_runs_in_a_cell_is_one_line_that_unfolds(notebook, width):
    nb = notebook(LINE, "hold.set()", "batch", width=width, height=1000)
    nb.run(0)
    nb.see(".fn-folded .fn-line", "35 of 40 rows completed, 4 failed, 1 running")
    nb.see(".fn-line", "20 usd spent")
    seen = nb.page.locator(".fn-folded")
    assert seen.bounding_box()["height"] < (60 if width == 1200 else 100)
    assert not seen.locator(".fn-canvas").is_visible()
    nb.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = nb.page.evaluate("() => axe.run('.fn-line').then(({ violations }) => violations)")
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == []

    nb.page.get_by_role("button", name="Show the tree and what failed").click()
    nb.see(".fn-live .fn-canvas .fn-name", "price × 40")
    nb.see(".fn-live .fn-message", "ValueError: no tax for order …")
    nb.page.get_by_role("button", name="Show one line").click()
    nb.run(1)
    nb.see(".fn-folded .fn-line", "36 of 40 rows completed, 4 failed · 20 usd spent · took")

    nb.run(2)  # it has ended: there is nothing to wait for, and all of it is shown
    nb.see(".jp-Cell >> nth=2 >> .fn-live .fn-canvas .fn-name", "price × 40")
    assert nb.page.locator(".fn-line").count() == 1
    assert nb.errors == []
