"""Shows what `wait`, `result`, `progress`, `jobs`, `draw` and the text of a flow say at each stage of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import flownb as fn
from flownb.api.job_end import pause_after

ROOT = str(Path(fn.__file__).parents[1])


def tree(children=2, **opts):
    rows = [
        {"name": f"row-{i}", "queueName": "rows", "data": {"i": i}, "opts": opts} for i in range(children)
    ]
    return {"name": "total", "queueName": "totals", "children": rows}


def test_wait_gives_the_flow_however_it_ended():
    flow = fn.add(tree())
    with fn.Worker("rows", lambda job: 1 / job.data["i"]):
        assert flow.wait(timeout=20) is flow
    assert flow.state == "failed"
    assert flow.wait() is flow


def test_past_its_timeout_a_wait_says_how_far_the_flow_is_and_what_it_waits_for():
    flow = fn.add(tree())
    for wait in (flow.wait, flow.result):
        with pytest.raises(TimeoutError) as late:
            wait(timeout="100ms")
        assert str(late.value) == (
            "Flow('total': 3 jobs) has not ended after 0.1 s; total > row-0 and 1 more: no worker serves queue 'rows'; "
            "start one: Worker('rows', function), or flownb worker MODULE with its task "
            "(1 more reason: explain() tells it)"
        )


def test_a_wait_of_no_time_looks_once():
    flow = fn.add(tree(0))
    with pytest.raises(TimeoutError):
        flow.wait(timeout=0)
    with fn.Worker("totals", lambda job: 5):
        flow.wait(timeout=20)
    assert flow.wait(timeout=0).result(timeout=0) == 5


@pytest.mark.parametrize("waited", [0.0, 0.01, 0.5, 2.0, 3600.0])
def test_an_end_is_seen_a_tenth_later_at_most_and_a_long_wait_asks_four_times_a_second(waited):
    assert pause_after(waited) <= max(waited / 10, 0.002)
    assert pause_after(waited) >= min(waited / 10, 0.25), "so a wait of seconds asks some hundred times"


def test_a_wait_for_a_paused_queue_says_so(until):
    flow = fn.add(tree())
    queue = fn.Queue("rows")
    queue.pause()
    with (
        fn.Worker("rows", lambda job: None),
        pytest.raises(
            TimeoutError, match=r"queue 'rows' is paused; resume it with Queue\('rows'\).resume\(\)"
        ),
    ):
        flow.wait(timeout=0.1)


def test_a_wait_for_a_running_job_names_it():
    started, may_end = threading.Event(), threading.Event()

    def work(job):
        started.set()
        assert may_end.wait(20)

    flow = fn.add(tree(1))
    with fn.Worker("rows", work), fn.Worker("totals", work):
        assert started.wait(20)
        with pytest.raises(TimeoutError, match=r"total > row-0: running for .*; wait"):
            flow.wait(timeout=0.1)
        may_end.set()
        flow.wait(timeout=20)


def test_a_failed_flow_tells_the_deepest_cause_with_its_path():
    leaf = {"name": "leaf", "queueName": "leaf"}
    flow = fn.add(
        {"name": "top", "queueName": "t", "children": [{"name": "mid", "queueName": "m", "children": [leaf]}]}
    )

    def work(job):
        raise KeyError("price\nof the year")

    with fn.Worker("leaf", work), pytest.raises(fn.FlowFailed) as failure:
        flow.result(timeout=20)
    assert str(failure.value) == r"flow 'top' failed: top > mid > leaf: KeyError: 'price\nof the year'"


def test_a_failed_root_tells_its_own_reason():
    flow = fn.add(tree(0))
    with fn.Worker("totals", lambda job: 1 / 0), pytest.raises(fn.FlowFailed) as failure:
        flow.result(timeout=20)
    assert str(failure.value) == "flow 'total' failed: total: ZeroDivisionError: division by zero"


INTERRUPTED = """
import sys
import flownb as fn
fn.connect(path=sys.argv[1])
flow = fn.add({"name": "j", "queueName": "q"}, name="interrupted")
try:
    print("waits", flush=True)
    flow.wait()
except KeyboardInterrupt:
    print("interrupted", flow.state, flush=True)
