"""Shows what holds a batch: its pilot, its budget, too many failures; what it says then, and how it goes on."""

from __future__ import annotations

import json
import re
import threading
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.batches.row_ends import RowEnds

ROWS = pd.DataFrame({"n": range(100)}, index=[f"r{n}" for n in range(100)])


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""


@pytest.fixture
def ask(runs):
    """A task whose rows cost a half each."""

    @fn.task
    def ask(n):
        runs.note(n)
        fn.spend(usd=0.5)
        return n

    return ask


@pytest.fixture
def every_fourth_fails(runs):
    @fn.task
    def flaky(n):
        runs.note(n)
        if n % 4 == 0:
            raise ValueError(n)
        return n

    return flaky


# ---- pilot ----------------------------------------------------------------------------------------------


def test_a_pilot_runs_rows_that_are_evenly_spaced_and_pauses(ask, runs):
    batch = fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30)

    assert runs.fresh() == {12: 1, 37: 1, 62: 1, 87: 1}
    assert batch.progress().paused == "a pilot of 4 rows"
    assert batch.progress().completed == 4
    for ask_for in (batch.results, batch.result):
        with pytest.raises(fn.FlowPaused, match="a pilot of 4 rows has ended; spent: 2 usd") as raised:
            ask_for(timeout=30)
        assert raised.value.reason == "a pilot of 4 rows has ended"
        assert raised.value.amounts == {"usd": 2.0}
        assert raised.value.call == "batch.resume()"
    assert batch.results(timeout=30, partial=True)["ask"].dropna().index.tolist() == [
        "r12",
        "r37",
        "r62",
        "r87",
    ]


def test_the_same_call_again_changes_nothing_and_without_pilot_it_resumes(ask, runs, capsys):
    fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30)

    again = fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30)
    assert again.progress().paused
    assert sum(runs.values()) == 4
    whole = fn.fan_out(ROWS, ask, name="nov")
    assert whole.results(timeout=60)["ask"].tolist() == list(range(100))
    assert "goes on after a pilot of 4 rows" in capsys.readouterr().out
    assert set(runs.values()) == {1}, "no row ran twice"


def test_a_name_has_one_pilot_also_with_other_rows_until_it_is_rerun(ask, runs):
    fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30).resume().wait(timeout=60)
    more = pd.DataFrame({"n": range(120)})

    assert fn.fan_out(more, ask, name="nov", pilot=4).wait(timeout=60).progress().paused is None
    rerun = fn.fan_out(more, ask, name="nov", pilot=4, if_exists="rerun").wait(timeout=60)
    assert rerun.progress().paused == "a pilot of 4 rows"


def test_runs_that_begin_a_name_together_have_one_pilot(ask, runs, before_storing):
    before_storing(lambda: fn.fan_out(ROWS[:60], ask, name="nov", pilot=4))

    batch = fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=60)
    assert batch.progress().paused is None
    assert len(batch.results()) == 100
    assert set(runs.values()) == {1}


def test_resume_runs_the_rest_once(ask, runs):
    batch = fn.fan_out(ROWS, ask, pilot=10).wait(timeout=30)

    assert batch.resume().results(timeout=60)["ask"].tolist() == list(range(100))
    assert set(runs.values()) == {1}
    assert batch.progress().paused is None


def test_a_pilot_as_large_as_the_batch_is_none(ask):
    assert len(fn.fan_out(ROWS.head(4), ask, pilot=4).results(timeout=30)) == 4


def test_a_failed_row_of_a_pilot_gets_its_attempts(runs):
    @fn.task(attempts=3, backoff="fixed 1ms")
    def flaky(n):
        runs.note(n)
        raise ValueError(n)

    batch = fn.fan_out(ROWS, flaky, pilot=2).wait(timeout=30)

    assert set(runs.values()) == {3}
    assert batch.progress().failed == 2


def test_a_pilot_of_a_large_batch_and_of_groups(ask, runs):
    @fn.task
    def total(rows):
        return len(rows)

    large = pd.DataFrame({"n": range(2500), "g": [n % 7 for n in range(2500)]})
    batch = fn.fan_out(large, ask, by="g", into=total, pilot=5).wait(timeout=60)

    assert sorted(runs) == [250, 750, 1250, 1750, 2250]
    assert batch.resume().result(timeout=120)["total"].sum() == 2500


