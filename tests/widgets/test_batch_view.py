"""What a live view answers of a batch, without a page: its failures, rows, groups and lines, on a real server."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from flownb.batches.label_search import MOST_FOUND, LabelSearch
from flownb.batches.row_choice import PAGE_ROWS, first_of
from flownb.batches.row_facts import RowFacts
from tests.support.watched_server import watched
from tests.widgets.test_view import ask, view_on

WORDS = "the quick brown fox jumps over the lazy dog " * 4


@pytest.fixture(params=[1, 7], ids=["a job a row", "jobs of many rows"])
def batch(connection, request):
    """120 rows in three shops: 12 fail of one kind, 3 of another; each says its number."""

    @fn.task
    def price(n, words):
        print("number", n)
        if n % 10 == 3:
            raise ValueError(f"no tax for row {n}")
        if n % 40 == 7:
            return {}["tax"]
        return {"price": n * 2, "words": words}

    @fn.task
    def total(rows, shop):
        return {"rows": len(rows)}

    frame = pd.DataFrame(
        {"n": range(120), "words": WORDS, "shop": list("abc") * 40}, index=[f"r{n}" for n in range(120)]
    )
    return fn.fan_out(frame, price, name="prices", by="shop", into=total, rows_per_job=request.param).wait(
        timeout=60
    )


def labels(page):
    return [row[1] for row in page["rows"]]


def test_all_failures_stand_by_kind_with_where_in_the_code_and_a_line_to_debug(batch):
    often, seldom = view_on(batch).failures
    assert (often["kind"], often["count"]) == ("ValueError: no tax for row <n>", 12)
    assert (seldom["kind"], seldom["count"]) == ("KeyError: <q>", 3)
    assert seldom["where"].startswith("line ")
    assert seldom["where"].endswith("test_batch_view.py, in price")
    assert seldom["source"] == 'return {}["tax"]'
    assert [label for _, label, _ in seldom["rows"]] == ["r7", "r47", "r87"]
    assert seldom["debug"] == "fn.attach('prices').debug('r7')"


def test_more_failures_than_a_snapshot_holds_are_counted_to_the_last(connection, until, monkeypatch):
    @fn.task
    def fail(n):
        raise ValueError(f"no {['tax', 'price'][n % 2]} for {n}")

    batch = fn.fan_out(range(1000), fail).wait(timeout=60)
    monkeypatch.setattr("flownb.widgets.view._FAILURES_SECONDS", 0)
    view = view_on(batch)
    until(lambda: view.poll() or all(entry["kind"] for entry in view.failures))  # read in pieces
    counts = {entry["kind"]: entry["count"] for entry in view.failures}
    assert counts == {"ValueError: no tax for <n>": 500, "ValueError: no price for <n>": 500}


def test_rows_of_an_iterator_are_found_as_they_come(connection, until):
    views = []

    @fn.task
    def double(n):
        return n * 2

    def numbers():
        yield from range(600)
        until(lambda: "b" in fn.flows()["name"].tolist())
        views.append(view_on(fn.attach("b")))
        assert labels(ask(views[0], "rows", text="650")) == []
        yield from range(600, 700)

    fn.fan_out(numbers(), double, name="b").wait(timeout=60)
    until(lambda: labels(ask(views[0], "rows", text="650")) == ["650"])  # a busy view reads later
    assert ask(views[0], "reveal", text="699")["position"] == 699


def test_a_search_that_leaves_rows_out_says_so(batch, monkeypatch):
    view = view_on(batch)
    found = ask(view, "rows", text="r1")
    assert (found["of"], found["most"]) == (31, None)
    monkeypatch.setattr("flownb.batches.label_search.MOST_FOUND", 12)
    found = ask(view, "rows", text="r11")
    assert (found["of"], found["most"]) == (11, None)
    found = ask(view, "rows", text="r10", state="completed")
    assert (found["of"], found["most"]) == (10, None)
    found = ask(view, "rows", text="r1", state="failed")
    assert (labels(found), found["most"]) == (["r13"], 12)


def test_rows_are_found_filtered_and_sorted_page_by_page(batch):
    view = view_on(batch)
    first = ask(view, "rows")
    assert labels(first)[:15] == [f"r{n}" for n in range(120) if n % 10 == 3 or n % 40 == 7]
    assert (first["of"], first["known"], first["total"], first["next"]) == (120, 120, 120, 40)
    assert len(json.dumps(first)) < 20_000
    seen, start = [], 0
    while start is not None:
        page = ask(view, "rows", start=start, sort="row")
        seen += labels(page)
        start = page["next"]
    assert seen == [f"r{n}" for n in range(120)]
    assert labels(ask(view, "rows", sort="row", descending=True))[:2] == ["r119", "r118"]
    assert labels(ask(view, "rows", kind="KeyError: <q>")) == ["r7", "r47", "r87"]
    assert labels(ask(view, "rows", text="R11")) == ["r11", *(f"r{n}" for n in range(110, 120))]
    assert labels(ask(view, "rows", text="r11", state="failed")) == ["r113"]
    took = [row[5] for row in ask(view, "rows", sort="seconds", descending=True)["rows"]]
    assert took == sorted(took, reverse=True)


def test_a_row_is_told_with_inputs_value_attempts_and_its_last_line(batch):
    rows = {row[1]: row for row in ask(view_on(batch), "rows", text="r11")["rows"]}
    position, _, state, _, attempts, _, version, inputs, value, error, line, has_picture, spent = rows["r11"]
    assert spent == ""
    assert (position, state, attempts, error, line, has_picture) == (
        11,
        "completed",
        1,
        "",
        "number 11",
        False,
    )
    assert inputs.startswith("n 11, words 'the quick")
    assert value.startswith("price 22, words 'the quick")
    assert version
    failed = rows["r113"]
    assert (failed[2], failed[8], failed[9]) == ("failed", "", "ValueError: no tax for row 113")


def test_the_panel_of_a_row_has_all_there_is_to_know(batch):
    told = ask(view_on(batch), "row", position=47)
    assert (told["name"], told["state"], told["error"]) == ("r47", "failed", "KeyError: 'tax'")
    assert told["where"].endswith('return {}["tax"]')
    assert told["traceback"].endswith("KeyError: 'tax'\n")
    assert json.loads(told["data"])["n"] == 47
    assert [text for *_, text in told["log"]] == ["number 47"]
    assert told["debug"] == "fn.attach('prices').debug('r47')"
    assert "no row 120" in ask(view_on(batch), "row", position=120)["error"]


def test_a_button_runs_the_rows_of_one_kind_again(batch):
    view = view_on(batch)
    assert ask(view, "retry", kind="KeyError: <q>")["done"] == "retry"
    batch.wait(timeout=60)
    table = batch.table()
    assert table["_state"].eq("failed").sum() == 15
    again = ask(view, "rows", kind="KeyError: <q>")
    assert labels(again) == ["r7", "r47", "r87"]


def test_groups_are_counted_and_sorted(batch):
    view = view_on(batch)
    page = ask(view, "groups")
    assert [line[1] for line in page["groups"]] == ["a", "b", "c"]
    table = batch.table().assign(shop=list("abc") * 40)
    for _, name, counts, total, failed, *_ in page["groups"]:
        right = table[table["shop"] == name]["_state"].value_counts().to_dict()
        assert (dict(counts), total, failed) == (right, 40, right["failed"])
    most = ask(view, "groups", sort="failed", descending=True)["groups"]
    assert [line[4] for line in most] == sorted((line[4] for line in most), reverse=True)


def test_groups_and_their_panels_tell_what_their_rows_have_spent(connection):
    @fn.task(attempts=2)
    def call(n, shop):
        fn.spend(usd=0.25, tokens=10 * n)
        if n == 4:
            raise ValueError(n)

    @fn.task
    def total(rows, shop):
        return len(rows)

    frame = pd.DataFrame({"n": range(6), "shop": list("abcabc")})
    for rows_per_job in (1, 3):
        batch = fn.fan_out(
            frame, call, by="shop", into=total, rows_per_job=rows_per_job, name=f"asked-{rows_per_job}"
        )
        view = view_on(batch.wait(timeout=60))
        lines = ask(view, "groups", sort="spent", descending=True)["groups"]
        assert [(line[1], line[8]) for line in lines] == [
            ("b", "90 tokens, 0.75 usd"),
            ("c", "70 tokens, 0.5 usd"),
            ("a", "30 tokens, 0.5 usd"),
        ]
        assert ask(view, "group", group=1)["spent"] == "90 tokens, 0.75 usd"
        by_amount = ask(view, "rows", sort="spent", descending=True)
        assert labels(by_amount) == ["4", "5", "3", "2", "1", "0"]
        assert [row[12] for row in by_amount["rows"][:2]] == ["80 tokens, 0.5 usd", "50 tokens, 0.25 usd"]
        assert ask(view, "group")["spent"] == "190 tokens, 1.75 usd"


def test_steps_are_listed_with_how_many_rows_are_through_each(connection):
    @fn.task
    def fetch(n):
        if n == 3:
            raise ValueError(n)
        return {"text": str(n)}

    @fn.task
    def parse(text):
        return int(text)

    view = view_on(fn.fan_out(range(10), [fetch, parse], name="two-steps").wait(timeout=60))
    lines = {line[1]: (dict(line[2]), line[3]) for line in ask(view, "groups")["groups"]}
    assert lines["fetch"] == ({"completed": 9, "failed": 1}, 10)
    assert lines["parse"][0]["completed"] == 9


@pytest.mark.parametrize("queue", [None, "others"], ids=["one-job", "own-jobs"])
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_each_step_says_how_long_rows_take_there_and_which_take_longest(connection, queue, executor):
    @fn.task
    def fetch(n):
        return {"page": n}

    @fn.task(attempts=2, **({"queue": queue} if queue else {}))
    def parse(page, job):
        if page == 5 and not job.attempts_made:
            raise ValueError("once")
        time.sleep(0.2 if page == 3 else 0.05)
        return page

    @fn.task
    def score(parse):
        time.sleep(0.02)
        if parse == 2:
            raise KeyError(parse)
        return parse

    with fn.workers(2, executor=executor):
        batch = fn.fan_out(range(8), [fetch, parse, score], name="three-steps", rows_per_job=4)
        view = view_on(batch.wait(timeout=60))
    lines = ask(view, "groups", sort="median", descending=True)["groups"]
    assert [line[1] for line in lines] == ["parse", "score", "fetch"]
    assert [line[0] for line in lines] == [1, 2, 0]
    parse, score = ask(view, "group", group=1), ask(view, "group", group=2)
    assert (parse["name"], dict(parse["counts"])) == ("parse", {"completed": 8})
    assert 50 <= parse["p50"] < 200 <= parse["slowest"][0][2]
    assert parse["slowest"][0][:2] == [{"position": 3}, "3"]
    assert 20 <= score["p50"] < parse["p50"]
    assert dict(score["counts"])["failed"] == 1
    box = next(box for box in view.frame["nodes"] if box["jobs"] == "parse")
    assert ask(view, "group", key=box["key"], name="parse")["p50"] == parse["p50"]


def test_each_step_says_what_it_has_spent(connection):
    @fn.task
    def question(n):
        fn.spend(usd=0.5, tokens=10)
        return {"answer": n}

    @fn.task(queue="judges")  # has jobs of its own
    def judge(answer):
        fn.spend(usd=0.25)
        if answer % 2:
            raise ValueError("odd")
        return {"right": True}

    @fn.task
    def sort(right):
        return {"shelf": 1}

    batch = fn.fan_out(range(8), [question, judge, sort], name="priced")
    with fn.workers():
        batch.wait(timeout=60)
        batch.retry().wait(timeout=60)  # odd again, and paid again
    assert batch.progress().spent == {"tokens": 80, "usd": 7}
    for view in (view_on(batch), view_on(fn.attach("priced"))):
        lines = ask(view, "groups")["groups"]
        assert [(line[1], line[8]) for line in lines[:3]] == [
            ("question", "80 tokens, 4 usd"),
            ("judge", "3 usd"),
            ("sort", ""),
        ]
        assert ask(view, "group", group=1)["spent"] == "3 usd"
        assert ask(view, "groups", sort="spent", descending=True)["groups"][0][0] == 0


def test_a_step_that_is_through_has_no_rate_and_one_that_runs_has(connection, until, monkeypatch):
    monkeypatch.setattr("flownb.state.latest_estimate.ESTIMATE_SECONDS", -1.0)
    seen, go_on = threading.Event(), threading.Event()

    @fn.task
    def first(n):
        return {"page": n}

    @fn.task
    def second(page):
        assert (seen if page < 4 else go_on).wait(60)
        time.sleep(0.01 * page)  # rows that end within one millisecond have no rate
        return {"word": page}

    batch = fn.fan_out(range(12), [first, second])
    with fn.workers(12):
        view = view_on(batch)
        view.poll()
        seen.set()
        until(
            lambda: (
                [view.poll()] and [line[5] > 0 for line in ask(view, "groups")["groups"][:2]] == [False, True]
            )
        )
        assert ask(view, "group", group=0)["rate"] == 0
        assert ask(view, "group", group=1)["rate"] > 0
        go_on.set()
        batch.wait(timeout=60)


def test_the_panel_of_a_pile_beside_rows_drawn_alone_counts_what_the_pile_stands_for(batch):
    view = view_on(batch)
    pile = next(box for box in view.frame["nodes"] if box["folded"])
    whole = ask(view, "group", key=pile["key"], parent=pile["parent"], name=pile["jobs"])
    assert sum(count for _, count in whole["counts"]) == 40
    ask(view, "open", key=pile["key"], parent=pile["parent"])
    boxes = view.frame["nodes"]
    rows = batch._stored.rows
    alone = {at for box in boxes if not box["folded"] for at in rows.positions_in(box["key"])}
    rest = next((box for box in boxes if box["folded"] and box["parent"] == pile["parent"]), None)
    if rest is None:  # seven rows a job: each of the group's six jobs has a box of its own
        assert len(alone) == 40
        return
    told = ask(view, "group", key=rest["key"], parent=rest["parent"], name=rest["jobs"])
    assert sum(count for _, count in told["counts"]) == 29
    assert dict(told["counts"]) == dict(view.nodes[rest["id"]][2])
    assert alone.isdisjoint(row[0]["position"] for row in told["slowest"])
    assert sum(count for _, count in ask(view, "group", group=0)["counts"]) == 40  # in the list of groups


def test_the_panel_of_a_pile_says_how_long_rows_take_and_which_take_longest(connection, until):
    @fn.task
    def nap(n):
        end = time.monotonic() + (0.3 if n == 7 else 0.01)
        until(lambda: time.monotonic() > end)

    batch = fn.fan_out(range(40), nap, rows_per_job=1).wait(timeout=60)
    view = view_on(batch)
    pile = next(box for box in view.frame["nodes"] if box["folded"])
    told = ask(view, "group", key=pile["key"], parent=pile["parent"])
    assert dict(told["counts"]) == {"completed": 40}
    assert 10 <= told["p50"] <= told["p95"]
    assert told["slowest"][0][:2] == [{"position": 7}, "7"]
    assert told["slowest"][0][2] >= 300


def test_lines_are_those_of_the_rows_that_ended_last(batch):
    view = view_on(batch)
    told = ask(view, "logs")
    assert (len(told["lines"]), told["of"], told["rows"]) == (100, 120, 120)
    assert all(text == f"number {label[1:]}" for _, label, _, _, text in told["lines"])
    found = [text for *_, text in ask(view, "logs", text="number 11")["lines"]]
    assert sorted(found) == sorted(["number 11", *(f"number {n}" for n in range(110, 120))])


def test_typing_a_label_opens_its_pile_in_the_tree(batch):
    view = view_on(batch)
    told = ask(view, "reveal", text="r100")
    assert told["position"] == 100
    box = next(box for box in view.frame["nodes"] if box["key"] == told["key"])
    assert not box["folded"]
    assert "r100" in box["name"] or " … " in box["name"]
    assert ask(view, "reveal", text="nobody")["position"] is None


def test_a_picture_that_a_row_returns_is_seen_small(connection):
    @fn.task
    def paint(n):
        from PIL import Image

        return {"n": n, "picture": Image.effect_noise((900, 600), 80).convert("RGB")}

    view = view_on(fn.fan_out(range(3), paint).wait(timeout=60))
    row = ask(view, "rows")["rows"][1]
    assert row[11] is True
    assert "File(png" in row[8]
    small = ask(view, "thumbnail", position=1)
    assert small["picture"].startswith("data:image/png;base64,")
    assert len(json.dumps(small)) < 20_000
    assert ask(view, "row", position=1)["picture"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("rows_per_job", [1, 4])
def test_what_rows_that_share_a_job_were_called_with_is_read_once_a_page(connection, redis, rows_per_job):
    @fn.task
    def double(n):
        return n * 2

    view = view_on(fn.fan_out(range(4), double, rows_per_job=rows_per_job).wait(timeout=60))
    inputs = [row[7] for row in ask(view, "rows")["rows"]]
    with watched(redis) as commands:
        assert [row[7] for row in ask(view, "rows")["rows"]] == inputs
    # A job that is a row may change what it was called with.
    assert any("data" in command.split() for command in commands) is (rows_per_job == 1)
    assert [row[7] for row in ask(view, "rows", start=1, sort="row")["rows"]] == inputs[1:]


def test_rows_that_run_again_are_read_again(connection):
    broken = {1}

    @fn.task
    def half(n):
        if n in broken:
            raise ValueError("odd")
        return n / 2

    batch = fn.fan_out(range(9), half, rows_per_job=1).wait(timeout=60)
    facts = RowFacts(batch._stored)
    assert facts.refresh(60)
    assert [(kind, where.tolist()) for kind, where in facts.failures()] == [("ValueError: odd", [1])]
    broken.clear()
    batch.retry().wait(timeout=60)
    assert facts.refresh(60)
    assert facts.failures() == []
    assert facts.rows_in("completed").all()


def test_a_page_of_a_million_rows_is_chosen_without_sorting_them():
    keys = np.random.default_rng(1).integers(0, 9, 100_000)
    right = np.argsort(keys, kind="stable")
    assert first_of(keys, 5_000, PAGE_ROWS).tolist() == right[5_000:5_040].tolist()


@pytest.mark.parametrize("index", [
    pd.RangeIndex(60_000),
    pd.Index([f"order-{n}\n" for n in range(60_000)]),
    pd.MultiIndex.from_arrays([["de"] * 60_000, range(60_000)]),
])  # fmt: skip
def test_labels_are_found_in_every_kind_of_index(index):
    found = LabelSearch(index).find(" 59999 ", 60)
    assert found.positions.tolist() == [59_999]
    assert found.searched == 60_000
    assert LabelSearch(index).find("[", 60).positions.size == 0


def test_the_row_with_just_this_label_is_found_behind_more_than_are_listed():
    labels = [f"x-{n}" for n in range(60_000)] + ["x"]
    found = LabelSearch(pd.Index(labels)).find("X", 60)
    assert (found.positions[0], found.exact, len(found.positions)) == (60_000, 1, MOST_FOUND)
    assert found.searched == 60_001


def test_a_label_that_has_the_text_twice_is_found_once():
    found = LabelSearch(pd.Index(["aXa", "xx x", "b", "x", "x"])).find("x", 60)
    assert found.positions.tolist() == [3, 4, 0, 1]
    assert found.exact == 2


def test_the_queue_of_a_batchs_root_is_not_to_be_seen(connection):
    @fn.task
    def half(n):
        if n == 3:
            raise ValueError(n)
        return n / 2

    batch = fn.fan_out(range(60), half, name="halves", rows_per_job=1).wait(timeout=60)
    view = view_on(batch)
    root = next(box for box in view.frame["nodes"] if not box["folded"] and box["parent"] is None)
    pages = {
        "boxes": [box["name"] for box in view.frame["nodes"]] + list(view.nodes.values()),
        "head": view.head,
        "panel": {name: text for name, text in ask(view, "job", key=root["key"]).items() if name != "key"},
        "timeline": ask(view, "timeline")["svg"],
        "steps": ask(view, "groups"),
        "tree": str(batch),
        "picture": batch._repr_html_() if hasattr(batch, "_repr_html_") else "",
        "report": batch.to_html(),
        "drawing": batch.draw()._repr_image_svg_xml(),
    }
    for page, shown in pages.items():
        assert "flownb-batch" not in str(shown), page
    assert view.nodes[root["id"]][3].startswith("halves: ")
