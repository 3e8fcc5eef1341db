"""High contrast: with the system's own few colours every state is told without colour; with more contrast all words have 7 to 1."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pandas as pd
import pytest

import flownb as fn
from flownb.views.html import flow_html
from tests.support import example_snapshots as scenes
from tests.support.front_end import pages_of

AXE = Path(__file__).parents[1] / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
SYSTEM_COLOURS = """(names) => {
    const probe = document.body.appendChild(document.createElement("i"));
    const of = (name) => { probe.style.color = name; return getComputedStyle(probe).color; };
    const found = names.map(of);
    probe.remove();
    return found;
}"""
WORDS = """() => [...document.querySelectorAll(".fn-flow *")]
    .filter((it) => it.getClientRects().length && [...it.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((it) => [it.closest("svg") ? getComputedStyle(it).fill : getComputedStyle(it).color, it.textContent.slice(0, 30)])"""
LOOK = "it => { const s = getComputedStyle(it); return [s.backgroundImage, s.backgroundColor]; }"


@pytest.fixture
def batch(connection, until):
    """Rows of each kind: 94 done, 4 failed, 2 that run until the test ends."""
    hold = threading.Event()

    @fn.task
    def price(n, country):
        if n % 25 == 3:
            raise ValueError(f"no tax for order {n}")
        if n in (98, 99):
            hold.wait()
        return {"price": 2 * n}

    @fn.task
    def total(rows, country):
        return {"rows": len(rows)}

    orders = pd.DataFrame({"n": range(100), "country": ["de", "fr"] * 50})
    made = fn.fan_out(orders, price, name="prices", by="country", into=total, rows_per_job=1)
    until(lambda: (made.progress().completed, made.progress().active) == (94, 2))
    yield made
    hold.set()
    made.wait(timeout=60)


@pytest.fixture
def opened(browser, batch, monkeypatch):
    """Open the batch's view for a person who has asked for contrast in this way; a row's panel is open."""
    with pages_of(batch, browser, monkeypatch) as (_, open_page):

        def open_with_panel(**options):
            shown = open_page(**options)
            shown.see(".fn-kind")
            shown.page.locator(".fn-samples .fn-link").first.click()
            shown.see(".fn-details pre")
            return shown

        yield open_with_panel


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_the_systems_colours_states_differ_by_sign_word_and_pattern(opened, scheme):
    shown = opened(forced_colors="active", color_scheme=scheme)
    page = shown.page
    text, card, *others = page.evaluate(
        SYSTEM_COLOURS, ["CanvasText", "Canvas", "ButtonText", "LinkText", "FieldText", "GrayText"]
    )
    assert [said for said in page.evaluate(WORDS) if said[0] not in (text, *others)] == []
    shares = {
        kind: page.locator(f".fn-track .fn-share.fn-{kind}").first.evaluate(LOOK)
        for kind in ("completed", "active", "failed", "waiting-children")
    }
    assert len({str(look) for look in shares.values()}) == 4
    assert shares["completed"] == ["none", text]
    said = r"✓ 94 completed ✗ 4 failed ► 2 active, the oldest for [\w ]+? ◇ 2 waiting for rows"
    assert re.fullmatch(said, " ".join(page.locator(".fn-key").inner_text().split()))
    boxes = page.locator(".fn-node").evaluate_all(
        "all => all.map((it) => [getComputedStyle(it.querySelector('.fn-box')).fill, it.querySelector('.fn-sign').getAttribute('d')])"
    )
    assert {fill for fill, _ in boxes} == {card}
    assert len({sign for _, sign in boxes}) == 2  # failed, and waiting for others


def test_with_the_systems_colours_focus_and_the_chosen_tab_are_seen(opened):
    shown = opened(forced_colors="active")
    page = shown.page
    (highlight, card) = page.evaluate(SYSTEM_COLOURS, ["Highlight", "Canvas"])
    border = "it => getComputedStyle(it).borderBottomColor"
    tabs = page.get_by_role("tab")
    assert tabs.nth(0).evaluate(border) == highlight
    assert tabs.nth(1).evaluate(border) == card
    page.keyboard.press("Tab")  # from here on the keyboard is what is used: focus is shown
    seen = set()
    for _ in range(30):
        focused = page.evaluate(
            """() => { const it = document.activeElement, s = getComputedStyle(it);
            return [it.getAttribute("class") || it.tagName, s.outlineStyle, s.outlineWidth, s.outlineColor]; }"""
        )
        if focused[0] != "BODY":
            seen.add(focused[0].split()[0])
            assert focused[1:] == ["solid", "3px", highlight], focused
        page.keyboard.press("Tab")
    assert {"fn-node", "fn-button", "fn-link"} <= seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_more_contrast_words_have_seven_to_one(opened, scheme):
    shown = opened(contrast="more", color_scheme=scheme)
    page = shown.page
    if scheme == "dark":  # as a notebook says it
        page.evaluate(
            "document.body.dataset.jpThemeLight = 'false'; document.body.style.background = '#111111'"
        )
    page.evaluate(AXE.read_text(encoding="utf-8"))
    rule = "{ runOnly: { type: 'rule', values: ['color-contrast-enhanced'] } }"
    for name in ("Failures", "Groups"):
        page.get_by_role("tab", name=name).click()
        shown.exchange()
        page.evaluate("Promise.all(document.getAnimations().map((it) => it.finished))")
        found = page.evaluate(f"() => axe.run('.fn-flow', {rule}).then(({{ violations }}) => violations)")
        assert [[node["html"][:120] for node in broken["nodes"]] for broken in found] == []


@pytest.mark.parametrize("option", [{"forced_colors": "active"}, {"contrast": "more"}])
def test_the_picture_that_stays_has_its_bar_and_signs(browser, option):
    with browser.new_context(**option) as context:
        page = context.new_page()
        page.set_content(flow_html(scenes.wide()))
        looks = page.locator(".fn-share").evaluate_all(f"all => all.map({LOOK})")
        assert len({str(look) for look in looks[:3]}) == 3  # completed, active, failed
        assert "✗ 4 failed" in page.locator(".fn-key").inner_text()
        assert page.locator("img").evaluate("it => it.naturalWidth") > 200