def test_an_iterator_is_read_before_its_pilot_runs(ask, runs):
    batch = fn.fan_out(({"n": n} for n in range(50)), ask, name="read", pilot=2).wait(timeout=30)

    assert sorted(runs) == [12, 37]
    assert len(batch.resume().results(timeout=30)) == 50


def test_pausing_by_hand_holds_a_pilot_too(ask, runs, until):
    gate, entered = threading.Event(), threading.Event()

    @fn.task
    def slow(n):
        runs.note(n)
        entered.set()
        gate.wait(30)

    with fn.workers(1):
        batch = fn.fan_out(ROWS, slow, pilot=5)
        assert entered.wait(30)
        batch.pause()
        gate.set()
        until(lambda: batch.progress().completed == 1)
        assert batch.progress().paused == "by hand"
        with pytest.raises(TimeoutError):
            batch.wait(timeout=0.5)
        assert sum(runs.values()) == 1
        batch.resume().wait(timeout=60)
    assert batch.progress().completed == 101


def test_a_unit_that_no_row_of_the_pilot_told_is_warned_about(ask):
    batch = fn.fan_out(ROWS, ask, pilot=2, budget={"eur": 5, "usd": 50})

    with pytest.warns(
        UserWarning, match=r"a budget in eur, and no row of its pilot has called fn.spend\(eur="
    ):
        batch.wait(timeout=30)


# ---- budget ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_a_budget_holds_with_at_most_what_was_running_above_it(ask, runs, threads):
    with fn.workers(threads):
        batch = fn.fan_out(ROWS, ask, budget={"usd": 5}).wait(timeout=60)

    spent = batch.progress().spent["usd"]
    assert 5 <= spent <= 5 + 0.5 * (threads - 1)
    assert sum(runs.values()) * 0.5 == spent
    assert batch.progress().paused == "its budget is used up: 5 of 5 usd"
    with pytest.raises(fn.FlowPaused, match="its budget is used up") as raised:
        batch.results(timeout=30)
    assert raised.value.amounts == {"usd": spent}
    assert raised.value.call.startswith('batch.resume(budget={"usd": 1')


def test_a_row_that_goes_over_while_it_runs_holds_the_next_ones_at_once(runs, until):
    gate, spent = threading.Event(), threading.Event()

    @fn.task
    def dear(n):
        runs.note(n)
        fn.spend(usd=9)
        spent.set()
        gate.wait(30)

    with fn.workers(1):
        batch = fn.fan_out(ROWS, dear, budget={"usd": 5})
        until(lambda: batch.progress().paused)
        assert batch.progress().active == 1
        gate.set()
        batch.wait(timeout=30)
    assert sum(runs.values()) == 1


def test_a_used_up_budget_is_not_resumed_and_both_figures_are_named(ask):
    with fn.workers(1):
        batch = fn.fan_out(ROWS, ask, budget={"usd": 5}).wait(timeout=60)
        with pytest.raises(fn.FlowError, match="has spent 5 usd, and its budget is 5 usd"):
            batch.resume()
        with pytest.raises(fn.FlowError, match="has spent 5 usd, and its budget is 4 usd"):
            batch.resume(budget={"usd": 4})
        assert batch.progress().paused
        assert batch.resume(budget={"usd": 7}).wait(timeout=60).progress().spent == {"usd": 7.0}
        assert len(batch.resume(budget={"usd": 100}).results(timeout=60)) == 100


def test_the_budget_is_that_of_the_name_over_retries_and_later_runs(runs):
    failing = [True]

    @fn.task
    def ask(n):
        fn.spend(usd=1)
        if failing:
            raise ValueError(n)

    with fn.workers(1):
        first = fn.fan_out(range(3), ask, name="nov", budget={"usd": 4}).wait(timeout=30)
        assert first.progress().spent == {"usd": 3}
        first.retry().wait(timeout=30)
        assert first.progress().spent == {"usd": 4}
        assert first.progress().paused, "two rows are left, and nothing to pay them with"
        later = fn.fan_out(range(9), ask, name="nov", budget={"usd": 4}).wait(timeout=30)
        assert later.progress().spent == {"usd": 4}, "none of its rows began"
        assert "its budget is used up" in later.progress().paused
        rerun = fn.fan_out(range(9), ask, name="nov", budget={"usd": 4}, if_exists="rerun").wait(timeout=30)
        assert rerun.progress().spent == {"usd": 4}


