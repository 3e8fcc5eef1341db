"""Shows that rows go through several steps: each on its own, each step once, with all columns, failures and counts by step."""

from __future__ import annotations

import re
import threading

import pandas as pd
import pytest

import flownb as fn
from tests.support.stages import stages

pytestmark = pytest.mark.usefixtures("connection")

PAGES = pd.DataFrame(
    {"url": ["aa", "b", "ccc"], "lang": ["de", "en", "fr"], "other": [1, 2, 3]}, index=["x", "y", "z"]
)


@pytest.fixture
def fetch(runs):
    @fn.task
    def fetch(url):
        runs.note(f"fetch {url}")
        return {"page": f"<{url}>", "status": 404 if url == "b" else 200}

    return fetch


@pytest.fixture
def parse(runs):
    @fn.task
    def parse(page, status):
        runs.note(f"parse {page}")
        if status == 404:
            raise LookupError(f"nothing at {page}")
        return len(page)

    return parse


@pytest.fixture
def score(runs):
    @fn.task
    def score(parse, lang, fetch):
        runs.note(f"score {lang}")
        return {"score": parse * 10, "lang": lang.upper(), "status": len(fetch)}

    return score


# ---- what a step gets, and what comes out --------------------------------------------------------------------


def test_all_columns_come_out_and_each_step_gets_those_before(fetch, parse, score, runs):
    batch = fn.fan_out(PAGES, [fetch, parse, score])
    results = batch.results(timeout=30)
    assert list(results) == ["page", "status", "parse", "score", "lang"]
    assert results.index.tolist() == ["x", "y", "z"]
    assert results.loc["x"].tolist() == ["<aa>", 2, 4, 40, "DE"]  # of one name the later step's value counts
    assert results.loc["y"].isna().all()  # a row that is not through is missing
    assert results["score"].dtype == "Int64"
    assert set(runs.fresh().values()) == {1}


def test_a_column_beside_one_of_the_rows_is_a_result(fetch, parse, score):
    table = fn.fan_out(PAGES, [fetch, parse, score]).wait(timeout=30).table()
    assert table.loc["x", ["lang", "lang_result", "other"]].tolist() == ["de", "DE", 1]
    assert table.loc["y", ["page", "_state", "_step"]].tolist() == ["<b>", "failed", "parse"]
    assert table["_step"].isna().tolist() == [True, False, True]  # a row that is through is at no step


def test_a_parameter_sees_the_rows_column_and_by_its_other_name_the_returned_one():
    @fn.task
    def clean(text):
        return {"text": text.strip()}

    @fn.task
    def count(text, text_result):
        return [len(text), len(text_result)]

    results = fn.fan_out([{"text": " a "}], [clean, count]).results(timeout=30)
    assert results.loc[0].tolist() == ["a", [3, 1]]


def test_a_whole_row_and_other_columns_have_those_of_the_steps_before():
    @fn.task
    def double(n):
        return 2 * n

    @fn.task
    def seen(row):
        return sorted(row)

    @fn.task
    def others(n, **more):
        return sorted(more)

    rows = pd.DataFrame({"n": [1], "m": [5]})
    results = fn.fan_out(rows, [double, seen, others]).results(timeout=30)
    assert results["seen"][0] == ["double", "m", "n"]
    assert results["others"][0] == ["double", "m", "seen"]


def test_a_step_sees_values_as_json_has_them_whether_it_goes_on_or_begins_anew():
    @fn.task
    def pair(n):
        return {"pair": (n, float("nan")), "nothing": float("nan")}

    @fn.task
    def kinds(pair, nothing):
        return [type(pair).__name__, pair[1] is None, nothing is None]

    assert fn.fan_out([{"n": 1}], [pair, kinds]).results(timeout=30)["kinds"][0] == ["list", True, True]


def test_frames_go_to_files_of_their_own_and_the_next_step_reads_them(connection):
    @fn.task
    def load(n):
        return pd.DataFrame({"a": [n, n]})

    @fn.task
    def double(load):
        return load.load() * 2

    if not connection.embedded:
        pytest.skip("without files= a shared server has no folder for them")
    results = fn.fan_out([{"n": 1}, {"n": 2}], [load, double]).results(timeout=30)
    assert results["load"][1].load()["a"].tolist() == [2, 2]
    assert results["double"][1].load()["a"].tolist() == [4, 4]


