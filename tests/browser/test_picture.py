"""The picture that stays in a notebook is an image: its own style has to make it readable, light and dark."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from flownb.views.html import flow_html
from tests.support import example_snapshots as scenes

FILL = "it => getComputedStyle(it).fill"
COLOURS = {
    "light": {
        ".fn-name": "rgb(31, 36, 48)",
        ".fn-note": "rgb(91, 98, 112)",
        ".fn-card": "rgb(252, 252, 251)",
    },
    "dark": {
        ".fn-name": "rgb(231, 233, 238)",
        ".fn-note": "rgb(169, 175, 187)",
        ".fn-card": "rgb(27, 30, 36)",
    },
}


@pytest.mark.parametrize("theme", COLOURS)
def test_the_saved_picture_has_the_colours_of_its_theme(browser: Browser, theme):
    source = re.search(r'src="([^"]+)"', flow_html(scenes.wide()))
    assert source
    with browser.new_context(color_scheme=theme) as context:
        page = context.new_page()
        page.goto(source[1])
        shown = {part: page.locator(part).first.evaluate(FILL) for part in COLOURS[theme]}
    assert shown == COLOURS[theme]
