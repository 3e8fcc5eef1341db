"""Shows that a retry brings a flow back to life: failed jobs run again, what stands above them once, nothing else."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn
from tests.support import invariants


class Runs:
    """Counts runs by name; jobs in `failing` fail; a value is the name and the children's values."""

    def __init__(self, *failing):
        self.names = []
        self.failing = set(failing)
        self.noting = threading.Lock()

    def __call__(self, job):
        with self.noting:
            self.names.append(job.name)
        if job.name in self.failing:
            raise ValueError(f"{job.name} is broken")
        return {job.name: list(job.get_children_values().values())}

    def again(self):
        """Forget the runs; mend everything."""
        self.names, self.failing = [], set()


def sound(redis):
    assert [str(violation) for violation in invariants.violations(redis)] == []


def optional(name, **more):
    return {"name": name, "queueName": "q", "opts": {"failParentOnFailure": False}, **more}


def test_a_chain_of_three_levels_runs_again_from_the_failed_leaf_to_the_root_once_each(redis):
    runs = Runs("leaf")
    leaves = [fn.Node("leaf", "q"), fn.Node("other", "q")]
    flow = fn.add(fn.Node("top", "q", children=[fn.Node("mid", "q", children=leaves)]))
    with fn.Worker("q", runs, concurrency=2):
        with pytest.raises(fn.FlowFailed, match="top > mid > leaf: ValueError: leaf is broken"):
            flow.result(timeout=20)
        runs_before = sorted(runs.names)
        runs.again()
        assert flow.retry() is flow
        assert flow.result(timeout=20) == {"top": [{"mid": [{"leaf": []}, {"other": []}]}]}
    assert runs_before in (["leaf"], ["leaf", "other"])
    assert runs.names[-3:] == ["leaf", "mid", "top"] or sorted(runs.names)[:3] == ["leaf", "mid", "other"]
    assert [runs.names.count(name) for name in ("leaf", "mid", "top")] == [1, 1, 1]
    assert repr(flow) == "Flow('top': 4 jobs, 4 completed)"
    sound(redis)


def test_failed_siblings_run_again_in_the_order_in_which_they_were_declared(redis):
    names = [f"row-{i}" for i in range(5)]
    runs = Runs(*names)
    flow = fn.add({"name": "top", "queueName": "q", "children": [optional(name) for name in names]})
    with fn.Worker("q", runs, concurrency=1):
        flow.wait(timeout=20)
    runs.again()
    flow.retry()
    with fn.Worker("q", runs, concurrency=1):
        flow.wait(timeout=20)
    assert runs.names == [*names, "top"]


def test_an_optional_child_that_is_retried_brings_a_completed_flow_back(redis):
    runs = Runs("may")
    flow = fn.add(
        {"name": "top", "queueName": "q", "children": [optional("may"), {"name": "must", "queueName": "q"}]}
    )
    with fn.Worker("q", runs):
        assert flow.result(timeout=20) == {"top": [None, {"must": []}]}
        runs.again()
        assert flow.retry().result(timeout=20) == {"top": [{"may": []}, {"must": []}]}
    assert runs.names == ["may", "top"]
    assert flow.job.get_ignored_children_failures() == {}
    sound(redis)


def test_a_diamond_is_retried_once_and_both_parents_get_the_new_value(redis):
    runs = Runs("shared")
    shared = fn.Node("shared", "q")
    flow = fn.add(fn.Node("top", "q", children=[fn.Node(name, "q", children=[shared]) for name in "ab"]))
    with fn.Worker("q", runs):
        assert flow.wait(timeout=20).state == "failed"
        runs.again()
        assert flow.retry().result(timeout=20) == {"top": [{"a": [{"shared": []}]}, {"b": [{"shared": []}]}]}
    assert sorted(runs.names) == ["a", "b", "shared", "top"]
    sound(redis)


def test_a_retry_of_a_child_reruns_its_grandparent_exactly_once(redis):
    runs = Runs("c1", "c2")
    children = [optional("c1"), optional("c2")]
    mid = {"name": "mid", "queueName": "q", "children": children}
    flow = fn.add({"name": "top", "queueName": "q", "children": [mid]})
    with fn.Worker("q", runs, concurrency=2):
        assert flow.result(timeout=20) == {"top": [{"mid": [None, None]}]}
        runs.again()
        assert flow.retry().result(timeout=20) == {"top": [{"mid": [{"c1": []}, {"c2": []}]}]}
    assert sorted(runs.names) == ["c1", "c2", "mid", "top"]
    sound(redis)


