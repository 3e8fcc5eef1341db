"""What the live view does with the room it has: words and pictures fit, whatever font and width a page gives them."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import flownb as fn
from tests.support.front_end import pages_of

TREE = {
    "name": "total of all that came in during the month",
    "queueName": "totals",
    "children": [{"name": f"row-{n}", "queueName": "rows", "data": n} for n in range(60)],
}
WIDER = ".fn-flow .fn-canvas text { letter-spacing: 4px }"
BEYOND = """() => [...document.querySelectorAll(".fn-node")].filter((node) => {
    const edge = node.querySelector(".fn-box:last-of-type").getBoundingClientRect().right;
    return [...node.querySelectorAll("text")].some((text) => text.getBoundingClientRect().right > edge);
}).length"""


@pytest.fixture
def opened(connection, browser, monkeypatch):
    """Give the view of a flow, and a page with it."""
    with pages_of(fn.add(TREE, connection=connection), browser, monkeypatch) as (view, open_page):
        yield view, open_page()


def test_names_in_a_font_that_is_too_wide_end_early_and_are_whole_in_the_title(opened):
    _, page = opened
    names = page.page.locator(".fn-node .fn-name")
    whole = names.first.text_content()
    page.page.add_style_tag(content=WIDER)
    page.page.set_viewport_size({"width": 1100, "height": 900})  # words are fitted to what is shown then
    names.filter(has_text="…").first.wait_for()
    assert re.fullmatch(r"total of all .*\w…", names.first.text_content())
    assert page.page.evaluate(BEYOND) == 0
    assert page.page.locator(".fn-node title").first.text_content().startswith(TREE["name"])
    page.page.add_style_tag(content=WIDER.replace("4px", "0"))
    page.page.set_viewport_size({"width": 1180, "height": 900})
    names.filter(has_text=whole).first.wait_for()


def test_the_timeline_fits_at_once_beside_a_panel_and_is_drawn_anew_for_it(opened):
    _, page = opened
    page.page.get_by_role("tab", name="Timeline").click()
    page.see(".fn-timeline svg")
    picture, panel = page.page.locator(".fn-timeline svg"), page.page.locator(".fn-timeline")
    before = picture.bounding_box()["width"]
    page.page.locator(".fn-node").first.click()
    page.page.locator(".fn-details").wait_for()  # the kernel has not answered yet
    assert picture.bounding_box()["width"] <= panel.bounding_box()["width"] < before - 300
    room = str(round(panel.bounding_box()["width"]))
    page.see(f".fn-timeline svg[width='{room}']")


def test_what_is_searched_for_is_listed_by_each_part_that_is_opened(connection, browser, monkeypatch):
    @fn.task
    def price(n, country):
        print("looked up", n)
        return n

    @fn.task
    def total(rows, country):
        return len(rows)

    orders = pd.DataFrame({"n": range(40), "country": ["de", "fr"] * 20}, index=[f"r{n}" for n in range(40)])
    with fn.workers(1):
        batch = fn.fan_out(orders, price, name="prices", by="country", into=total).wait(timeout=60)
    with pages_of(batch, browser, monkeypatch) as (_, open_page):
        page = open_page()
        field, said = page.page.get_by_label("Find a row"), page.page.locator(".fn-find [role=status]")
        page.page.get_by_role("tab", name="Groups").click()
        page.see("[aria-label=groups] tbody tr >> nth=1")
        field.fill("fr")
        page.see(".fn-find [role=status]", "1 group")
        assert page.page.locator("[aria-label=groups] tbody tr").count() == 1

        field.fill("r17")  # no group is called so: the rows are searched
        page.see(".fn-rows tbody tr", "r17")
        page.see(".fn-find [role=status]", "1 row")
        page.page.get_by_role("tab", name="Logs").click()
        page.see(".fn-lines li", "looked up 17")
        assert page.page.locator(".fn-lines li").count() == 1

        field.fill("")
        page.see(".fn-lines li >> nth=39")
        page.page.get_by_role("tab", name="Rows").click()
        page.see(".fn-bar-of-tools", "of 40 rows")
        assert said.inner_text() == ""
