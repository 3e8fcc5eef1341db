"""Shows that steps with a queue, limiter, timeout or batch size have jobs of their own, and rows go on through them."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.api.flow import stored
from flownb.widgets.row_details import row_details
from tests.support.stages import stages

pytestmark = pytest.mark.usefixtures("connection")

PAGES = pd.DataFrame({"url": ["aa", "b", "ccc"], "lang": ["de", "en", "fr"]}, index=["x", "y", "z"])


@pytest.fixture
def fetch(runs):
    @fn.task
    def fetch(url):
        runs.note(f"fetch {url}")
        print("fetched", url)
        fn.spend(usd=1)
        return {"page": f"<{url}>", "status": 404 if url == "b" else 200}

    return fetch


@pytest.fixture
def ask(runs):
    return ask_of(runs, fails=("<b>",))


def ask_of(runs, version="1", fails=(), **options):
    @fn.task(**{"queue": "provider", "limiter": "1000/s", "version": version, **options})
    def ask(page, status):
        runs.note(f"ask {page}")
        print("asked", page)
        fn.spend(usd=10)
        if page in fails:
            raise LookupError(f"nothing at {page}")
        return len(page)

    return ask


@pytest.fixture
def score(runs):
    @fn.task
    def score(ask, lang):
        runs.note(f"score {lang}")
        fn.spend(usd=100)
        return ask * 10

    return score


# ---- columns, failures, retries -------------------------------------------------------------------------------


def test_rows_go_through_jobs_of_several_queues(fetch, ask, score, runs):
    batch = fn.fan_out(PAGES, [fetch, ask, score], name="b").wait(timeout=60)
    assert runs.fresh() == {
        **dict.fromkeys([f"fetch {url}" for url in PAGES["url"]], 1),
        **dict.fromkeys(["ask <aa>", "ask <b>", "ask <ccc>", "score de", "score fr"], 1),
    }
    results = batch.results()
    assert list(results) == ["page", "status", "ask", "score"]
    assert results.loc["x"].tolist() == ["<aa>", 200, 4, 40]
    assert results.loc["y"].isna().all()
    table = batch.table()
    assert table.loc["y", ["page", "_state", "_step"]].tolist() == ["<b>", "failed", "ask"]
    assert table["_usd"].tolist() == [111, 11, 111]
    assert batch.progress().spent == {"usd": 233}
    assert stages(batch) == {
        "fetch": {"completed": 3, "total": 3},
        "ask": {"completed": 2, "failed": 1, "total": 3},
        "score": {"completed": 2, "total": 2},
        "flownb-batch": {"completed": 1, "total": 1},
    }
    queues = batch.jobs().groupby("name")["queue"].agg(["first", "size"])
    assert queues.loc["ask"].tolist() == ["provider", 3]
    assert queues.loc["score"].tolist() == ["score", 2]


def test_a_failure_says_its_step_and_a_retry_goes_on_from_it(fetch, ask, score, runs):
    batch = fn.fan_out(PAGES, [fetch, ask, score], name="b").wait(timeout=60)
    assert batch.failures.loc["y", ["error", "step", "attempts"]].tolist() == ["LookupError", "ask", 1]
    row = batch.row("y")
    assert (row.step, row.value) == ("ask", {"page": "<b>", "status": 404})
    assert row.logs["line"].tolist() == ["fetched b", "asked <b>"]
    assert [text for *_, text in row_details(stored(batch), 1)["log"]] == ["fetched b", "asked <b>"]
    assert batch.logs(rows=["z"])["line"].tolist() == ["fetched ccc", "asked <ccc>"]
    runs.fresh()
    ask_of(runs)
    batch.retry(step="ask").wait(timeout=60)
    assert runs.fresh() == {"ask <b>": 1, "score en": 1}
    assert batch.results()["score"].tolist() == [40, 30, 50]
    assert batch.failures.empty
    assert stages(batch)["ask"] == {"completed": 3, "total": 3}
    assert batch.progress().failed == 0


def test_a_timeout_is_that_of_its_step(runs, until):
    gate, release = threading.Event(), threading.Event()

    @fn.task
    def first(n):
        return n

    @fn.task(timeout=0.5, attempts=2)
    def slow(first):
        runs.note(f"slow {first}")
        if first == 1:
            release.wait(60)
        return first

    @fn.task
    def last(slow):
        gate.wait(60)
        return slow

    batch = fn.fan_out(pd.DataFrame({"n": [0, 1, 2]}), [first, slow, last])
    until(lambda: stages(batch).get("slow") == {"completed": 2, "failed": 1, "total": 3})
    gate.set()
    batch.wait(timeout=60)
    release.set()
    assert batch.failures[["error", "step", "attempts"]].loc[1].tolist() == ["JobTimeout", "slow", 2]
    assert batch.table()["first"].tolist() == [0, 1, 2]
    assert stages(batch)["slow"] == {"completed": 2, "failed": 1, "total": 3}
    assert runs.fresh() == {"slow 0": 1, "slow 1": 2, "slow 2": 1}


def test_a_timeout_of_the_call_is_that_of_each_step():
    @fn.task
    def first(n):
        return n

    @fn.task
    def second(first):
        return first

    batch = fn.fan_out([{"n": 1}], [first, second], timeout=30).wait(timeout=60)
    assert batch.jobs()["name"].tolist()[1:] == ["first", "second"]


def test_a_limiter_holds_its_step_alone(runs):
    @fn.task
    def first(n):
        return n

    @fn.task(limiter="2/s")
    def limited(first):
        runs.note(time.monotonic())
        return first

    fn.fan_out(pd.DataFrame({"n": range(5)}), [first, limited]).wait(timeout=60)
    times = sorted(runs)
    assert times[4] - times[0] > 0.9  # the fifth comes in the third window


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_later_step_weighs_what_earlier_ones_have_returned(runs, executor):
    @fn.task
    def first(n):
        return {"text": "a" * n, "length": n}

    @fn.task(limiter="10 tokens/s", weight={"tokens": lambda text, more=0: len(text) + more})
    def limited(length):
        import time

        if length == 3:
            raise ValueError("three")
        return time.time()

    with fn.workers(4, executor=executor):
        batch = fn.fan_out(pd.DataFrame({"n": [5, 5, 5, 5, 11, 3]}), [first, limited], name="weighed")
        batch.wait(timeout=60)
    times = sorted(batch.table()["limited"].dropna())
    assert len(times) == 4
    assert times[2] - times[0] > 0.5  # two of five tokens in a second; the third comes in the next one
    assert batch.failures["step"].tolist() == ["limited"] * 2
    assert "the call of limited weighs 11 tokens" in batch.failures.loc[4, "message"]
    assert stages(batch)["limited"] == {"completed": 4, "failed": 2, "total": 6}
    assert batch.failures["error"].tolist() == ["UnrecoverableError", "ValueError"]


@pytest.mark.parametrize("weight", ["size", lambda size: size])
def test_a_column_that_tells_a_later_steps_weight_travels_though_no_function_takes_it(weight):
    frame = pd.DataFrame({"n": [1, 2, 3], "size": [1, 1, 20]})

    @fn.task
    def first(n):
        return {"text": f"<{n}>"}

    @fn.task(limiter="10 tokens/s", weight={"tokens": weight})
    def ask(text):
        return {"answer": text}

    batch = fn.fan_out(frame, [first, ask]).wait(timeout=30)
    assert batch.results()["answer"].dropna().tolist() == ["<1>", "<2>"]
    assert "20 tokens" in batch.failures.loc[2, "message"]


def test_a_weight_that_cannot_be_told_fails_its_row():
    @fn.task
    def first(n):
        return n

    @fn.task(limiter="10 tokens/s", weight={"tokens": "size"})
    def limited(first):
        return first

    batch = fn.fan_out(pd.DataFrame({"n": [1]}), [first, limited]).wait(timeout=60)
    assert "its weight needs 'size', which is no column" in batch.failures.loc[0, "message"]


def test_the_width_of_a_step_is_its_own(runs, until):
    gate, inside, most = threading.Event(), set(), []

    @fn.task
    def first(n):
        return n

    @fn.task(concurrency=2)
    def narrow(first):
        inside.add(first)
        most.append(len(inside))
        gate.wait(60)
        inside.discard(first)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(6)}), [first, narrow])
    until(lambda: stages(batch)["first"].get("completed") == 6 and len(most) == 2)
    until(lambda: stages(batch)["narrow"] == {"active": 2, "waiting": 4, "total": 6})
    assert batch.table()["first"].tolist() == list(range(6))  # what they have, while they wait
    assert batch.table()["_step"].tolist() == ["narrow"] * 6
    gate.set()
    assert batch.results(timeout=60)["narrow"].tolist() == list(range(6))
    assert max(most) == 2


def test_first_and_last_step_may_have_jobs_of_their_own_and_a_queue_may_come_twice(runs):
    @fn.task(queue="net")
    def first(n):
        return n + 1

    @fn.task
    def second(first):
        return first + 1

    @fn.task
    def third(second):
        return second + 1

    @fn.task(queue="net", attempts=2)
    def last(third, job):
        return [job.name, third]

    batch = fn.fan_out(pd.DataFrame({"n": [0, 10]}), [first, second, third, last]).wait(timeout=60)
    assert batch.results()["last"].tolist() == [["last", 3], ["last", 13]]
    assert batch.jobs()["name"].value_counts().to_dict() == {
        "first": 2,
        "second": 2,
        "last": 2,
        batch.name: 1,
    }
    assert stages(batch)["last"] == {"completed": 2, "total": 2}


@pytest.mark.parametrize("rows_per_job", [1, 4])
def test_rows_that_share_a_job_go_on_together(runs, rows_per_job):
    @fn.task(attempts=2)
    def first(n):
        if runs.note(n) == 1 and n == 2:
            raise OSError("away")
        if n == 5:
            raise ValueError("bad")
        return n

    @fn.task(queue="other")
    def second(first):
        if first == 7:
            raise ValueError("bad")
        return first * 2

    batch = fn.fan_out(
        pd.DataFrame({"n": range(8)}), [first, second], rows_per_job=rows_per_job, name="shared"
    )
    batch.wait(timeout=60)
    assert batch.failures["step"].to_dict() == {5: "first", 7: "second"}
    assert batch.table()["second"].fillna(-1).tolist() == [0, 2, 4, 6, 8, -1, 12, -1]
    assert stages(batch)["second"] == {"completed": 6, "failed": 1, "total": 7}


def test_a_process_that_crashes_is_a_failure_of_its_step(runs):
    pytest.importorskip("cloudpickle")

    @fn.task
    def first(n):
        return n

    @fn.task(queue="other")
    def second(first):
        import os

        if first == 1:
            os._exit(3)
        return first

    with fn.workers(2, executor="processes"):
        batch = fn.fan_out(pd.DataFrame({"n": [0, 1, 2]}), [first, second]).wait(timeout=60)
    assert batch.failures[["error", "step"]].loc[1].tolist() == ["JobCrashed", "second"]
    assert batch.table()["second"].fillna(-1).tolist() == [0, -1, 2]


# ---- many rows at a time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [range(10), [f"r{n}" for n in range(10)]])
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_step_takes_many_rows_at_a_time(index, executor):
    @fn.task
    def fetch(n):
        if n == 2:
            raise ValueError("two")
        return {"text": "a" * n, "half": n / 2}

    @fn.task(batch_size=4)
    def embed(text, n, fetch):
        if (n == 5).any():
            raise ValueError("five")
        if (n == 8).any():
            raise fn.RowErrors({label: KeyError("eight") for label in n.index[n == 8]})
        return [[len(text), label, len(f)] for label, f in zip(n.index, fetch, strict=True)]

    @fn.task
    def last(embed, half):
        return embed[0] + half

    frame = pd.DataFrame({"n": range(10)}, index=index)
    with fn.workers(2, executor=executor):
        batch = fn.fan_out(frame, [fetch, embed, last], name="many").wait(timeout=60)
    assert batch.failures["step"].to_dict() == {index[2]: "fetch", index[5]: "embed", index[8]: "embed"}
    assert batch.failures["error"].tolist() == ["ValueError", "ValueError", "KeyError"]
    sizes = batch.results()["embed"].dropna()
    labels = {label: value[1] for label, value in sizes.items()}
    assert labels == {label: label for label in labels}
    assert len(labels) == 7
    assert sizes[index[0]][0] == 3  # the first four rows, without the one that failed before
    assert batch.table().loc[index[9], "last"] == sizes[index[9]][0] + 4.5
    assert batch.table().loc[index[5], "text"] == "aaaaa"
    assert stages(batch) == {
        "fetch": {"completed": 9, "failed": 1, "total": 10},
        "embed": {"completed": 7, "failed": 2, "total": 9},
        "last": {"completed": 7, "total": 7},
        "flownb-batch": {"completed": 1, "total": 1},
    }


def test_rows_of_slow_steps_before_stay_together_for_a_call(runs):
    @fn.task
    def slow(n):
        time.sleep(0.15)
        return n

    @fn.task(batch_size=3, timeout=30, attempts=2)
    def embed(slow):
        if runs.note("embed") == 1:
            raise OSError("away")
        fn.spend(usd=len(slow))
        return [len(slow)] * len(slow)

    batch = fn.fan_out(pd.DataFrame({"n": range(6)}), [slow, embed], budget={"usd": 100}).wait(timeout=60)
    assert batch.results()["embed"].tolist() == [3] * 6
    assert batch.table()["_usd"].tolist() == [1] * 6
    assert batch.debug(1) == {"slow": 1, "embed": 1}


def test_the_first_step_may_take_many_rows_and_the_whole_of_them(runs):
    @fn.task(batch_size=5)
    def first(rows):
        return [f"{sorted(rows.columns)} {len(rows)}"] * len(rows)

    @fn.task(batch_size=5)
    def second(rows):
        return [sorted(rows.columns)] * len(rows)

    frame = pd.DataFrame({"n": range(5), "m": 1})
    results = fn.fan_out(frame, [first, second]).results(timeout=60)
    assert results["first"].tolist() == ["['m', 'n'] 5"] * 5
    assert results["second"].tolist() == [["first", "m", "n"]] * 5


# ---- what is above the rows, and beside them ------------------------------------------------------------------


def test_groups_and_aggregates_see_rows_after_their_last_step(fetch, score, runs):
    @fn.task
    def total(frame, lang):
        return {"lang": lang, "score": int(frame["score"].sum())}

    @fn.task
    def report(frame):
        return int(frame["score"].sum())

    steps = [fetch, ask_of(runs), score]
    batch = fn.fan_out(PAGES, steps, by="lang", into=[total, report]).wait(timeout=60)
    assert batch.result() == 120
    assert stages(batch)["ask"] == {"completed": 3, "total": 3}


def test_as_completed_gives_each_row_once(fetch, ask, score):
    batch = fn.fan_out(PAGES, [fetch, ask, score])
    found = dict(batch.as_completed(timeout=60))
    assert found["x"]["score"] == 40
    assert isinstance(found["y"], fn.FlowFailed)
    assert sorted(found) == ["x", "y", "z"]


def test_the_tree_shows_steps_as_stages(fetch, ask, score):
    batch = fn.fan_out(PAGES, [fetch, ask, score], name="b").wait(timeout=60)
    source = batch.draw().source
    for words in (
        "fetch × 3\\n✓ 3 completed",
        "ask × 3\\n✗ 2 completed, 1 failed",
        "score × 3\\n✓ 2 completed",
    ):
        assert words in source
    assert source.count("label=") == 4  # three stages and the root


def test_a_remove_leaves_nothing(fetch, ask, score, redis):
    fn.fan_out(PAGES, [fetch, ask, score], name="b", budget={"usd": 1000}).wait(timeout=60).remove()
    assert fn.flows().empty
    assert not [
        key for key in redis.keys("*") if b":m" in key.replace(b":meta", b"") or b"flownb:flow" in key
    ]
    for kind in ("children", "brakes", "counts", "rows", "pilot"):
        assert not redis.keys(f"*flownb:{kind}:*"), kind


def test_explain_says_what_holds_a_later_step(until):
    @fn.task
    def first(n):
        return n

    @fn.task(queue="elsewhere")
    def second(first):
        return first

    fn.Queue("elsewhere").pause()
    batch = fn.fan_out(pd.DataFrame({"n": [1]}), [first, second])
    until(lambda: stages(batch).get("second", {}).get("waiting"))
    assert "elsewhere" in batch.explain()["why"].str.cat()
    assert "paused" in batch.explain()["why"].str.cat()
    fn.Queue("elsewhere").resume()
    assert batch.results(timeout=60)["second"].tolist() == [1]


def test_a_cancel_ends_rows_at_any_step(runs, until):
    gate = threading.Event()

    @fn.task
    def first(n):
        return n

    @fn.task(concurrency=1)
    def narrow(first):
        runs.note(first)
        gate.wait(60)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(4)}), [first, narrow], name="b")
    until(lambda: stages(batch)["first"].get("completed") == 4 and sum(runs.values()) == 1)
    batch.cancel()
    gate.set()
    batch.wait(timeout=60)
    until(lambda: "active" not in set(batch.table()["_state"]))  # what ran at the cancel ends after it
    assert sum(runs.values()) == 1
    assert set(batch.table()["_state"]) <= {"completed", "failed"}
    batch.retry().wait(timeout=60)
    assert batch.results()["narrow"].tolist() == list(range(4))
    assert sum(runs.values()) <= 5
    assert stages(batch)["narrow"] == {"completed": 4, "total": 4}


def test_a_row_that_a_cancel_met_between_two_steps_goes_on_once(runs, until):
    """Its first step is written down, and the job of the second was refused: the retry stores that job, and no other."""
    gate = threading.Event()

    @fn.task(concurrency=2)
    async def first(n):
        runs.note(f"first {n}")
        fn.spend(usd=1)
        await asyncio.to_thread(gate.wait, 60)
        return n

    @fn.task
    def second(first):
        runs.note(f"second {first}")
        fn.spend(usd=100)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(4)}), [first, second], name="b")
    until(lambda: sum(runs.values()) == 2)
    batch.cancel()
    gate.set()
    batch.wait(timeout=60)
    until(lambda: not stages(batch)["first"].get("active"))
    batch.retry().wait(timeout=60)
    assert batch.results()["second"].tolist() == list(range(4))
    assert runs.fresh() == {f"{step} {n}": 1 for step in ("first", "second") for n in range(4)}
    assert batch.table()["_usd"].tolist() == [101] * 4
    assert batch.progress().spent == {"usd": 404}


# ---- the same name again --------------------------------------------------------------------------------------


def test_the_same_steps_again_run_nothing_and_failed_rows_go_on(fetch, ask, score, runs):
    fn.fan_out(PAGES, [fetch, ask, score], name="b").wait(timeout=60)
    runs.fresh()
    again = fn.fan_out(PAGES, [fetch, ask_of(runs), score], name="b").wait(timeout=60)
    assert runs.fresh() == {"ask <b>": 1, "score en": 1}
    assert again.results()["score"].tolist() == [40, 30, 50]
    assert stages(again)["fetch"] == {"completed": 3, "total": 3}
    assert "fetch × 3" in again.draw().source
    assert again.draw().source.count("label=") == 4  # wherever the rows' jobs are, they are one stage a step
    fn.fan_out(PAGES, [fetch, ask_of(runs), score], name="b").wait(timeout=60)
    assert not runs.fresh()


def test_another_version_of_a_step_runs_from_it_on(fetch, score, runs):
    fn.fan_out(PAGES, [fetch, ask_of(runs), score], name="b").wait(timeout=60)
    runs.fresh()
    batch = fn.fan_out(PAGES, [fetch, ask_of(runs, "2"), score], name="b").wait(timeout=60)
    assert runs.fresh() == {f"ask <{u}>": 1 for u in PAGES["url"]} | {f"score {n}": 1 for n in PAGES["lang"]}
    assert batch.results()["page"].tolist() == ["<aa>", "<b>", "<ccc>"]
    assert stages(batch)["fetch"] == {"completed": 3, "total": 3}


def test_rows_of_an_earlier_batch_stay_when_that_is_removed(fetch, score, runs):
    steps = [fetch, ask_of(runs), score]
    first = fn.fan_out(PAGES.iloc[:2], steps, name="b").wait(timeout=60)
    second = fn.fan_out(PAGES, steps, name="b").wait(timeout=60)
    first.remove()
    runs.fresh()
    assert second.results()["score"].tolist() == [40, 30, 50]
    fn.fan_out(PAGES.iloc[1:], steps, name="b").wait(timeout=60)
    assert not runs.fresh()


@pytest.fixture
def gated():
    """A gate, and two steps of which the second, whose jobs are its own, waits at it."""
    gate = threading.Event()

    @fn.task
    def first(n):
        return n

    @fn.task(queue="other")
    def second(first):
        gate.wait(60)
        return first

    return gate, [first, second]


def test_other_rows_are_refused_while_some_are_on_their_way(gated, runs, until):
    gate, [first, second] = gated
    rows = pd.DataFrame({"n": range(3)})
    batch = fn.fan_out(rows.iloc[:2], [first, second], name="b")
    until(lambda: stages(batch)["first"].get("completed") == 2)
    with pytest.raises(fn.FlowError, match=r"'b' has rows that go from job to job .* attach\('b'\)\.wait"):
        fn.fan_out(rows, [first, second], name="b")
    assert fn.fan_out(rows.iloc[:2], [first, second], name="b").name == "b"  # the same rows join
    gate.set()
    batch.wait(timeout=60)
    assert fn.fan_out(rows, [first, second], name="b").results(timeout=60)["second"].tolist() == [0, 1, 2]


def test_rows_of_which_none_is_on_its_way_are_added_while_others_are(gated, until):
    gate, steps = gated
    batch = fn.fan_out(range(2), steps, name="b")
    until(lambda: stages(batch)["first"].get("completed") == 2)
    more = fn.fan_out(range(2, 4), steps, name="b")
    with pytest.raises(fn.FlowError, match=r"attach\('flownb-batch:.*'\)\.wait\(\), or cancel") as refused:
        fn.fan_out([0, 1, 9], steps, name="b")  # some are in the older batch, and that is what it names
    gate.set()
    fn.attach(str(refused.value).partition("attach('")[2].partition("'")[0]).wait(timeout=60)
    assert fn.fan_out(range(2), steps, name="b").results(timeout=60)["second"].tolist() == [0, 1]
    assert batch.results(timeout=60)["second"].tolist() == [0, 1]
    assert more.results(timeout=60)["second"].tolist() == [2, 3]


@pytest.fixture
def asked(runs):
    """A gate, steps of which the second waits at it, and other lists of steps that have some of them."""
    gate = threading.Event()

    def begin(n):
        runs.note("begin")
        return n + 1

    @fn.task(queue="provider")
    def ask(begin):
        runs.note("ask")
        gate.wait(60)
        return begin * 10

    @fn.task
    def score(ask):
        return ask + 1

    @fn.task
    def other(ask):
        return ask + 1

    @fn.task
    def before(n):
        return n

    begin_again, begin = fn.task(version="2")(begin), fn.task(begin)
    yield (
        gate,
        {
            "these": [begin, ask, score],
            "longer": [begin, ask, score, other],
            "shorter": [begin, ask],
            "another last one": [begin, ask, other],
            "one in front": [before, begin, ask, score],
            "another version": [begin_again, ask, score],
        },
    )
    gate.set()


@pytest.mark.parametrize(
    "others", ["longer", "shorter", "another last one", "one in front", "another version"]
)
def test_other_steps_are_refused_while_rows_are_on_their_way_through_some_of_them(runs, until, asked, others):
    gate, lists = asked
    fn.fan_out(range(3), lists["these"], name="b")
    until(lambda: "ask" in runs)
    for more in ({}, {"dry_run": True}):
        with pytest.raises(
            fn.FlowError,
            match=r"'b' has rows on their way through begin, ask, score; .*attach\('b'\)\.cancel",
        ):
            fn.fan_out(range(3), lists[others], name="b", **more)
    assert len(fn.flows()) == 1
    gate.set()
    fn.attach("b").wait(timeout=60)
    batch = fn.fan_out(range(3), lists[others], name="b").wait(timeout=60)
    assert batch.results()["ask"].tolist() == [10, 20, 30]
    is_anew = others in ("one in front", "another version")
    assert runs.fresh() == dict.fromkeys(["begin", "ask"], 6 if is_anew else 3)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_step_more_is_refused_while_rows_run_that_have_a_job_for_all_steps(runs, until, steps):
    gate = threading.Event()

    @fn.task
    def first(n):
        runs.note("first")
        gate.wait(60)
        return n

    @fn.task
    def second(first):
        return first

    @fn.task
    def third(first):
        return first

    before = [first, second][:steps]
    fn.fan_out(range(3), before, name="b")
    until(lambda: "first" in runs)
    with pytest.raises(fn.FlowError, match="'b' has rows on their way through first"):
        fn.fan_out(range(3), [*before, third], name="b")
    gate.set()
    fn.attach("b").wait(timeout=60)
    assert fn.fan_out(range(3), [*before, third], name="b").results(timeout=60)["third"].tolist() == [0, 1, 2]
    assert runs.fresh() == {"first": 3}


def test_rows_that_a_pilot_holds_go_through_other_steps(runs, asked):
    gate, lists = asked
    gate.set()
    fn.fan_out(range(3), lists["these"], name="b", pilot=1).wait(timeout=60)
    batch = fn.fan_out(range(3), lists["longer"], name="b")
    assert batch.results(timeout=60)["other"].tolist() == [11, 21, 31]
    assert runs.fresh() == {"begin": 3, "ask": 3}


@pytest.mark.parametrize("steps", ["these", "longer"])
def test_a_call_after_cancel_waits_for_rows_that_still_run_and_keeps_them(runs, until, asked, capsys, steps):
    gate, lists = asked
    rows = range(6)  # of which four run at a time
    fn.fan_out(rows, lists["these"], name="b")
    until(lambda: runs["ask"] == 4)
    fn.attach("b").cancel()
    found, said = [], []

    def has_said(words):
        said.append(capsys.readouterr().out)
        return words in "".join(said)

    call = threading.Thread(target=lambda: found.append(fn.fan_out(rows, lists[steps], name="b")))
    call.start()
    until(lambda: has_said("batch 'b': waits for rows of the call before, which still run"))
    gate.set()
    call.join(60)
    assert found[0].results(timeout=60)["score"].tolist() == [11, 21, 31, 41, 51, 61]
    assert runs.fresh() == {"begin": 6, "ask": 6}


@pytest.fixture
def begun_by_an_iterator(gated, until):
    """Steps of which the second waits at a gate, and a batch of three rows that has come to it as its iterator broke."""
    gate, [first, second] = gated

    def rows():
        yield from range(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fn.fan_out(rows(), [first, second], name="b")
    until(lambda: stages(fn.attach("b"))["first"].get("completed") == 3)
    yield gate, [first, second]
    gate.set()


def test_the_same_iterator_again_goes_on_once_rows_on_their_way_have_ended(
    begun_by_an_iterator, until, capsys
):
    gate, steps = begun_by_an_iterator
    found, said = [], []

    def has_said(words):
        said.append(capsys.readouterr().out)
        return words in "".join(said)

    call = threading.Thread(target=lambda: found.append(fn.fan_out(iter(range(1200)), steps, name="b")))
    call.start()
    until(lambda: has_said("batch 'b': waits for rows of the call before, which go from job to job"))
    gate.set()
    call.join(60)
    assert found[0].results(timeout=60)["second"].tolist() == list(range(1200))
    assert stages(found[0])["second"] == {"completed": 1200, "total": 1200}
    assert "".join([*said, capsys.readouterr().out]).count("waits for rows") == 1


def test_rows_on_their_way_that_are_held_are_not_waited_for(begun_by_an_iterator):
    gate, steps = begun_by_an_iterator
    fn.attach("b").pause()
    for rows in (iter(range(5)), list(range(5))):
        with pytest.raises(
            fn.FlowError, match=r"'b' has rows that go from job to job .* attach\('b'\)\.explain"
        ):
            fn.fan_out(rows, steps, name="b")
    fn.attach("b").resume()
    gate.set()
    assert fn.fan_out(iter(range(5)), steps, name="b").results(timeout=60)["second"].tolist() == list(
        range(5)
    )


def test_rows_of_an_iterator_go_through_jobs(fetch, score, runs):
    rows = ({"url": "a" * n, "lang": "de"} for n in range(1, 6))
    batch = fn.fan_out(rows, [fetch, ask_of(runs), score], name="b").wait(timeout=60)
    assert batch.results()["score"].tolist() == [30, 40, 50, 60, 70]
    assert stages(batch)["ask"] == {"completed": 5, "total": 5}


# ---- kernels --------------------------------------------------------------------------------------------------

FIRST = """
@fn.task
def begin(n, job):
    job._store.server.client.hincrby("ran", f"begin {n}", 1)
    return {"a": n + 1}
