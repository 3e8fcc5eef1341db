"""Shows that a batch counts its rows as they are, whenever it is cancelled and retried: in all, and at each step."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import flownb as fn
from tests.support.stages import stages

pytestmark = pytest.mark.usefixtures("connection")

ROWS = 12


class Cancel(NamedTuple):
    """The batch is cancelled while the row of this number is in this step."""

    step: str
    row: int
    until_all_ended: bool  #: is it retried once what ran has ended, or at once?


class Pipeline:
    """Steps with and without jobs of their own. A row may be held in one of them, and fails at one of them."""

    def __init__(self):
        self.held: Cancel | None = None
        self.is_held, self.gate = threading.Event(), threading.Event()

        @fn.task
        def first(n):
            return self._step("first", n)

        @fn.task
        def beside(n):
            return self._step("beside", n, fails=n % 5 == 0)

        @fn.task(concurrency=2)
        def narrow(n):
            return self._step("narrow", n, fails=n % 4 == 1)

        @fn.task(queue="apart")
        def apart(n):
            return self._step("apart", n, fails=n % 7 == 2)

        self.tasks = {task.name: task for task in (first, beside, narrow, apart)}

    def _step(self, name, n, fails=False):
        if self.held is not None and self.held[:2] == (name, n):
            self.held = None
            self.is_held.set()
            assert self.gate.wait(60)
        if fails:
            raise ValueError(f"{n} in {name}")
        return n

    def hold(self, cancel):
        self.is_held.clear()
        self.gate.clear()
        self.held = cancel

    def wait_for_it(self, batch, until):
        """Wait until the row is in its step; it may have failed before."""
        until(lambda: self.is_held.is_set() or batch.state in ("completed", "failed"))


@pytest.fixture
def pipeline():
    return Pipeline()


STEPS = st.lists(st.sampled_from(["beside", "narrow", "apart"]), unique=True, min_size=1).map(
    lambda names: ["first", *names]
)
CANCELS = st.builds(
    Cancel, st.sampled_from(["first", "narrow", "apart"]), st.integers(0, ROWS - 1), st.booleans()
)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(steps=["first", "narrow", "apart"], cancels=[Cancel("first", 5, True)])
@example(steps=["first", "beside", "apart"], cancels=[Cancel("first", 2, True)] * 2)
@given(steps=STEPS, cancels=st.lists(CANCELS, min_size=1, max_size=3))
def test_the_counts_say_what_the_rows_say_after_any_cancels_and_retries(pipeline, until, steps, cancels):
    pipeline.hold(cancels[0])
    frame = pd.DataFrame({"n": range(ROWS)})
    tasks = [pipeline.tasks[name] for name in steps]
    rows_per_job = "auto" if "narrow" in steps else 4
    batch = fn.fan_out(frame, tasks, rows_per_job=rows_per_job, name="b")
    for number, cancel in enumerate(cancels):
        if number:
            pipeline.hold(cancel)
            batch.retry()
        pipeline.wait_for_it(batch, until)
        batch.cancel()
        pipeline.gate.set()
        if cancel.until_all_ended:
            until(lambda: "active" not in set(batch.table()["_state"]))
    batch.retry().wait(timeout=60)

    table, progress = batch.table(), batch.progress()
    rows = Counter(table["_state"])
    assert (progress.completed - 1, progress.failed) == (rows["completed"], rows["failed"])
    failed, reached = Counter(batch.failures["step"]), ROWS
    lines = stages(batch)
    for step in steps:
        line = Counter(lines[step])
        assert (line["completed"], line["failed"], line["total"]) == (
            reached - failed[step],
            failed[step],
            reached,
        ), f"{step}: {lines}, {failed}"
        reached -= failed[step]
    assert fn.doctor().empty
    batch.remove()


@pytest.mark.parametrize("options", [{"queue": "apart"}, {"limiter": "1000/s"}])
def test_rows_that_wait_for_another_attempt_of_a_step_have_not_failed(until, options):
    may_answer = threading.Event()

    @fn.task
    def first(n):
        return n

    @fn.task(attempts=3, backoff="1h", **options)
    def ask(first):
        if not may_answer.is_set():
            raise ConnectionError("busy")
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(4)}), [first, ask], name="b")
    until(lambda: set(batch.table()["_state"]) == {"delayed"})
    assert stages(batch)["ask"] == {"delayed": 4, "total": 4}
    for shown in (str(batch), batch.draw().source):
        assert "4 delayed" in shown
        assert "failed" not in shown
    may_answer.set()
    for job in fn.Queue("apart" if "queue" in options else "ask").get_jobs(["delayed"]):
        job.promote()
    batch.wait(timeout=60)
    assert stages(batch)["ask"] == {"completed": 4, "total": 4}


def test_rows_that_a_cancel_ended_have_failed_while_others_still_run(until):
    gate = threading.Event()

    @fn.task
    def first(n):
        return n

    @fn.task(concurrency=2)
    def slow(first):
        assert gate.wait(60)
        return first

    batch = fn.fan_out(pd.DataFrame({"n": range(10)}), [first, slow], name="b")
    until(lambda: stages(batch)["slow"].get("active") == 2 and stages(batch)["first"].get("completed") == 10)
    batch.cancel()
    until(lambda: Counter(batch.table()["_state"]) == {"failed": 8, "active": 2})
    try:
        progress = batch.progress()
        assert (progress.active, progress.failed) == (2, 8 + 1)  # and the batch
        assert stages(batch)["slow"] == {"active": 2, "failed": 8, "total": 10}
        assert "8 failed" in repr(batch)
    finally:
        gate.set()
