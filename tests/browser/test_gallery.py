"""Ten scenes as a person sees them. With FLOWNB_GALLERY set, their screenshots are written to docs/gallery/."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"

SET_UP = """
import threading, time
import pandas as pd
import flownb as fn

hold = threading.Event()

@fn.task
def clean(day): return day
@fn.task
def load(day): return day
@fn.task
def report(days): return {"days": len(days)}
@fn.task
def score(text, n):
    if n % 23 == 7: raise ValueError("lang: 'xx' is not a language")
    if n >= 100: hold.wait()
    return {"words": len(text.split())}
@fn.task
def per_country(rows, country): return {"rows": len(rows)}
@fn.task
def summary(countries): return {"countries": len(countries)}
@fn.task
def validate_items(order): return True
@fn.task
def validate_customer(order): return True
@fn.task
def pay(items, customer): return "paid"
@fn.task
def reserve(paid): return "reserved"
@fn.task
def ship(paid): return "shipped"
@fn.task
def confirm(reserved, shipped): return "order 17 is on its way"
@fn.task(queue="warehouse")
def pick(shelf):
    if shelf == "C": raise KeyError("shelf C is empty")
    return shelf
@fn.task(queue="packing")
def pack(parts): return parts
texts = pd.DataFrame({"text": ["the quick brown fox"] * 240, "n": range(240), "country": ["de", "fr", "it", "pl"] * 60})
step = lambda name, queue, *children, **more: {"name": name, "queueName": queue, "children": list(children), **more}
"""

# scene: the cell, and what is seen when it is ready
SCENES = {
    "small": (
        """
two = [clean.node(load.node(day)) for day in ("mon", "tue")]
flow = fn.add(report.node(two), name="two-days").wait()
flow""",
        "completed",
    ),
    "deep": (
        """
tree = None
for name in "extract unpack check clean join enrich score rank publish".split():
    tree = step(name, "nightly-" + name, *([tree] if tree else []))
flow = fn.add(tree, name="nightly")
queues = ["nightly-" + name for name in ("extract", "unpack", "check", "clean")]
worker = fn.Worker(queues, lambda job: 1).start()
flow""",
        "4 completed",
    ),
    "wide": (
        """
sources = "orders customers prices stock returns weather holidays rates stores staff campaigns".split()
flow = fn.add(step("collect", "collect", *(step("load " + source, source) for source in sources)), name="eleven-sources")
flow""",
        "11 waiting",
    ),
    "diamond": (
        """
order = {"id": 17}
paid = pay.node(validate_items.node(order), validate_customer.node(order))
flow = fn.add(confirm.node(reserve.node(paid), ship.node(paid)), name="order-17").wait()
flow""",
        "completed",
    ),
    "failing": (
        """
flow = fn.add(pack.node([pick.node(shelf) for shelf in "ABC"]), name="parcel-9").wait()
flow""",
        "failed",
    ),
    "done": (
        """
flow = fn.fan_out(texts.head(60), score, name="score-pilot", by="country", into=[per_country, summary]).wait()
flow.watch()""",
        "completed",
    ),
    "empty": (
        """
flow = fn.fan_out(texts.head(0), score, name="no-rows").wait()
flow""",
        "completed",
    ),
    "running": (
        """
batch = fn.fan_out(texts, score, name="score-november", into=summary, rows_per_job=1)
batch.watch()""",
        "running",
    ),
}


def shoot(nb, name, place):
    """Take the picture of one cell's output."""
    picture = nb.page.locator(".jp-Cell").nth(place).locator(".fn-flow:visible").first
    picture.scroll_into_view_if_needed()
    picture.evaluate("e => e.scrollIntoView({block: 'start'})")
    nb.page.mouse.move(2, 300)
    nb.page.wait_for_timeout(600)  # colours fade in
    if os.environ.get("FLOWNB_GALLERY"):
        GALLERY.mkdir(exist_ok=True)
        picture.screenshot(path=GALLERY / f"{name}.png", animations="disabled")


@pytest.mark.timeout(300)
def test_every_scene_is_worth_showing(notebook):
    nb = notebook(SET_UP, *(cell for cell, _ in SCENES.values()), "hold.set()", width=1180, height=1500)
    nb.run(0)
    for place, (name, (_, ready)) in enumerate(SCENES.items(), 1):
        nb.run(place)
        nb.page.locator(".jp-Cell").nth(place).locator(".fn-live").filter(has_text=ready).first.wait_for()
        if name == "running":
            nb.page.locator(".jp-Cell").nth(place).locator(".fn-jobs .fn-link").first.click()
            nb.see(".fn-details pre", "is not a language")
        shoot(nb, name, place)
    assert nb.errors == []
    running = list(SCENES).index("running") + 1
    nb.app("app.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    nb.page.wait_for_selector("body[data-jp-theme-name='JupyterLab Dark']", state="attached")
    shoot(nb, "dark", running)
    nb.app("app.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    nb.run(len(SCENES) + 1)
    nb.save()
    shoot_static(nb)


def shoot_static(nb):
    """The saved notebook as nbconvert makes a page of it, in a browser that runs no script."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(nb.file))
    (nb.folder / "page.html").write_text(page, encoding="utf-8")
    context = nb.lab.browser.new_context(
        java_script_enabled=False, viewport={"width": 1180, "height": 900}, device_scale_factor=1.5
    )
    shown = context.new_page()
    shown.goto((nb.folder / "page.html").as_uri())
    pictures = shown.locator(".fn-flow")
    assert pictures.count() == len(SCENES)
    failing = shown.locator(".fn-flow", has_text="parcel-9").first
    assert "shelf C is empty" in failing.inner_text()
    if os.environ.get("FLOWNB_GALLERY"):
        failing.screenshot(path=GALLERY / "static.png")
    context.close()