"""
THEN = """
import time

@fn.task(queue="other")
def then(a, job):
    redis = job._store.server.client
    redis.hincrby("ran", f"then {a}", 1)
    while redis.get("door") is None:
        time.sleep(0.02)
    return a * 10
"""


ADD = "fn.fan_out([{'n': n} for n in range(4)], [begin, then], name='b', rows_per_job=4)"


def test_a_kernel_that_knows_one_step_goes_on_with_rows_that_have_come_to_it(
    connection, start_kernel, redis, until
):
    if not connection.embedded:
        pytest.skip("kernels of one folder")
    kernel = start_kernel()
    kernel.run(FIRST + THEN)
    assert kernel.run(ADD)[1] is None
    # all rows are at the second step, the first one has begun it, and nothing is left that only `begin` could end
    until(lambda: redis.hlen("ran") == 5 and fn.Queue("begin").get_job_counts()["active"] == 0)
    kernel.kill()
    redis.set("door", "open")
    kernel = start_kernel()
    kernel.run(THEN)
    assert kernel.run("batch = fn.attach('b').wait(60)")[1] is None
    assert kernel.run("print(batch.results()['then'].tolist())") == ("[10, 20, 30, 40]", None)
    ran = {key.decode(): int(n) for key, n in redis.hgetall("ran").items()}
    assert {key: n for key, n in ran.items() if key.startswith("begin")} == {
        f"begin {n}": 1 for n in range(4)
    }


READ = """
import time

