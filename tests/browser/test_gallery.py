"""The scenes of docs/gallery/, as a person sees them: each is compared with its picture there.

With FLOWNB_GALLERY set the pictures are written instead. Flows are real, on a real server, and stand still for the
picture; times, which are others each time, are put to the same ones in the page just before it.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import flownb as fn
from flownb.state.eta import Estimate
from flownb.state.latest_estimate import LatestEstimate
from flownb.views.html import flow_html
from flownb.views.timeline import timeline_svg
from flownb.widgets.view import FlowView
from tests.support import example_snapshots
from tests.support.front_end import FrontEnd, pages_of, wired
from tests.support.pictures import SCALE, compare, difference

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
SAME_TIMES = r"""() => {
    for (let last = setInterval(() => null, 1e6); last; last--) clearInterval(last);
    const same = (text) => text
        .replace(/ · [^·]* left\b/, "")
        .replace(/\d[\d.,]* (ms|s|min|h|d)\b/g, "1.2 s")
        .replace(/\d{1,2}:\d\d:\d\d( [AP]M)?/g, "12:00:00")
        .replace(/\d{4}-\d\d-\d\d/g, "2026-01-31")
        .replace(/[\d.]+ a (second|minute)/g, "40 a second")
        .replace(/line \d+ of [\w.]+/g, "line 12 of orders.py")
        .replace(/^[0-9a-f]{7}$/, "3f2a91c").replace(/code [0-9a-f]{7}/, "code 3f2a91c");
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const text = walk.currentNode;
        if (!["SCRIPT", "STYLE"].includes(text.parentElement.tagName) && same(text.data) !== text.data) text.data = same(text.data);
    }
    for (const row of document.querySelectorAll("[aria-label=groups] tbody tr"))
        ["40/s", "", "1.2 s"].forEach((words, n) => { row.cells[n + 4].textContent = words; });
}"""

# The font that the tests of the browser ask for; the picture in a saved notebook has its own.
SAME_FONT = """.fn-flow, .fn-flow *, svg text { font-family: "DejaVu Sans" !important; }
.fn-flow :is(pre, code, .fn-message) { font-family: "DejaVu Sans Mono" !important; }"""


def check(name, locator, *, times=SAME_TIMES):
    """Compare the picture of an element with the stored one, or store it; `times` puts the page's times to the same ones."""
    locator.page.add_style_tag(content=SAME_FONT)
    if times:
        locator.page.evaluate(times)
    locator.page.mouse.move(1, 1399)
    taken = locator.screenshot(animations="disabled")
    if os.environ.get("FLOWNB_GALLERY"):
        GALLERY.mkdir(exist_ok=True)
        (GALLERY / f"{name}.png").write_bytes(taken)
        Image.open(GALLERY / f"{name}.png").quantize(256).save(GALLERY / f"{name}.png", optimize=True)
    assert not (found := compare(GALLERY / f"{name}.png", taken)), f"{name}.png: {found}"


# ---- flows, as the last line of a cell -------------------------------------------------------------------------


STAGES = "extract unpack check clean join enrich score rank publish"
SOURCES = "orders customers prices stock returns weather holidays rates stores staff campaigns"


def step(name, queue, *children, **more):
    return {"name": name, "queueName": queue, "children": list(children), **more}


def two_days():
    return step(
        "report",
        "reports",
        *(step("clean", "cleaning", step(f"load {day}", "loading")) for day in ("mon", "tue")),
    )


def nightly():
    tree = None
    for name in STAGES.split():
        tree = step(name, f"nightly-{name}", *([tree] if tree else []))
    return tree


def sources():
    return step("collect", "collecting", *(step(f"load {name}", "loading") for name in SOURCES.split()))


def order():
    checks = [step("validate items", "checks"), step("validate customer", "checks")]
    pay = step("pay", "payments", *checks, opts={"jobId": "pay-17"})
    mention = {"name": "pay", "queueName": "payments", "opts": {"jobId": "pay-17"}}
    return step("confirm", "mail", step("reserve", "stock", pay), step("ship", "stock", mention))


def parcel():
    return step("pack", "packing", *(step(f"pick {shelf}", "warehouse", data=shelf) for shelf in "ABC"))


# scene: the tree, the queues that are served, what is seen when it is ready
FLOWS = {
    "small": (two_days, ["reports", "cleaning", "loading"], "completed"),
    "deep": (nightly, ["nightly-extract", "nightly-unpack", "nightly-check", "nightly-clean"], "4 completed"),
    "wide": (sources, [], "11 waiting"),
    "diamond": (order, ["mail", "stock", "payments", "checks"], "completed"),
    "failing": (parcel, ["packing", "warehouse"], "failed"),
}


