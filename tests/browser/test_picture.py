"""The picture that stays in a notebook is an image: its own style has to make it readable, light and dark."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

import flownb as fn
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


NAMES = ("MONTHLY WINNERS", "process customer orders", "fetch > parse > score r17", "mmmmmm", "Überweisung")
OVER_THE_EDGE = """() => [...document.querySelectorAll(".fn-node")].flatMap((node) => {
    const edge = node.querySelector(".fn-box:last-of-type").getBoundingClientRect().right;
    return [...node.querySelectorAll("text")].filter((text) => text.getBoundingClientRect().right > edge - 3);
}).map((text) => text.textContent)"""


@pytest.mark.parametrize("engine", ["", "builtin"])
def test_words_stay_in_their_boxes_also_in_a_wide_font(browser: Browser, engine, monkeypatch):
    monkeypatch.setenv("FLOWNB_DOT", engine)
    children = [{"name": name, "queueName": "queue"} for name in NAMES]
    svg = fn.draw({"name": "all", "queueName": "queue", "children": children}).svg()
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content(f"<style>text {{ font-family: 'DejaVu Sans' }}</style>{svg}")
        assert page.locator(".fn-node").count() == len(NAMES) + 1
        assert page.evaluate(OVER_THE_EDGE) == []