def rows(end):
    yield from ({'n': n} for n in range(4))
    while not end:
        time.sleep(0.02)
        yield {'n': 4}
    fn.attach('b')._stored.store.server.client.set('door', 'open')
"""


def test_after_a_kill_the_same_call_of_an_iterator_goes_on(connection, start_kernel, redis, until):
    if not connection.embedded:
        pytest.skip("kernels of one folder")
    kernel = start_kernel()
    kernel.run(FIRST + THEN + READ)
    kernel.process.stdin.write(json.dumps("fn.fan_out(rows(False), [begin, then], name='b')") + "\n")
    kernel.process.stdin.flush()
    until(lambda: redis.hexists("ran", "then 1"))
    kernel.kill()
    kernel = start_kernel()
    kernel.run(FIRST + THEN + READ)
    assert kernel.run("batch = fn.fan_out(rows(True), [begin, then], name='b')")[1] is None
    assert kernel.run("print(batch.results(60)['then'].tolist())") == ("[10, 20, 30, 40]", None)
    assert redis.hget("ran", "begin 0") == b"1"  # it had come to the second step


DIES = """
import os, signal
import flownb.worker.rows_going_on as going_on
_add = going_on._add

def _add_and_die(*given):
    if {stores}:
        _add(*given)
    os.kill(os.getpid(), signal.SIGKILL)