def run(job):
    if job.data == "C":
        raise KeyError("shelf C is empty")
    return job.name


@pytest.mark.parametrize("scene", FLOWS)
def test_a_flow_as_the_last_line_of_a_cell(scene, connection, browser, monkeypatch):
    tree, queues, ready = FLOWS[scene]
    flow = fn.add(tree(), name=scene, connection=connection)
    with (
        wired(monkeypatch) as wire,
        fn.Worker(queues or ["nobody"], run, concurrency=1, connection=connection),
    ):
        view = FlowView(flow)
        page = FrontEnd(browser, wire, device_scale_factor=SCALE)
        page.show(view.model_id)
        page.poll_until(view, ".fn-live", ready)
        if scene == "failing":  # what failed is read after the counts
            page.poll_until(view, ".fn-kind", "shelf C is empty")
        check(scene, page.page.locator(".fn-live"))
        view.close()
        page.close()


def texts(rows, first=0):
    """A table of texts in four countries, numbered from `first` on."""
    numbers = range(first, first + rows)
    columns = {
        "text": ["the quick brown fox"] * rows,
        "n": numbers,
        "country": ["de", "fr", "it", "pl"] * (rows // 4),
    }
    return pd.DataFrame(columns, index=[f"r{n}" for n in numbers])


# ---- a batch that runs -----------------------------------------------------------------------------------------


@pytest.fixture
def running(connection, until, monkeypatch):
    """240 rows: 95 done, 5 failed of two kinds, 2 that run as long as the test does."""
    hold = threading.Event()
    found = Estimate((44.0, 46.0), {"score": 3.1})  # the same in each picture
    monkeypatch.setattr(LatestEstimate, "read", lambda self, counts: found)

    @fn.task
    def score(text, n):
        print("read", len(text), "letters")
        if n >= 100:
            hold.wait()
        if n == 30:
            return {}["lang"]
        if n % 23 == 7:
            raise ValueError(f"row {n}: 'xx' is not a language")
        return {"words": len(text.split())}

    @fn.task
    def summary(rows):
        return {"rows": len(rows)}

    with fn.workers(2):
        batch = fn.fan_out(texts(240), score, name="score-november", into=summary, rows_per_job=1)
        until(lambda: (batch.progress().completed, batch.progress().active) == (95, 2), seconds=30)
        yield batch
        hold.set()
        batch.wait(timeout=60)


@pytest.fixture
def open_batch(running, browser, monkeypatch):
    """Open the view of the batch on a page like this."""
    with pages_of(running, browser, monkeypatch) as (view, open_page):

        def open_read(**options):
            page = open_page(device_scale_factor=SCALE, **options)
            page.poll_until(view, ".fn-kind >> nth=1", "KeyError")
            return page

        yield open_read


def look_into_a_row(page):
    page.page.locator(".fn-samples .fn-link").first.click()
    page.see(".fn-details pre", "is not a language")


PAGES = {
    "running": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"width": 600},
    "contrast": {"forced_colors": "active", "color_scheme": "dark"},
}


@pytest.mark.parametrize("scene", PAGES)
def test_a_batch_that_runs(scene, open_batch):
    page = open_batch(**PAGES[scene])
    if scene == "dark":
        page.page.evaluate(
            "document.body.dataset.jpThemeLight = 'false'; document.body.style.background = '#111'"
        )
    look_into_a_row(page)
    check(scene, page.page.locator(".fn-live"))


def test_a_batch_in_one_line_and_unfolded(running, browser, monkeypatch):
    with wired(monkeypatch) as wire:
        view = FlowView(running)
        page = FrontEnd(browser, wire, device_scale_factor=SCALE)
        page.show(view.model_id)
        page.poll_until(view, ".fn-said", "95 of 240 rows completed, 5 failed, 2 running · 3.1 a second")
        check("line", page.page.locator(".fn-live"))
        page.page.get_by_role("button", name="Show the tree and what failed").click()
        page.poll_until(view, ".fn-kind >> nth=1", "KeyError")
        check("unfolded", page.page.locator(".fn-live"))
        view.close()
        page.close()


@pytest.fixture
def done(connection):
    """60 rows in four countries, all run one after the other; three failed.

    Their lines stand in the order of their times: no two rows print in one millisecond, all lines are equally wide.
    """

    @fn.task
    def score(text, n):
        time.sleep(0.002)
        print("read", len(text), "letters of", n)
        if n % 19 == 13:
            raise ValueError(f"row {n}: 'xx' is not a language")
        return {"words": len(text.split())}

    @fn.task
    def per_country(rows, country):
        return {"rows": len(rows)}

    with fn.workers(1):
        yield fn.fan_out(
            texts(60, first=10), score, name="score-pilot", by="country", into=per_country, rows_per_job=1
        ).wait(timeout=60)