@pytest.mark.parametrize("come", [list, iter])
def test_runs_that_begin_a_name_together_have_one_account_and_one_budget(come, ask, runs, before_storing):
    def add(rows):
        return fn.fan_out(come([{"n": n} for n in rows]), ask, name="nov", budget={"usd": 5})

    other = []
    before_storing(lambda: other.append(add(range(40, 100))))
    with fn.workers(1):
        batches = [add(range(60)).wait(timeout=60), other[0].wait(timeout=60)]

    assert sum(runs.values()) == 10
    for batch in [*batches, fn.attach("nov")]:
        assert batch.progress().spent == {"usd": 5}
        assert batch.progress().paused == "its budget is used up: 5 of 5 usd"


def test_a_budget_that_the_last_rows_reach_holds_nothing(ask):
    with fn.workers(1):
        batch = fn.fan_out(range(10), ask, budget={"usd": 5})
        assert len(batch.results(timeout=30)) == 10
    assert batch.progress().paused is None


def test_the_same_call_with_a_larger_budget_goes_on(ask, runs, capsys):
    with fn.workers(1):
        fn.fan_out(ROWS, ask, name="nov", budget={"usd": 5}).wait(timeout=30)
        same = fn.fan_out(ROWS, ask, name="nov", budget={"usd": 5}).wait(timeout=30)
        assert same.progress().spent == {"usd": 5}
        more = fn.fan_out(ROWS, ask, name="nov", budget={"usd": 6}).wait(timeout=30)
        assert more.progress().spent == {"usd": 6}
    assert "batch 'nov' goes on" in capsys.readouterr().out


@pytest.mark.parametrize("budget", [{"usd": 5}, None])
def test_a_call_that_changes_no_budget_says_what_holds_the_batch_and_how_it_goes_on(ask, capsys, budget):
    with fn.workers(1):
        fn.fan_out(ROWS, ask, name="nov", budget={"usd": 5}).wait(timeout=30)
        capsys.readouterr()
        again = fn.fan_out(ROWS, ask, name="nov", budget=budget).wait(timeout=30)
        assert again.progress().spent == {"usd": 5}
        assert capsys.readouterr().out.splitlines() == [
            "batch 'nov': 10 of 100 rows are done already",
            "batch 'nov' stays paused: its budget is used up: 5 of 5 usd; batch.resume(budget={\"usd\": 10}) goes on",
        ]
        fn.fan_out(ROWS, ask, name="nov", budget={"usd": 4})
        assert capsys.readouterr().out.splitlines()[-1] == (
            "batch 'nov' stays paused: its budget is used up: 5 of 4 usd; batch.resume(budget={\"usd\": 10}) goes on"
        )


def test_a_call_for_a_batch_that_is_paused_by_hand_says_so(ask, capsys):
    with fn.workers(1):
        fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30).pause()
        capsys.readouterr()
        fn.fan_out(ROWS, ask, name="nov")
        assert capsys.readouterr().out.splitlines()[-1] == (
            "batch 'nov' stays paused: by hand; batch.resume() goes on"
        )


def test_one_of_two_budgets_is_enough_and_units_that_are_not_named_keep_theirs(runs):
    @fn.task
    def ask(n):
        fn.spend(usd=0.1, tokens=100)

    with fn.workers(1):
        batch = fn.fan_out(ROWS, ask, budget={"usd": 5, "tokens": 1000}).wait(timeout=30)
        assert batch.progress().paused == "its budget is used up: 1,000 of 1,000 tokens"
        batch.resume(budget={"tokens": 1_000_000}).wait(timeout=30)
        assert batch.progress().paused == "its budget is used up: 5 of 5 usd"


def test_what_aggregates_spend_counts_and_rows_alone_are_held(ask):
    @fn.task
    def sums(rows):
        fn.spend(usd=100)
        return len(rows)

    with fn.workers(1):
        batch = fn.fan_out(range(10), ask, into=sums, budget={"usd": 5})
        assert batch.result(timeout=30) == 10
    assert batch.progress().spent == {"usd": 105}