"""


def test_an_interrupted_wait_leaves_the_flow_running(server_folder):
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(server_folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted waiting\n"
        assert process.wait(20) == 0
    with fn.Worker("q", lambda job: "went on"):
        assert fn.attach("interrupted").result(timeout=20) == "went on"


def test_jobs_are_a_frame_with_one_row_each(until):
    flow = fn.add(tree(3, failParentOnFailure=False))

    def work(job):
        if job.data["i"] == 1:
            raise ValueError("odd")

    with fn.Worker("rows", work):
        until(lambda: flow.state == "waiting")
    jobs = flow.jobs()
    assert list(jobs.columns) == ["name", "queue", "state", "attempts", "wait_s", "run_s", "error"]
    assert jobs["name"].tolist() == ["total", "row-0", "row-1", "row-2"]
    assert jobs["state"].tolist() == ["waiting", "completed", "failed", "completed"]
    assert jobs["error"].fillna("").tolist() == ["", "", "ValueError: odd", ""]
    assert flow.jobs("failed")["name"].tolist() == ["row-1"]
    assert flow.jobs("delayed").empty
    with pytest.raises(fn.OptionError, match=r"state: 'waiting', 'active', .*, not 'done'"):
        flow.jobs("done")


@pytest.mark.parametrize(("children", "nodes"), [(0, 1), (3, 4), (1000, 2)])
def test_the_picture_has_a_node_a_job_and_one_for_many_alike(children, nodes):
    flow = fn.add(tree(children))
    assert repr(flow.draw()) == repr(fn.draw(tree(children)))
    assert f"{nodes} node" in repr(flow.draw())
    source = flow.draw().source
    assert ("row-*" in source) == (children > 4)


def test_progress_counts_the_whole_tree_of_every_shape(until):
    deep = {"name": "d0", "queueName": "rows"}
    for depth in range(1, 6):
        deep = {"name": f"d{depth}", "queueName": "rows", "children": [deep]}
    wide = tree(50)
    both = {"name": "both", "queueName": "totals", "children": [deep, wide]}
    for made, total in ((deep, 6), (wide, 51), (both, 58)):
        flow = fn.add(made)
        assert (flow.progress().total, flow.progress().fraction) == (total, 0.0)
        with fn.Worker(["rows", "totals"], lambda job: None, concurrency=4):
            flow.wait(timeout=20)
        assert (flow.progress().completed, flow.progress().fraction) == (total, 1.0)
        assert flow.progress().stages["total"].sum() == total


def test_the_text_of_a_flow_is_the_same_in_every_run(redis):
    def shown():
        redis.flushall()
        flow = fn.add(tree(30), name="report")
        before = repr(flow), str(flow), repr(flow.job), repr(flow.progress()), repr(flow.draw())
        with fn.Worker(["rows", "totals"], lambda job: None, concurrency=3):
            flow.wait(timeout=20)
        return *before, repr(flow), str(flow), repr(flow.draw())

    first = shown()
    assert first == shown()
    assert first[0] == "Flow('report': 31 jobs)"
    assert first[5] == "Flow('report': 31 jobs, 31 completed)"
    assert first[2] == "Job('total' in 'totals')"


def test_a_flow_that_is_gone_still_has_a_text_and_nobody_waits_for_it(redis):
    flow = fn.add(tree(), name="report")
    redis.flushall()
    assert repr(flow) == "Flow('report')"
    for ask in (flow.wait, flow.result, flow.draw, lambda: flow.state, lambda: flow.job):
        with pytest.raises(fn.JobMissing, match="on this server"):
            ask()


def test_attach_finds_a_flow_by_name_by_root_and_by_any_job_of_it():
    flow = fn.add(tree(), name="report")
    child = next(iter(fn.Queue("rows").get_jobs("waiting")))
    for name in ("report", f"totals:{flow.job.id}", f"rows:{child.id}", f"bull:rows:{child.id}"):
        assert fn.attach(name).job.id == flow.job.id
    newer = fn.add(tree(), name="report")
    assert fn.attach("report").job.id == newer.job.id


@pytest.mark.parametrize("name", ["nothing", "rows:nothing", "a:b:c:d"])
def test_attach_to_nothing_says_so(name):
    with pytest.raises(fn.JobMissing, match="on this server"):
        fn.attach(name)


def test_one_handle_serves_several_threads(until):
    flow = fn.add(tree(20))
    values = []
    threads = [threading.Thread(target=lambda: values.append(flow.result(timeout=20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    with fn.Worker("rows", lambda job: 1), fn.Worker("totals", lambda job: len(job.get_children_values())):
        for thread in threads:
            thread.join(20)
    assert values == [20] * 8


def test_await_gives_what_result_gives_while_the_loop_goes_on(in_loop, until):
    ticks, may_end = [], threading.Event()

    def work(job):
        may_end.wait(20)
        return 7

    async def tick():
        while True:
            ticks.append(1)
            if len(ticks) == 20:
                may_end.set()
            await asyncio.sleep(0.001)

    async def main():
        ticking = asyncio.create_task(tick())
        with fn.Worker("q", work):
            value = await fn.add({"name": "total", "queueName": "q"})
        ticking.cancel()
        return value

    assert in_loop(main()) == 7  # for ever, if the await held the loop: the job ends after twenty ticks


def test_await_raises_what_result_raises(in_loop):
    async def main():
        with fn.Worker("q", lambda job: 1 / 0):
            await fn.add({"name": "total", "queueName": "q"})

    with pytest.raises(fn.FlowFailed, match="total: ZeroDivisionError"):
        in_loop(main())


def test_a_cancelled_await_leaves_the_flow_running_and_its_thread_ends(in_loop, until):
    flow = fn.add({"name": "total", "queueName": "q"})

    async def main():
        waiting = asyncio.ensure_future(flow)
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    in_loop(main())
    until(lambda: not [one for one in threading.enumerate() if one.name.endswith("-await")])
    with fn.Worker("q", lambda job: 7):
        assert flow.result(timeout=20) == 7
