"""A fresh reader before the open view of a batch that runs: each question is answered by the page's words and roles.

1,000 rows go through three steps, 40 have failed of two kinds, there is a budget, and rows print.
"""

from __future__ import annotations

import re
import threading
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.batches import row_facts
from tests.browser.test_high_contrast import AXE
from tests.support.front_end import pages_of

pytestmark = pytest.mark.timeout(300)  # 900 rows take a minute where the machine is busy

ROWS, ROWS_THAT_END = 1000, 900
SLOW_SECONDS = 0.03  #: that a row takes at its last step, which is the slowest


@pytest.fixture
def running(connection, until):
    """A batch of which 860 rows are done and 40 have failed; four wait at the last step, as long as the test takes."""
    hold = threading.Event()

    @fn.task
    def fetch(n):
        print("fetched page", n)
        fn.spend(usd=0.002)
        return {"page": f"<p>order {n}</p>"}

    @fn.task
    def parse(n, page):
        if n % 30 == 3 and n < ROWS_THAT_END:
            raise ValueError(f"page {n} has no table")
        return {"words": len(page)}

    @fn.task
    def score(n, words):
        if n % 90 == 17 and n < ROWS_THAT_END:
            return {}["rate"]
        time.sleep(SLOW_SECONDS)
        if n >= ROWS_THAT_END:
            hold.wait()
        return {"price": 2 * words}

    orders = pd.DataFrame({"n": range(ROWS)}, index=[f"r{n}" for n in range(ROWS)])
    with fn.workers(4):
        batch = fn.fan_out(orders, [fetch, parse, score], name="prices", budget={"usd": 3})
        until(lambda: (batch.progress().failed, batch.progress().active) == (40, 4), seconds=60)
        yield batch
        hold.set()
        batch.wait(timeout=60)


class Reader:
    """Reads a page as a person or a screen reader does: by words and roles. The view polls meanwhile."""

    def __init__(self, view, page):
        self.view, self.front_end, self.page = view, page, page.page

    def sees(self, words, within=".fn-live"):
        self.front_end.poll_until(self.view, within, words)

    def until(self, is_so):
        for _ in range(600):
            self.view.poll()
            self.front_end.exchange()
            if is_so():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("never so")

    def presses(self, role, name, within=".fn-live"):
        self.page.locator(within).get_by_role(role, name=name).first.click()

    def count_new(self):
        """How many kinds of failures are said to have new ones."""
        return self.page.get_by_role("button", name=re.compile(r"since \d")).count()

    def table(self, name):
        """The lines of a table as dicts from heading to words."""
        table = self.page.get_by_role("table", name=name)
        headings = [words.rstrip(" ↑↓") for words in table.get_by_role("columnheader").all_inner_texts()]
        lines = table.get_by_role("row").all()[1:]
        return [
            dict(zip(headings, line.get_by_role("cell").all_inner_texts(), strict=True)) for line in lines
        ]


@pytest.fixture(params=[600, 1200, 2400])
def reader(request, running, browser, monkeypatch):
    monkeypatch.setattr("flownb.state.eta._STILL_SECONDS", 3600.0)  # as if rows had ended just now
    with pages_of(running, browser, monkeypatch) as (view, open_page):
        reader = Reader(view, open_page(width=request.param))
        reader.sees("KeyError", ".fn-kind >> nth=1")
        reader.sees("10 ×", ".fn-kind >> nth=1")
        yield reader
        assert reader.front_end.errors == []