def test_a_budget_over_an_iterator_holds(ask, runs):
    with fn.workers(2):
        batch = fn.fan_out(({"n": n} for n in range(3000)), ask, name="read", budget={"usd": 5}).wait(
            timeout=60
        )

    assert batch.progress().spent["usd"] <= 5.5


# ---- failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "failed"), [(0, 1), (2, 3), ("5%", 5)])
def test_too_many_failures_hold_a_batch(every_fourth_fails, most, failed):
    with fn.workers(1):
        batch = fn.fan_out(ROWS, every_fourth_fails, max_failures=most).wait(timeout=60)

    assert batch.progress().failed == failed
    ended = batch.progress().failed + batch.progress().completed
    assert batch.progress().paused == f"max_failures={most}: {failed} of {ended} rows failed"
    assert most != "5%" or ended == 20, "a share says nothing before twenty rows have ended"
    with pytest.raises(fn.FlowPaused, match="max_failures="):
        batch.results(timeout=30)


def test_rows_that_fail_before_their_last_attempt_count_only_then(runs):
    @fn.task(attempts=2, backoff="fixed 1ms")
    def flaky(n):
        runs.note(n)
        if runs[n] == 1:
            raise ValueError(n)

    assert len(fn.fan_out(ROWS, flaky, max_failures=0).results(timeout=60)) == 100


def test_after_resume_and_retry_failures_count_anew(every_fourth_fails):
    with fn.workers(1):
        batch = fn.fan_out(ROWS, every_fourth_fails, max_failures=2).wait(timeout=60)
        assert batch.progress().failed == 3
        assert batch.resume().wait(timeout=60).progress().failed == 6
        assert batch.resume(max_failures=24).wait(timeout=60).progress().failed == 25
        assert batch.retry(rows=list(ROWS.index[::4])).wait(timeout=60).progress().failed == 25
        assert batch.progress().paused is None, "25 failed of 25, and none is left to hold"


def test_rows_of_earlier_runs_are_no_rows_of_this_run(every_fourth_fails):
    with fn.workers(1):
        fn.fan_out(range(20), every_fourth_fails, name="nov").wait(timeout=30)
        later = fn.fan_out(range(200), every_fourth_fails, name="nov", max_failures="26%").wait(timeout=60)
    assert later.progress().paused is None or "of 20 rows" in later.progress().paused


# ---- all of them ----------------------------------------------------------------------------------------


def test_wait_returns_when_a_brake_has_paused_it_and_by_hand_it_waits(ask):
    batch = fn.fan_out(ROWS, ask, pilot=1)
    assert batch.wait() is batch

    held = fn.fan_out(ROWS, ask, name="held", pilot=1).wait(timeout=30).resume().pause()
    if held.progress().completed < 101:
        with pytest.raises(TimeoutError):
            held.wait(timeout=0.3)
    assert len(held.resume().results(timeout=60)) == 100


def test_as_completed_gives_the_rows_and_then_says_that_it_is_held(ask):
    batch = fn.fan_out(ROWS, ask, pilot=4)
    ends = batch.as_completed(timeout=30)

    assert sorted(next(ends)[0] for _ in range(4)) == ["r12", "r37", "r62", "r87"]
    with pytest.raises(fn.FlowPaused):
        next(ends)


def test_as_completed_gives_the_rows_that_end_between_a_look_and_the_pause(monkeypatch):
    looked = threading.Event()

    @fn.task
    def ask(n):
        looked.wait(30)
        return n

    look = RowEnds.look

    def look_and_pause(self):
        found = look(self)
        looked.set()
        batch.wait(timeout=30)
        return found

    monkeypatch.setattr(RowEnds, "look", look_and_pause)
    batch = fn.fan_out(ROWS, ask, pilot=4)
    ends = batch.as_completed(timeout=30)

    assert sorted(next(ends)[0] for _ in range(4)) == ["r12", "r37", "r62", "r87"]
    with pytest.raises(fn.FlowPaused):
        next(ends)