going_on._add = _add_and_die
"""


@pytest.mark.parametrize("stores", [False, True])
def test_a_kill_between_two_jobs_of_a_row_loses_and_repeats_nothing(connection, start_kernel, redis, stores):
    if not connection.embedded:
        pytest.skip("kernels of one folder")
    redis.set("door", "open")
    kernel = start_kernel()
    kernel.run(FIRST + THEN + DIES.format(stores=stores))
    kernel.process.stdin.write(json.dumps(ADD) + "\n")
    kernel.process.stdin.flush()
    assert kernel.process.wait(60) == -signal.SIGKILL
    kernel = start_kernel()
    kernel.run(FIRST + THEN)
    assert kernel.run("batch = fn.attach('b').wait(60)")[1] is None
    assert kernel.run("print(batch.results()['then'].tolist())") == ("[10, 20, 30, 40]", None)
    ran = {key.decode(): int(n) for key, n in redis.hgetall("ran").items()}
    assert ran == {f"begin {n}": 1 for n in range(4)} | {f"then {n}": 1 for n in range(1, 5)}


# ---- brakes ---------------------------------------------------------------------------------------------------


def test_a_pilot_runs_whole_rows(fetch, score, runs):
    rows = pd.DataFrame({"url": ["a" * n for n in range(1, 21)], "lang": "de"})
    steps = [fetch, ask_of(runs), score]
    batch = fn.fan_out(rows, steps, name="b", pilot=2).wait(timeout=60)
    assert batch.progress().paused == "a pilot of 2 rows"
    assert stages(batch)["score"]["completed"] == 2
    assert runs.fresh()["score de"] == 2
    batch = fn.fan_out(rows, steps, name="b").wait(timeout=60)
    assert stages(batch)["score"] == {"completed": 20, "total": 20}
    assert runs.fresh()["score de"] == 18


def test_a_budget_holds_later_steps(fetch, score, runs):
    rows = pd.DataFrame({"url": ["a" * n for n in range(1, 21)], "lang": "de"})
    with fn.workers(1):
        batch = fn.fan_out(rows, [fetch, ask_of(runs), score], name="b", budget={"usd": 150}).wait(timeout=60)
        assert batch.progress().paused
        assert 150 <= batch.progress().spent["usd"] < 260
        batch.resume(budget={"usd": 10_000}).wait(timeout=60)
    assert stages(batch)["score"] == {"completed": 20, "total": 20}


def test_max_failures_counts_rows_that_fail_at_any_step(runs):
    @fn.task
    def first(n):
        return n

    @fn.task(queue="other")
    def second(first):
        runs.note(first)
        raise ValueError("bad")

    with fn.workers(1):
        batch = fn.fan_out(pd.DataFrame({"n": range(30)}), [first, second], max_failures=3).wait(timeout=60)
        assert batch.progress().paused
    assert sum(runs.values()) == 4


# ---- what is refused ------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_before_anything_is_written(fetch, score, runs):
    @fn.task(batch_size=4)
    def many(page):
        return list(page)

    @fn.task(timeout=5)
    def slow(page):
        return page

    @fn.task(queue="provider")
    def total(frame):
        return len(frame)

    ask = ask_of(runs)
    for steps, words, options in [
        ([fetch, many, slow], "task: step 'slow' has a limiter, a concurrency or a timeout", {}),
        ([fetch, many], "rows_per_job=6: the task takes 4 rows at a time", {"rows_per_job": 6}),
        ([fetch, ask], "into: task total has queue 'provider'", {"into": total}),
        ([fetch, ask], "step 'ask' has a limiter, a concurrency or a timeout", {"rows_per_job": 3}),
    ]:
        with pytest.raises((fn.FlowError, fn.OptionError), match=words):
            fn.fan_out(PAGES, steps, name="refused", **options)
    assert fn.flows().empty