def test_one_job_is_retried_by_itself_and_revives_what_stands_above(redis):
    runs = Runs("leaf")
    leaf = {"name": "leaf", "queueName": "q", "opts": {"jobId": "leaf-1", "attempts": 2}}
    flow = fn.add({"name": "top", "queueName": "q", "children": [leaf]})
    with fn.Worker("q", runs):
        flow.wait(timeout=20)
        job = fn.Queue("q").get_job("leaf-1")
        assert (job.attempts_made, runs.names) == (2, ["leaf", "leaf"])
        job.retry()
        assert flow.wait(timeout=20).state == "failed"
        assert runs.names == ["leaf"] * 4, "attempts start anew"
        runs.again()
        fn.Queue("q").get_job("leaf-1").retry()
        assert flow.result(timeout=20) == {"top": [{"leaf": []}]}
    assert runs.names == ["leaf", "top"]
    sound(redis)


def test_a_parent_cannot_be_retried_while_its_child_is_failed_and_the_words_say_why(redis):
    flow = fn.add({"name": "top", "queueName": "q", "children": [{"name": "leaf", "queueName": "q"}]})
    with fn.Worker("q", Runs("leaf")):
        flow.wait(timeout=20)
    with pytest.raises(
        fn.FlowError, match="'top' failed because its child 'leaf' did; retry that one, or the flow"
    ):
        flow.job.retry()
    sound(redis)


def test_a_job_that_has_not_failed_is_refused(redis):
    job = fn.Queue("q").add("j")
    with pytest.raises(fn.FlowError, match="job 'j' is waiting; only a failed job can be retried"):
        job.retry()


def test_a_retry_under_a_running_parent_is_refused_and_works_when_that_has_ended(redis):
    started, may_end = threading.Event(), threading.Event()

    def top(job):
        started.set()
        assert may_end.wait(20)
        return list(job.get_children_values().values())

    runs = Runs("may")
    flow = fn.add({"name": "top", "queueName": "tops", "children": [optional("may")]})
    with fn.Worker("q", runs), fn.Worker("tops", top):
        assert started.wait(20)
        runs.again()
        with pytest.raises(
            fn.FlowError, match="'may' cannot run again now: 'top' above it runs with what it had"
        ):
            flow.retry()
        may_end.set()
        assert flow.result(timeout=20) == [None]
        assert flow.retry().result(timeout=20) == [{"may": []}]
    sound(redis)


def test_a_retry_of_a_flow_in_which_nothing_failed_changes_nothing(redis):
    runs = Runs()
    flow = fn.add({"name": "top", "queueName": "q", "children": [{"name": "leaf", "queueName": "q"}]})
    with fn.Worker("q", runs):
        flow.result(timeout=20)
        assert flow.retry().result(timeout=20) == {"top": [{"leaf": []}]}
    assert runs.names == ["leaf", "top"]


def test_a_retry_reaches_failures_on_several_levels_in_chunks(redis, monkeypatch):
    from flownb.steering import retry

    monkeypatch.setattr(retry, "JOBS_A_CHANGE", 4)
    runs = Runs("mid", "top", *(f"c{i}" for i in range(10)))
    mids = [optional("mid", children=[optional(f"c{i}") for i in range(10)])]
    flow = fn.add({"name": "top", "queueName": "q", "children": mids})
    with fn.Worker("q", runs, concurrency=3):
        assert flow.wait(timeout=20).state == "failed"
        runs.again()
        assert flow.retry().result(timeout=20) == {"top": [{"mid": [{f"c{i}": []} for i in range(10)]}]}
    assert sorted(runs.names) == sorted(["mid", "top", *(f"c{i}" for i in range(10))])
    sound(redis)


def test_a_retry_that_was_cut_short_is_finished_by_the_next_one(redis, monkeypatch):
    from flownb.steering import retry
    from flownb.wire.store.jobs import Jobs

    monkeypatch.setattr(retry, "JOBS_A_CHANGE", 4)
    runs = Runs(*(f"c{i}" for i in range(10)))
    children = [optional(f"c{i}") for i in range(10)]
    flow = fn.add({"name": "top", "queueName": "q", "children": children})
    asked, ask = [], Jobs.retry

    def cut(self, jobs, **more):
        asked.append(jobs)
        if len(asked) == 2:
            raise fn.ServerUnreachable("cut")
        return ask(self, jobs, **more)

    with fn.Worker("q", runs, concurrency=3):
        flow.result(timeout=20)
        runs.again()
        monkeypatch.setattr(Jobs, "retry", cut)
        with pytest.raises(fn.ServerUnreachable):
            flow.retry()
        assert flow.state == "waiting-children"
        assert flow.retry().result(timeout=20) == {"top": [{f"c{i}": []} for i in range(10)]}
    assert sorted(runs.names) == sorted(["top", *(f"c{i}" for i in range(10))])
    sound(redis)


# ---- batches ------------------------------------------------------------------------------------------------


