"""A report on screens of every width, and on paper."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from flownb.views.html import report
from flownb.views.timeline import timeline_svg
from tests.support import example_snapshots as scenes

ROWS = 60


@pytest.fixture
def page(browser, tmp_path):
    """Give a report of a table with long cells, in a page of its own."""
    columns = {
        "address": [f"https://shop.example.com/orders/{n}" for n in range(ROWS)],
        "text": ["the quick brown fox jumps over the lazy dog"] * ROWS,
        "label": ["good"] * ROWS,
        "_attempts": [1] * ROWS,
        "_seconds": [0.25] * ROWS,
    }
    frame = pd.DataFrame(columns, index=[f"r{n}" for n in range(ROWS)])
    records = [scenes.record(f"r{n}") for n in range(50)]
    now = scenes.START + 60_000
    timelines = [timeline_svg(records, now=now, width=width) for width in (1100.0, 560.0, 340.0)]
    html = report(scenes.wide(), table_html=frame, table_of=1000, timelines=timelines)
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    context = browser.new_context(java_script_enabled=True)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    yield page
    context.close()


LOOKED = """() => {
    const seen = [...document.querySelectorAll("main *")].filter((it) => it.getClientRects().length);
    const said = seen.filter((it) => [...it.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
    const scale = (it) => it.getCTM?.()?.a ?? it.parentElement?.getCTM?.()?.a ?? 1;
    const size = (it) => parseFloat(getComputedStyle(it).fontSize) * scale(it);
    const small = said.filter((it) => !["title", "STYLE"].includes(it.tagName) && size(it) < 10.9);
    const narrow = seen.filter((it) => it.tagName === "TD" && it.textContent.length > 9 && it.clientWidth < 60);
    return [document.documentElement.scrollWidth, small.length, narrow.length];
}"""


@pytest.mark.parametrize("width", [375, 600, 1200, 2400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_fits_the_screen_and_is_readable(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate(LOOKED) == [width, 0, 0]
    assert page.locator("h1").count() == 1
    shown = page.locator("svg[aria-label], svg").evaluate_all(
        "all => all.filter(it => it.clientWidth).length"
    )
    assert shown == 2  # the tree, and the timeline that fits
    timeline = page.locator("section:has(h2:text('Timeline')) svg >> visible=true")
    assert timeline.bounding_box()["width"] <= width
    assert timeline.evaluate("it => it.parentElement.scrollWidth <= it.parentElement.clientWidth")
    result = page.locator(".fn-result .fn-scroll").bounding_box()
    assert result["height"] <= 460  # what follows is not pages away


def test_a_report_on_paper_shows_whole_words_and_the_first_rows(page):
    page.set_viewport_size({"width": 700, "height": 990})
    page.emulate_media(media="print")
    assert page.locator(".fn-result tbody tr >> visible=true").count() == 40
    assert page.locator("text=on paper the first 40 of 1,000 rows").is_visible()
    assert not page.locator("text=the first 60 of 1,000 rows").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 700
    broken = page.locator("td").evaluate_all(
        "all => all.filter(it => it.clientWidth && it.clientHeight > 3.5 * parseFloat(getComputedStyle(it).fontSize)"
        " && it.textContent.length < 10).length"
    )
    assert broken == 0
    assert re.fullmatch(r"%PDF-1\.\d", page.pdf(format="A4")[:8].decode())