def test_the_open_view_answers_what_a_fresh_reader_asks(reader):
    page = reader.page

    # What runs now, how far it is, when it will be done, how many failed, what it has cost: said above all else.
    heading = page.locator(".fn-facts").inner_text()
    assert re.search(r"4 active, the oldest for \d+", heading)
    assert re.search(r"860 completed", heading)
    assert re.search(r"40 failed", heading)
    assert re.search(r"100 left:\s+► 4 active.*○ 96 waiting", heading, re.DOTALL)
    assert page.locator(".fn-head .fn-state").inner_text() == "waiting for 100 rows"
    assert re.search(r"[\w ]+ left", heading)
    assert re.search(r"1\.8\d* of 3 usd spent, about 2\.0 usd in all", heading)
    assert page.get_by_role("img", name="860 completed, 40 failed, 4 active, 96 waiting").count()

    # Only where something runs a box says so.
    running = page.locator(".fn-node.fn-active")
    assert running.count() == 1
    assert "score" in running.text_content()
    assert page.locator(".fn-node > .fn-active").count() == 0  # the badge of what failed comes first

    # A box of rows says how many have come to it so far, and which share of those that ended has failed.
    parse = page.locator(".fn-node").filter(has_text="parse × 1,000")
    assert "874 completed, 30 failed (3.3 %)" in parse.text_content()
    assert "904 of 1,000 got here" in parse.text_content()

    # Of which kinds: the failures stand open.
    assert page.get_by_role("tab", name="Failures (40)").get_attribute("aria-selected") == "true"
    kinds = [kind.inner_text() for kind in page.locator(".fn-kind").all()]
    assert all(words in kinds[0] for words in ("30 ×", "ValueError: page … has no table", "in parse"))
    assert all(words in kinds[1] for words in ("10 ×", "KeyError: 'rate'", "in score"))
    assert reader.count_new() == 0  # all of it has failed before anybody looked

    # Which rows are of the second kind, and what to press to run those again.
    second = page.locator(".fn-kind").nth(1)
    assert second.get_by_role("button", name="Retry these").is_visible()
    second.get_by_role("button", name="Show rows").click()
    reader.sees("1 to 10 of 10 rows", ".fn-bar-of-tools")
    rows = reader.table("Rows")
    assert [row["row"] for row in rows] == [f"r{17 + 90 * n}" for n in range(10)]
    assert {row["state"].replace("\n", " ") for row in rows} == {"failed at score"}
    assert page.locator(".fn-bar-of-tools").get_by_role("button", name="Retry these").is_visible()

    # Which step is the slowest, and which rows took longest there.
    reader.presses("tab", "Steps")
    reader.sees("ms", "[aria-label=steps] tbody tr >> nth=2")
    steps = reader.table("steps")
    assert [line["step"] for line in steps] == ["fetch", "parse", "score"]
    assert [line["rows"] for line in steps] == ["1,000", "904 of 1,000", "874 of 1,000"]
    assert steps[2]["time left"]
    reader.until(
        lambda: f"{reader.table('steps')[2]['time left']} left" in page.locator(".fn-facts").inner_text()
    )
    reader.presses("button", "median", "[aria-label=steps]")
    reader.sees("score", "[aria-label=steps] tbody tr >> nth=0")
    slowest = reader.table("steps")[0]
    assert slowest["failed"] == "10"
    assert int(slowest["median"].split()[0]) >= 1000 * SLOW_SECONDS
    reader.presses("button", "score", "[aria-label=steps]")
    reader.sees("95 % within", ".fn-details")
    assert page.locator(".fn-details .fn-slowest li").count() == 5

    # What row r17 printed: its label is typed.
    page.get_by_label("Find a row").fill("r17")
    page.get_by_label("Find a row").press("Enter")
    reader.sees("fetched page 17", ".fn-details")
    assert page.locator(".fn-details h3").inner_text() == "r17"
    reader.presses("tab", "Logs")
    reader.sees("fetched page 17", ".fn-lines")
    reader.sees("rows found, and of the", ".fn-bar-of-tools")

    # The one lane of all steps bears all their names, and counts what it has.
    reader.presses("tab", "Timeline")
    reader.sees("fetch > parse > score", ".fn-timeline .fn-name")
    reader.sees("1,000 rows, up to 4 at once, 40 failed", ".fn-timeline .fn-note")


def test_rows_of_one_kind_run_again_from_where_they_are_listed(reader):
    page = reader.page
    page.locator(".fn-kind").nth(1).get_by_role("button", name="Show rows").click()
    reader.sees("1 to 10 of 10 rows", ".fn-bar-of-tools")
    tools = page.locator(".fn-bar-of-tools")
    tools.get_by_role("button", name="Retry these").click()
    reader.sees("30 failed", ".fn-key")
    reader.sees("no such row among those chosen", ".fn-bar-of-tools")
    tools.get_by_role("button", name="only KeyError").click()
    reader.sees("1 to 40 of 1,000 rows", ".fn-bar-of-tools")
    assert tools.get_by_role("button", name="Retry these").is_hidden()


def test_one_failed_row_runs_again_from_where_it_is_shown(reader):
    page = reader.page
    page.get_by_label("Find a row").fill("r17")
    page.get_by_label("Find a row").press("Enter")
    reader.sees("KeyError: 'rate'", ".fn-details")
    page.locator(".fn-details").get_by_role("button", name="Retry this row").click()
    reader.sees("39 failed", ".fn-key")
    reader.sees("waiting", ".fn-details .fn-state")
    assert page.locator(".fn-details").get_by_role("button", name="Retry this row").is_hidden()