def test_async_steps_and_steps_with_a_job_are_as_any_task():
    @fn.task
    async def ask(n, job):
        return n + 1

    @fn.task
    def tell(ask, job):
        job.log(f"got {ask}")
        return job.name

    batch = fn.fan_out([{"n": 1}, {"n": 2}], [ask, tell]).wait(timeout=30)
    assert batch.results()["tell"].tolist() == ["tell", "tell"]


def test_one_task_in_a_list_is_that_task(square):
    batch = fn.fan_out([1, 2], [square])
    assert batch.results(timeout=30)["square"].tolist() == [1, 4]
    assert "step" not in batch.failures
    assert batch.name == fn.fan_out([1, 2], square).name


def test_large_inputs_reach_every_step():
    @fn.task
    def first(n):
        return n

    @fn.task
    def size(text, first):
        return len(text) + first

    rows = pd.DataFrame({"n": [1, 2], "text": ["a" * 300_000] * 2})
    assert fn.fan_out(rows, [first, size]).results(timeout=30)["size"].tolist() == [300_001, 300_002]


# ---- failures, attempts, retries ------------------------------------------------------------------------------


def test_failures_say_at_which_step_and_a_retry_repeats_no_other(fetch, parse, score, runs):
    batch = fn.fan_out(PAGES, [fetch, parse, score]).wait(timeout=30)
    failures = batch.failures
    assert list(failures)[:4] == ["error", "message", "kind", "step"]
    assert failures.loc["y", ["error", "step"]].tolist() == ["LookupError", "parse"]
    assert failures.loc["y", "attempts"] == 1
    row = batch.row("y")
    assert (row.step, row.value) == ("parse", {"page": "<b>", "status": 404})
    assert "failed at parse" in repr(row)
    runs.fresh()

    @fn.task
    def parse(page, status):
        runs.note(f"parse {page}")
        return len(page)

    assert batch.retry(step="parse").results(timeout=30).loc["y", "score"] == 30
    assert runs.fresh() == {"parse <b>": 1, "score en": 1}


def test_a_retry_of_a_step_at_which_no_row_failed_runs_nothing(fetch, parse, score, runs, capsys):
    batch = fn.fan_out(PAGES, [fetch, parse, score]).wait(timeout=30)
    runs.fresh()
    batch.retry(step="fetch").wait(timeout=30)
    assert "no row failed at fetch, nothing runs again" in capsys.readouterr().out
    assert not runs.fresh()
    with pytest.raises(fn.OptionError, match="step: 'fetch', 'parse' or 'score', not 'skore'"):
        batch.retry(step="skore")


@pytest.mark.parametrize("queue", [None, "other"], ids=["in-one-job", "in-jobs-of-their-own"])
def test_attempts_are_each_steps_own(runs, queue):
    @fn.task(attempts=2)
    def first(n):
        if runs.note("first") < 2:
            raise OSError("away")
        return n

    @fn.task(queue=queue, attempts=3)
    def second(first):
        if runs.note("second") < 3:
            raise OSError("away")
        return first

    @fn.task
    def third(second):
        runs.note("third")
        raise OSError("away")

    batch = fn.fan_out([{"n": 7}], [first, second, third]).wait(timeout=60)
    assert runs.fresh() == {"first": 2, "second": 3, "third": 1}
    assert batch.failures[["step", "attempts"]].loc[0].tolist() == ["third", 1]


def test_options_of_the_call_hold_for_every_step(runs):
    @fn.task
    def first(n):
        if runs.note("first") < 2:
            raise OSError("away")
        return n

    @fn.task
    def second(first):
        if runs.note("second") < 2:
            raise OSError("away")
        return first

    assert fn.fan_out([{"n": 7}], [first, second], attempts=2).results(timeout=30)["second"][0] == 7


def test_retry_on_is_the_steps_own(runs):
    @fn.task(attempts=5, retry_on=TimeoutError)
    def first(n):
        return n

    @fn.task(attempts=5, retry_on=OSError)
    def second(first):
        runs.note("second")
        raise KeyError("no")

    fn.fan_out([{"n": 7}], [first, second]).wait(timeout=30)
    assert runs.fresh() == {"second": 1}