def test_a_batch_in_groups_and_its_tabs(done, browser, monkeypatch):
    with pages_of(done, browser, monkeypatch) as (view, open_page):
        page = open_page(device_scale_factor=SCALE)
        page.poll_until(view, ".fn-kind", "is not a language")
        check("done", page.page.locator(".fn-live"))
        for name, first in (
            ("Rows", ".fn-rows tbody .fn-link"),
            ("Groups", "[aria-label=groups] tbody tr"),
            ("Logs", ".fn-lines li"),
        ):
            page.page.get_by_role("tab", name=name).click()
            page.see(first)
            check(name.lower(), page.page.locator(".fn-tabs"))


# ---- what stays, without a script ------------------------------------------------------------------------------


@pytest.fixture
def still(browser):
    """Show HTML on a page that runs no script."""
    contexts = []

    def show(html, **options):
        size = {"viewport": {"width": 1180, "height": 1400}, "device_scale_factor": SCALE}
        contexts.append(browser.new_context(**size, **options))
        page = contexts[-1].new_page()
        page.set_content(f"<body style='margin:0'>{html}")
        return page

    yield show
    for context in contexts:
        context.close()


def test_the_picture_of_a_saved_notebook(still):
    wide = example_snapshots.wide()
    check("saved", still(flow_html(wide)).locator(".fn-flow"), times=None)
    dark = f"<html theme='dark'><body style='background:#111'>{flow_html(replace(wide, state='failed'))}"
    page = still(dark, color_scheme="dark")
    page.evaluate("document.documentElement.setAttribute('theme', 'dark')")
    check("saved-dark", page.locator(".fn-flow"), times=None)


@pytest.mark.parametrize(
    ("scene", "width", "scheme"),
    [("report", 1180, "light"), ("report-dark", 1180, "dark"), ("report-phone", 375, "light")],
)
def test_a_report_of_a_batch(scene, width, scheme, done, still):
    """Without its timeline, which is another one each time."""
    page = still("", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1400})
    page.set_content(done.to_html())
    page.evaluate("document.querySelector('section:last-of-type').remove()")
    check(scene, page.locator("main"))


def test_nothing_to_do(connection, still):
    @fn.task
    def score(text):
        return len(text)

    batch = fn.fan_out(pd.DataFrame({"text": []}), score, name="no-rows").wait(timeout=60)
    check("empty", still(batch._repr_mimebundle_()["text/html"]).locator(".fn-flow"))


def test_one_row_and_a_drawing(running, still):
    check("row", still(running.row("r7")._repr_html_()).locator(".fn-flow"))
    tree = step(
        "report",
        "reports",
        step("clean", "cleaning", step("load", "loading")),
        step("load prices", "loading"),
    )
    check("drawing", still(fn.draw(tree).svg()).locator("svg"))


def test_a_timeline(still):
    start = example_snapshots.START
    records = [
        example_snapshots.record(
            f"price r{n}",
            "failed" if n == 5 else "completed",
            "price",
            timestamp=start,
            processed_on=start + 900 * (n // 3) + 100,
            finished_on=start + 900 * (n // 3) + 500 + 110 * (n % 3),
        )
        for n in range(18)
    ]
    check("timeline", still(timeline_svg(records, now=start + 6000)).locator("svg"), times=None)


# ---- the comparison itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(GALLERY.glob("*.png")), ids=lambda file: file.stem)
def test_a_picture_that_has_lost_a_part_is_another_one(file):
    """The part is 80 by 40 pixels of the page, where most is to be seen."""
    whole = Image.open(file).convert("RGB")
    grey = np.asarray(whole.convert("L"), dtype=float)
    width, height = int(80 * SCALE), min(int(40 * SCALE), whole.height // 2)
    across, down = range(0, whole.width - width, width // 4), range(0, whole.height - height, height // 4)
    x, y = max(
        product(across, down), key=lambda at: grey[at[1] : at[1] + height, at[0] : at[0] + width].std()
    )
    part = np.asarray(whole)[y : y + height, x : x + width].reshape(-1, 3)
    broken = whole.copy()
    broken.paste(tuple(np.median(part, axis=0).astype(int).tolist()), (x, y, x + width, y + height))
    assert difference(whole, whole) == ""
    assert difference(whole, broken) != ""