def test_a_count_opens_the_rows_that_it_counts(reader):
    page = reader.page
    page.get_by_label("Find a row").fill("r17")
    page.locator(".fn-key").get_by_role("button", name="4 active").click()
    reader.sees("1 to 4 of 4 rows", ".fn-bar-of-tools")
    assert {row["state"] for row in reader.table("Rows")} == {"active at score"}
    page.locator(".fn-key").get_by_role("button", name="40 failed").click()
    reader.sees("1 to 40 of 40 rows", ".fn-bar-of-tools")


def test_lines_are_seen_from_the_last_one(reader):
    reader.presses("tab", "Logs")
    reader.sees("fetched page", ".fn-lines li >> nth=99")
    lines = reader.page.locator(".fn-lines")
    assert lines.evaluate("it => it.scrollHeight > it.clientHeight + 100")
    assert lines.evaluate("it => it.scrollTop + it.clientHeight >= it.scrollHeight - 1")


CONTRASTS = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map((n) => n / 255).map((n) => n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const seen = (it) => { let all = 1; for (; it instanceof Element; it = it.parentElement) all *= getComputedStyle(it).opacity; return all; };
    return [...document.querySelectorAll(".fn-dim text")].filter((it) => it.textContent).map((it) => {
        const words = light(getComputedStyle(it).fill);
        const box = light(getComputedStyle(it.parentElement.querySelector(".fn-box:last-of-type")).fill);
        return [it.textContent, seen(it) * (Math.max(words, box) + 0.05) / (Math.min(words, box) + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_boxes_that_are_not_searched_for_can_be_read(running, browser, monkeypatch, scheme):
    with pages_of(running, browser, monkeypatch) as (view, open_page):
        reader = Reader(view, open_page(color_scheme=scheme, reduced_motion="reduce"))
        reader.sees("score × 1,000", ".fn-node")
        reader.page.get_by_label("Find a row").fill("parse")
        reader.sees("1 box", ".fn-find")
        found = reader.page.evaluate(CONTRASTS)
        assert len(found) >= 3 * 2
        assert [words for words, contrast in found if contrast < 4.5] == []

        # Nor does anything else of it keep anybody out: it stands still, and rows of one kind are listed.
        reader.sees("nothing has ended for", ".fn-outlook")
        reader.presses("tab", "Failures")
        reader.page.locator(".fn-kind").nth(1).get_by_role("button", name="Show rows").click()
        reader.sees("1 to 10 of 10 rows", ".fn-bar-of-tools")
        reader.page.evaluate(AXE.read_text(encoding="utf-8"))
        # It takes the words of a box, which stand below each other in SVG, for one word.
        rules = "{ rules: { 'label-content-name-mismatch': { enabled: false } } }"
        faults = reader.page.evaluate(f"async () => (await axe.run('.fn-live', {rules})).violations")
        assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in faults] == []


def test_a_batch_that_stands_still_says_so_in_the_place_of_a_time_left(running, browser, monkeypatch):
    monkeypatch.setattr("flownb.state.eta._STILL_SECONDS", 0.0)
    monkeypatch.setattr("flownb.state.latest_estimate.ESTIMATE_SECONDS", 0.0)
    with pages_of(running, browser, monkeypatch) as (view, open_page):
        reader = Reader(view, open_page())
        reader.sees(re.compile(r"nothing has ended for \d+ s"), ".fn-outlook")
        page, first = reader.page, reader.page.locator(".fn-outlook").inner_text()
        reader.until(lambda: page.locator(".fn-outlook").inner_text() != first)  # it goes on
        assert not re.search(r"\d (s|min) left", page.locator(".fn-facts").inner_text())
        reader.presses("tab", "Steps")
        reader.sees("ms", "[aria-label=steps] tbody tr >> nth=2")
        shown = page.get_by_role("table", name="steps").get_by_role("columnheader").all_inner_texts()
        assert shown == ["step", "done", "rows", "failed", "median", "spent"]  # no empty columns


def test_what_is_typed_is_searched_for_among_all_rows_unless_a_choice_of_rows_is_in_sight(reader):
    page, chip = reader.page, reader.page.get_by_role("button", name="only KeyError")
    page.locator(".fn-kind").nth(1).get_by_role("button", name="Show rows").click()
    reader.sees("1 to 10 of 10 rows", ".fn-bar-of-tools")
    assert chip.is_visible()
    page.get_by_label("Find a row").fill("r3")
    reader.sees("1 to 1 of 1 row", ".fn-bar-of-tools")  # r377, of this kind
    page.get_by_label("Find a row").fill("r33")
    reader.sees("no such row among those chosen", ".fn-bar-of-tools")

    # From another part the choice is not seen.
    reader.presses("tab", "Steps")
    page.get_by_label("Find a row").fill("r333")
    reader.sees("1 to 1 of 1 row", ".fn-bar-of-tools")
    assert reader.table("Rows")[0]["row"] == "r333"
    assert chip.is_hidden()

    # Rows of a kind are all of them, whatever was searched for.
    reader.presses("tab", "Failures")
    page.locator(".fn-kind").nth(1).get_by_role("button", name="Show rows").click()
    reader.sees("1 to 10 of 10 rows", ".fn-bar-of-tools")
    assert page.get_by_label("Find a row").input_value() == ""


def test_what_was_chosen_in_a_part_goes_with_it_and_what_was_chosen_in_the_tree_stays(reader):
    page = reader.page
    page.get_by_label("Find a row").fill("r17")
    page.get_by_label("Find a row").press("Enter")
    reader.sees("fetched page 17", ".fn-details")
    reader.presses("tab", "Timeline")
    page.locator(".fn-details").wait_for(state="hidden")
    assert page.locator(".fn-chosen").count() == 0
    page.locator(".fn-node").filter(has_text="prices").first.click()
    reader.sees("prices", ".fn-details h3")
    reader.presses("tab", "Steps")
    assert page.locator(".fn-details").is_visible()


def test_how_often_a_kind_failed_is_a_bar_of_a_chart_and_no_progress(reader):
    for bar in reader.page.locator(".fn-measure").all():
        box = bar.bounding_box()
        assert box is None or box["width"] <= 64  # none on a narrow page
        assert bar.locator("*").count() == 0  # nothing that could fill it further


def test_what_a_cell_has_no_room_for_is_in_its_title(reader):
    reader.page.locator(".fn-kind").nth(1).get_by_role("button", name="Show rows").click()
    reader.sees("1 to 10 of 10 rows", ".fn-bar-of-tools")
    cells = reader.page.get_by_role("table", name="Rows").locator("tbody td.fn-short").all()
    assert {cell.get_attribute("title") for cell in cells} >= {"fetched page 17", "KeyError: 'rate'", "n 17"}
    assert all(cell.get_attribute("title") == cell.text_content() for cell in cells)


def test_failures_that_are_only_read_later_are_not_called_new(running, browser, monkeypatch, until):
    monkeypatch.setattr("flownb.widgets.batch_pages.POLL_SECONDS", 1e-6)
    monkeypatch.setattr("flownb.widgets.view._FAILURES_SECONDS", 0.0)
    monkeypatch.setattr(row_facts, "_PIECE", 100)  # of 1,000 rows at each poll
    with pages_of(running, browser, monkeypatch) as (view, open_page):
        assert not view.seen_all
        reader = Reader(view, open_page())
        reader.sees("30 ×", ".fn-kind >> nth=0")
        until(lambda: [view.poll()] and view.seen_all)
        reader.sees("10 ×", ".fn-kind >> nth=1")
        assert reader.count_new() == 0


def test_where_rows_are_drawn_alone_the_others_are_counted_without_them(running, browser, monkeypatch):
    with pages_of(running, browser, monkeypatch) as (view, open_page):
        page = open_page()
        names = "node => node.querySelector('.fn-name').textContent"
        boxes = page.page.locator(".fn-node")
        chain = {"prices", "score × 1,000", "parse × 1,000", "fetch × 1,000"}
        assert {box.evaluate(names) for box in boxes.all()} == chain
        reader = Reader(view, page)
        page.page.get_by_label("Find a row").fill("r17")
        page.page.get_by_label("Find a row").press("Enter")
        reader.sees("fetch > parse > score r17", ".fn-node.fn-failed")  # its job has done what it was to do
        assert "KeyError: 'rate'" in boxes.filter(has_text="score r17").text_content()
        piles = [name for name in [box.evaluate(names) for box in boxes.all()] if "×" in name]
        alone = boxes.count() - 1 - len(piles)
        assert piles == [f"fetch > parse > score × {1000 - alone:,}"]