@pytest.fixture
def rated(redis):
    """Give a batch of six rows, of which two fail as TimeoutError and one as KeyError, and what mends them."""
    runs, mended = [], []

    @fn.task
    def rate(n):
        runs.append(n)
        if n in (1, 4) and not mended:
            raise TimeoutError(f"row {n} took too long")
        if n == 2 and not mended:
            raise KeyError("rate")
        return n * 10

    @fn.task
    def total(frame):
        runs.append("total")
        return int(frame["rate"].sum())

    frame = pd.DataFrame({"n": range(6)}, index=list("abcdef"))

    def make(**more):
        return fn.fan_out(frame, rate, name="rated", **more)

    make.runs, make.mended, make.total = runs, mended, total
    return make


def test_rows_of_one_error_run_again_and_the_aggregate_above_them_once(rated, redis):
    batch = rated(into=rated.total)
    assert batch.result(timeout=20) == 80
    rated.runs.clear()
    rated.mended.append(True)

    assert batch.retry(error="TimeoutError") is batch
    assert batch.result(timeout=20) == 130

    assert sorted(map(str, rated.runs)) == ["1", "4", "total"]
    assert list(batch.failures.index) == ["c"]
    assert batch.results(timeout=20)["rate"].tolist() == [0, 10, pd.NA, 30, 40, 50]
    sound(redis)


def test_rows_are_chosen_by_kind_by_label_or_all_of_them(rated, redis):
    batch = rated()
    batch.wait(timeout=20)
    rated.mended.append(True)
    rated.runs.clear()

    def labels_of_results():
        return batch.results(timeout=20, failed="drop").index.tolist()

    batch.retry(error="TimeoutError: row <n> took too long", rows=["b"])
    assert labels_of_results() == [*"abdf"]
    assert rated.runs == [1]
    batch.retry(rows="e")
    assert labels_of_results() == [*"abdef"]
    assert rated.runs == [1, 4]
    batch.retry()
    assert labels_of_results() == [*"abcdef"]
    assert rated.runs == [1, 4, 2]
    assert batch.result(timeout=20)["rate"].sum() == 150
    sound(redis)


def test_rows_that_cannot_be_retried_are_refused_with_their_label(rated, redis, capsys):
    batch = rated()
    batch.wait(timeout=20)
    rated.runs.clear()
    with pytest.raises(fn.FlowError, match="row 'a' has not failed"):
        batch.retry(rows=["b", "a"])
    with pytest.raises(fn.FlowError, match="there is no row 'x'"):
        batch.retry(rows=["x"])
    capsys.readouterr()
    batch.retry(error="ValueError")
    assert (
        capsys.readouterr().out
        == "batch 'rated': no failed row has the error 'ValueError', nothing runs again\n"
    )
    assert rated.runs == []
    assert len(batch.failures) == 3


def test_1200_rows_run_again_and_their_aggregate_once(redis):
    runs, mended = [], []

    @fn.task
    def rate(n):
        if not mended:
            raise TimeoutError("too long")
        return n

    @fn.task
    def total(frame):
        runs.append(len(frame))
        return int(frame["rate"].sum()) if mended else 0

    batch = fn.fan_out(pd.DataFrame({"n": range(1_200)}), rate, into=total)
    assert batch.result(timeout=60) == 0
    mended.append(True)
    assert batch.retry(error=TimeoutError).result(timeout=60) == sum(range(1_200))
    assert runs == [1_200, 1_200]
    sound(redis)


def test_an_aggregate_that_failed_by_itself_runs_again_without_its_rows(redis):
    runs, mended = [], []

    @fn.task
    def rate(n):
        runs.append(n)
        return n

    @fn.task
    def total(frame):
        runs.append("total")
        if not mended:
            raise ValueError("no")
        return int(frame["rate"].sum())

    batch = fn.fan_out(pd.DataFrame({"n": [1, 2]}), rate, into=total)
    assert batch.wait(timeout=20).state == "failed"
    runs.clear()
    mended.append(True)
    assert batch.retry().result(timeout=20) == 3
    assert runs == ["total"]
    sound(redis)


@pytest.mark.parametrize("rows_per_job", [1, 7, "auto"])
def test_a_batch_that_is_cancelled_and_retried_counts_as_before_the_cancel(rows_per_job, redis):
    @fn.task
    def idle(n):
        return n

    fn.Queue("idle").pause()
    batch = fn.fan_out(pd.DataFrame({"n": range(200)}), idle, rows_per_job=rows_per_job, name="idle")
    before = batch.progress()
    for _ in range(2):
        assert batch.cancel().progress().failed == before.total
        assert batch.retry().progress() == before
    sound(redis)


def test_a_batch_of_which_some_rows_had_ended_counts_as_before_the_cancel(redis):
    @fn.task
    def even(n):
        if n % 2:
            raise ValueError("odd")
        return n

    fn.fan_out(pd.DataFrame({"n": range(30)}), even, rows_per_job=5, name="half").wait(timeout=20)
    fn.Queue("even").pause()
    batch = fn.fan_out(pd.DataFrame({"n": range(100)}), even, rows_per_job=5, name="half")
    before = batch.progress()
    batch.cancel()
    assert batch.retry().progress() == before
    sound(redis)