def test_a_parameter_that_nothing_fills_fails_its_row_and_says_what_there_is():
    @fn.task
    def first(n):
        return {"a": n}

    @fn.task(attempts=5)
    def second(wrong):
        return wrong

    batch = fn.fan_out([{"n": 7}], [first, second]).wait(timeout=30)
    message = batch.failures.loc[0, "message"]
    assert "task second: nothing fills its parameter 'wrong'" in message
    assert "the row has 'n', 'a'" in message
    assert batch.failures.loc[0, "attempts"] == 1


def test_debug_goes_on_from_the_step_that_failed(fetch, parse, score, runs, capsys):
    batch = fn.fan_out(PAGES, [fetch, parse, score]).wait(timeout=30)
    runs.fresh()
    with pytest.raises(LookupError, match="nothing at <b>"):
        batch.debug("y")
    assert "debug: parse > score, with what fetch returned" in capsys.readouterr().out
    assert runs.fresh() == {"parse <b>": 1}
    assert batch.debug("x")["score"] == 40
    assert runs.fresh() == {"fetch aa": 1, "parse <aa>": 1, "score de": 1}


def test_as_completed_gives_all_columns(fetch, parse, score):
    batch = fn.fan_out(PAGES, [fetch, parse, score])
    found = dict(batch.as_completed(timeout=30))
    assert found["x"] == {"page": "<aa>", "status": 2, "parse": 4, "score": 40, "lang": "DE"}
    assert isinstance(found["y"], fn.FlowFailed)


# ---- jobs of many rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_job", [1, 7, 100, "auto"])
def test_rows_that_share_jobs_go_through_their_steps_alone(runs, rows_per_job):
    @fn.task
    def halve(n):
        runs.note(("halve", n))
        return n // 2

    @fn.task(attempts=2)
    def odd(halve):
        if halve % 10 == 3:
            raise ValueError("three")
        return {"odd": halve % 2 == 1}

    frame = pd.DataFrame({"n": range(400)})
    batch = fn.fan_out(frame, [halve, odd], rows_per_job=rows_per_job).wait(timeout=60)
    failed = [n for n in range(400) if n // 2 % 10 == 3]
    assert batch.failures.index.tolist() == failed
    assert set(batch.failures["step"]) == {"odd"}
    assert batch.results(failed="drop")["halve"].tolist() == [n // 2 for n in range(400) if n not in failed]
    assert set(runs.fresh().values()) == {1}
    lines = stages(batch)
    assert lines["halve"] == {"completed": 400, "total": 400}
    assert lines["odd"] == {"completed": 400 - len(failed), "failed": len(failed), "total": 400}
    progress = batch.progress()
    assert (progress.completed, progress.failed, progress.total) == (401 - len(failed), len(failed), 401)


def test_a_retry_takes_back_what_was_counted_of_its_step(runs):
    is_broken = [True]

    @fn.task
    def first(n):
        return n

    @fn.task
    def second(first):
        if first % 3 == 0 and is_broken[0]:
            raise ValueError("three")
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(30)}), [first, second], rows_per_job=4).wait(timeout=30)
    assert stages(batch)["second"] == {"completed": 20, "failed": 10, "total": 30}
    is_broken[0] = False
    batch.retry(rows=[0, 3]).wait(timeout=30)
    assert stages(batch)["second"] == {"completed": 22, "failed": 8, "total": 30}
    batch.retry().wait(timeout=30)
    assert stages(batch)["first"] == stages(batch)["second"] == {"completed": 30, "total": 30}
    assert fn.doctor().empty


def test_a_row_that_hangs_in_a_step_holds_up_no_other(runs, until):
    door = threading.Event()

    @fn.task
    def first(n):
        runs.note(n)
        return n

    @fn.task
    def second(first):
        if first == 70:
            door.wait(60)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(500)}), [first, second], rows_per_job=250)
    until(lambda: batch.progress().completed == 499)
    assert batch.table()["_state"].ne("completed").sum() == 1
    door.set()
    assert batch.results(timeout=30)["second"].tolist() == list(range(500))
    assert set(runs.fresh().values()) == {1}
    assert stages(batch)["second"] == {"completed": 500, "total": 500}