@pytest.mark.parametrize("brakes", [{}, {"budget": {"usd": 3}}, {"pilot": 3}])
def test_report_picture_and_export_of_a_held_batch_say_that_it_is_paused_and_give_no_time_left(
    ask, brakes, tmp_path
):
    if brakes:
        batch = fn.fan_out(range(40), ask, name="held", **brakes).wait(timeout=30)
    else:
        batch = fn.fan_out(range(40), "nobody", name="held").pause()
    held_by = batch.progress().paused
    assert held_by is not None
    resume = 'resume(budget={"usd": ' if "budget" in brakes else "resume()"
    assert batch.explain()["fix"][0].startswith(f"resume it with {resume}")
    with pytest.raises(fn.FlowError, match="cannot be written: No such file"):
        batch.to_html(tmp_path / "nowhere" / "page.html")
    assert batch.progress().eta is None
    batch.export(tmp_path / "held")
    pages = [
        batch.to_html(),
        batch._repr_mimebundle_()["text/html"],
        (tmp_path / "held" / "report.html").read_text(),
    ]
    for page in pages:
        seen = re.sub(r"<style.*?</style>|<svg.*?</svg>|<[^>]*>", "", page, flags=re.DOTALL)
        assert f"paused ({held_by})" in seen
        assert "running for" not in seen
        assert " left" not in seen
    assert json.loads((tmp_path / "held" / "tree.json").read_text())["flow"]["paused"] == held_by


def test_a_pause_is_felt_within_a_second_with_rows_that_take_long(runs):
    """Rows have a job each, and none is taken ahead: what has not begun when the brake holds does not begin."""
    begun = []

    @fn.task
    def slow(n):
        begun.append((n, time.monotonic()))
        time.sleep(0.05)
        raise ValueError(n)

    with fn.workers(3):
        batch = fn.fan_out(ROWS, slow, max_failures=0).wait(timeout=60)

    assert len(begun) <= 2 * 3, "three ran when the first one failed, and no more than these began beside it"
    assert batch.progress().failed == len(begun)


def test_with_brakes_a_row_has_a_job_of_its_own_and_more_is_refused(ask, redis):
    batch = fn.fan_out(range(500), ask, budget={"usd": 1000})
    assert batch.wait(timeout=60).progress().total == 501
    assert not redis.exists("bull:flownb:rows:ask")
    for brake in ({"budget": {"usd": 1}}, {"max_failures": 1}, {"pilot": 3}):
        with pytest.raises(fn.OptionError, match="rows_per_job=50: with pilot, budget or max_failures"):
            fn.fan_out(ROWS, ask, rows_per_job=50, **brake)


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 5},
        {"budget": {}},
        {"budget": {"usd": -1}},
        {"budget": {"usd": 0}},
        {"budget": {"usd": "5"}},
        {"budget": {"state": 5}},
        {"max_failures": -1},
        {"max_failures": 0.05},
        {"max_failures": "5"},
        {"max_failures": "101%"},
        {"max_failures": True},
        {"pilot": 0},
        {"pilot": 2.5},
    ],
)
def test_brakes_that_are_none_are_refused_before_the_first_write(ask, redis, wrong):
    with pytest.raises(fn.OptionError, match=f"fan_out.{next(iter(wrong))}"):
        fn.fan_out(ROWS, ask, **wrong)
    assert redis.dbsize() == 0


def test_a_new_kernel_goes_on_where_the_brake_held(ask, connection):
    fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30)

    attached = fn.attach("nov")
    assert attached.progress().paused == "a pilot of 4 rows"
    assert attached.estimate().loc["usd", "likely"] == 50
    assert len(attached.resume().results(timeout=60)) == 100


def test_explain_says_which_brake_holds_it(ask):
    batch = fn.fan_out(ROWS, ask, pilot=4).wait(timeout=30)

    assert batch.explain().loc[0, "why"] == "the flow is paused: a pilot of 4 rows"


def test_removing_a_batch_leaves_no_key_of_its_brakes(ask, redis):
    fn.fan_out(ROWS, ask, pilot=4, budget={"usd": 100}).wait(timeout=30).remove()

    left = {key.decode().split(":")[2] for key in redis.scan_iter("bull:flownb:*")}
    assert left <= {"tasks", "served", "run-times"}


def test_doctor_finds_what_jobs_have_spent_and_the_sum_has_not(ask, redis):
    batch = fn.fan_out(range(8), ask, name="nov", budget={"usd": 100}).wait(timeout=30)
    assert fn.doctor().empty
    key = f"bull:flownb:spent:{batch._stored.id}"

    redis.hincrby(key, "usd", -1_500_000_000)
    assert fn.doctor()["what"].tolist() == ["its jobs have spent 1.5 usd that its sum of amounts has not"]
    redis.delete(key)
    assert fn.doctor()["what"].tolist() == ["its jobs have spent 4 usd that its sum of amounts has not"]


