"""Where a page does not say whether it is dark as notebooks do, the live view is as the page behind it, or as the system."""

from __future__ import annotations

import pytest

import flownb as fn
from tests.support.front_end import pages_of

COLOURS = """() => { const it = getComputedStyle(document.querySelector(".fn-live"));
    return [it.backgroundColor, it.color, it.colorScheme]; }"""
CLEAR, DARK_PAGE = "rgba(0, 0, 0, 0)", "rgb(20, 22, 26)"
DARK_INK, LIGHT_INK = "rgb(31, 36, 48)", "rgb(231, 233, 238)"
LIGHT_VIEW, DARK_VIEW = [CLEAR, DARK_INK, "light"], [CLEAR, LIGHT_INK, "dark"]


@pytest.fixture
def open_silent(connection, browser, monkeypatch):
    """Open pages with the view of a batch whose rows print nothing, on pages like this."""

    @fn.task
    def price(n):
        return 2 * n

    batch = fn.fan_out(range(20), price, name="prices").wait(timeout=60)
    with pages_of(batch, browser, monkeypatch) as (_, open_page):
        yield open_page


@pytest.mark.parametrize(
    ("system", "page", "look"),
    [
        ("light", "", LIGHT_VIEW),
        ("dark", "", [DARK_PAGE, LIGHT_INK, "dark"]),
        ("dark", "document.body.style.background = 'white'", LIGHT_VIEW),
        ("light", "document.body.style.background = 'oklch(0.2 0.02 250)'", DARK_VIEW),
        ("dark", "document.documentElement.style.background = '#202124'", DARK_VIEW),
        ("dark", "document.body.dataset.jpThemeLight = 'true'", LIGHT_VIEW),
        ("light", "document.body.dataset.jpThemeLight = 'false'", DARK_VIEW),
        ("dark", "document.body.className = 'vscode-light'", LIGHT_VIEW),
        ("dark", "document.documentElement.setAttribute('theme', 'light')", LIGHT_VIEW),
    ],
)
def test_it_is_dark_where_its_page_is(open_silent, system, page, look):
    shown = open_silent(color_scheme=system)
    shown.page.evaluate(page)
    shown.page.wait_for_function(
        f"(look) => JSON.stringify(({COLOURS})()) === JSON.stringify(look)", arg=look
    )
    assert shown.errors == []


def test_where_rows_print_nothing_the_logs_say_so(open_silent):
    shown = open_silent()
    shown.page.get_by_role("tab", name="Logs").click()
    shown.see(".fn-none", "These rows have printed and logged nothing.")
    shown.page.get_by_label("Level").select_option("ERROR")
    shown.see(".fn-none", "No such line.")