def test_each_step_is_counted_while_rows_are_between_two(until):
    door = threading.Event()

    @fn.task
    def first(n):
        threading.Event().wait(0.06)  # long enough to be written down at once
        return n

    @fn.task
    def second(first):
        door.wait(60)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(6)}), [first, second], rows_per_job=1)
    try:
        until(lambda: stages(batch)["first"].get("completed") == 4)  # as many as there are threads
        assert sum(stages(batch)["second"].values()) == 2 * 4
        assert (batch.table()["_step"] == "second").sum() == 4
        assert "second × 6" in str(batch)
    finally:
        door.set()
    batch.wait(timeout=30)
    assert str(batch).splitlines()[1:] == [
        f"✓ {batch.name}  completed",
        "└─ ✓ second × 6  6 completed  (optional)",
        "   └─ ✓ first × 6  6 completed",
    ]


# ---- what stands above, what comes in -------------------------------------------------------------------------


def test_groups_see_the_rows_after_their_last_step(fetch, parse, score):
    @fn.task
    def per_lang(rows, lang):
        return {"columns": sorted(rows), "scores": rows["score"].sum()}

    rows = pd.concat([PAGES.drop("y"), PAGES.drop("y")], ignore_index=True)
    found = fn.fan_out(rows, [fetch, parse, score], by="lang", into=per_lang).result(timeout=30)
    assert found.index.tolist() == ["de", "fr"]
    assert found["scores"].tolist() == [80, 100]
    assert {"page", "parse", "score", "lang_result", "_state", "_step"} <= set(found["columns"].iloc[0])


def test_rows_of_an_iterator_have_steps(runs):
    @fn.task
    def first(n):
        runs.note(n)
        return n + 1

    @fn.task
    def second(first):
        return first * 2

    batch = fn.fan_out(iter([{"n": n} for n in range(700)]), [first, second], name="come")
    assert batch.results(timeout=60)["second"].tolist() == [2 * (n + 1) for n in range(700)]
    assert stages(batch)["first"] == stages(batch)["second"] == {"completed": 700, "total": 700}
    fn.fan_out(iter([{"n": n} for n in range(800)]), [first, second], name="come").wait(timeout=60)
    assert set(runs.fresh().values()) == {1}


def test_what_steps_print_is_kept_with_their_rows():
    @fn.task
    def first(n):
        print("first", n)
        return n

    @fn.task
    def second(first):
        print("second", first)

    logs = fn.fan_out([{"n": 1}], [first, second]).wait(timeout=30).logs()
    assert logs["line"].tolist() == ["first 1", "second 1"]


def test_pages_and_reports_show_the_steps(fetch, parse, score):
    batch = fn.fan_out(PAGES, [fetch, parse, score]).wait(timeout=30)
    page = batch.to_html()
    assert all(f"{name} × 3" in page for name in ("fetch", "parse", "score"))
    assert "parse y" in page  # the failed row, at its step
    assert batch.explain().empty


# ---- what is refused ------------------------------------------------------------------------------------------


def test_what_is_no_list_of_steps_is_refused_before_anything_is_written(fetch, parse, connection):
    @fn.task
    def missing(nobody):
        return 1

    for steps, words in [
        ([], "task: the list is empty"),
        ([fetch, "parse"], "task: a step is a task"),
        ([fetch, len], "task: a step is a task"),
        ([fetch, parse, fetch], "task: step 'fetch' stands twice in the list"),
        ([missing, parse], "parameter 'nobody': no column has this name"),
    ]:
        with pytest.raises(fn.FlowError, match=words):
            fn.fan_out(PAGES, steps, name="refused")
    for name, value in {"limiter": "5/s", "concurrency": 3, "batch_size": 2}.items():
        with pytest.raises(
            fn.OptionError, match=rf"fan_out.{name}: with several steps it belongs to the one"
        ):
            fn.fan_out(PAGES, [fetch, parse], name="refused", **{name: value})
    assert fn.flows().empty


# ---- beside what else a task may ask for ----------------------------------------------------------------------