# ---- estimate -------------------------------------------------------------------------------------------


def test_an_estimate_is_missing_before_a_row_has_ended():
    gate = threading.Event()

    @fn.task
    def slow(n):
        gate.wait(30)

    batch = fn.fan_out(ROWS, slow)
    found = batch.estimate()
    gate.set()

    assert found.index.tolist() == ["rows", "seconds", "failures"]
    assert found.columns.tolist() == ["low", "likely", "high"]
    assert found.loc[["seconds", "failures"]].isna().all(axis=None)
    assert found.loc["rows"].tolist() == [100, 100, 100]


def test_an_estimate_prices_equal_rows_that_run_once_once(connection):
    @fn.task
    def ask(n):
        fn.spend(usd=0.1)
        return n

    batch = fn.fan_out([1, 2, 3, 4] * 25, ask, unique=True, pilot=2).wait(timeout=30)
    assert batch.estimate().loc["usd"].tolist() == pytest.approx([0.4] * 3)
    batch.resume().wait(timeout=30)
    assert batch.progress().spent == {"usd": 0.4}
    assert batch.estimate().loc["usd"].tolist() == pytest.approx([0.4] * 3)


def test_an_estimate_holds_what_comes(every_fourth_fails, runs):
    @fn.task
    def ask(n):
        fn.spend(usd=1 + n % 7 / 10, tokens=100)
        if n % 3 == 0:
            raise ValueError(n)

    batch = fn.fan_out(pd.DataFrame({"n": range(400)}), ask, pilot=40).wait(timeout=30)
    found = batch.estimate()
    batch.resume().wait(timeout=60)
    after = batch.progress().spent

    assert found.index.tolist() == ["rows", "seconds", "tokens", "usd", "failures"]
    assert found.loc["usd", "low"] <= after["usd"] <= found.loc["usd", "high"]
    assert found.loc["usd", "high"] - found.loc["usd", "low"] < 0.2 * after["usd"]
    assert found.loc["tokens"].tolist() == [40_000] * 3
    assert found.loc["failures", "low"] <= 134 <= found.loc["failures", "high"]
    assert 0 <= found.loc["seconds", "low"] <= found.loc["seconds", "likely"] <= found.loc["seconds", "high"]
    assert batch.estimate().loc["usd"].tolist() == pytest.approx([after["usd"]] * 3), (
        "nothing is left to doubt"
    )


def test_the_lines_of_the_contract_run_as_they_stand():
    class answer:
        cost, tokens, text = 0.08, 100, "yes"

    df = pd.DataFrame({"text": [f"text {n}" for n in range(100)]})

    @fn.task(queue="provider", attempts=5, retry_on=lambda error: getattr(error, "status", 500) >= 429)
    async def ask(text):
        fn.spend(usd=answer.cost, tokens=answer.tokens)
        return answer.text

    batch = fn.fan_out(df, ask, name="nov", pilot=20, budget={"usd": 5}, max_failures="5%")
    batch.wait(timeout=30)
    assert batch.estimate().loc["usd", "likely"] == pytest.approx(8)
    batch.resume(budget={"usd": 10})
    assert batch.results(timeout=60)["ask"].tolist() == ["yes"] * 100
    assert batch.progress().spent == {"tokens": 10_000, "usd": 8}


# ---- how it is shown ------------------------------------------------------------------------------------


def test_views_say_what_was_spent_and_what_it_will_come_to(ask, capsys):
    batch = fn.fan_out(ROWS, ask, name="nov", pilot=4).wait(timeout=30, progress=True)

    said = "2 usd spent, about 50 usd in all"
    assert said in capsys.readouterr().out, "the bar"
    assert said in batch.to_html(), "the report"
    assert said in batch.watch().head["note"], "the live view"
    assert fn.flows().loc[0, "spent"] == "2 usd"
    batch.resume().wait(timeout=60)
    assert "50 usd spent" in batch.to_html()
    view = batch.watch()
    view.poll()
    assert view.head["note"] == "50 usd spent"