def test_what_steps_spend_is_added_up_and_a_pilot_runs_whole_rows():
    @fn.task
    def ask(n):
        fn.spend(usd=0.1)
        return n

    @fn.task
    def parse(ask):
        if ask == 3:
            raise ValueError("three")
        fn.spend(usd=0.05)
        return ask

    rows = pd.DataFrame({"n": range(40)})
    batch = fn.fan_out(rows, [ask, parse], name="spent", pilot=4).wait(timeout=30)
    assert stages(batch)["parse"] == {"completed": 4, "total": 4}
    batch = fn.fan_out(rows, [ask, parse], name="spent").wait(timeout=30)
    spent = batch.table()["_usd"]
    assert spent.loc[3] == pytest.approx(0.1)
    assert spent.drop(3).tolist() == pytest.approx([0.15] * 39)


def test_a_step_has_what_its_setup_loads(runs):
    def load():
        runs.note("load")
        return {"plus": 5}

    @fn.task
    def first(n):
        return n

    @fn.task(setup={"model": load})
    def second(first, model):
        return first + model["plus"]

    batch = fn.fan_out(pd.DataFrame({"n": range(8)}), [first, second]).wait(timeout=30)
    assert batch.results()["second"].tolist() == list(range(5, 13))
    assert batch.debug(2)["second"] == 7
    assert runs["load"] == 1


def test_a_held_queue_costs_no_step_that_is_done(runs):
    @fn.task
    def first(n):
        runs.note(f"first {n}")
        return n

    @fn.task
    def second(first):
        runs.note(f"second {first}")
        if runs[f"second {first}"] == 1:
            raise fn.RateLimitError(0.05)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(6)}), [first, second], rows_per_job=3).wait(timeout=60)
    assert batch.results()["second"].tolist() == list(range(6))
    assert batch.table()["_attempts"].tolist() == [1] * 6
    assert runs.fresh() == {f"first {n}": 1 for n in range(6)} | {f"second {n}": 2 for n in range(6)}


def test_the_piles_of_groups_name_all_steps_of_their_rows():
    @fn.task
    def fetch(n):
        return {"text": str(n)}

    @fn.task
    def parse(text):
        return int(text)

    @fn.task
    def per_shop(rows, shop):
        return len(rows)

    rows = pd.DataFrame({"n": range(8), "shop": ["a", "b"] * 4})
    batch = fn.fan_out(rows, [fetch, parse], by="shop", into=per_shop, name="two-shops").wait(timeout=30)
    assert str(batch).count("fetch > parse × 4") == 2


def test_a_row_drawn_alone_says_how_the_row_is_not_how_its_job_ended(fetch, parse, score):
    batch = fn.fan_out(PAGES.loc[["y"]], [fetch, parse, score]).wait(timeout=30)
    assert "✗ fetch > parse > score y" in str(batch)
    assert "LookupError: nothing at <b>" in str(batch)


def test_a_job_of_many_rows_that_is_drawn_alone_says_how_many_failed(fetch, parse):
    batch = fn.fan_out(PAGES, [fetch, parse], rows_per_job=3).wait(timeout=30)
    stored = batch._stored
    nodes = stored.snapshot(opened={stored.rows.key(0): (stored.rows.key(0),)}).nodes
    assert [(node.states, node.words) for node in nodes if node.job and node.queue == "fetch"] == [
        ({"failed": 1}, "1 of 3 rows failed")
    ]


def test_timelines_say_how_rows_are_whose_jobs_have_done_what_they_were_to_do(fetch, parse):
    few = fn.fan_out(PAGES, [fetch, parse], rows_per_job=1).wait(timeout=30).to_html()
    assert re.search(r">fetch &gt; parse y(…|<).*?>failed · ", few)
    many = pd.DataFrame({"url": ["b"] * 60, "lang": "de", "other": range(60)})
    page = fn.fan_out(many, [fetch, parse], rows_per_job=1).wait(timeout=30).to_html()
    assert ">fetch &gt; parse<" in page  # the one lane is that of all steps
    assert " in fetch" not in page  # nor is what failed at a later step the first one's
    assert "60 rows, up to" in page
    assert ", 60 failed<" in page
    for said in (few, page):  # where rows end is no step of theirs
        assert "flownb-batch" not in said
