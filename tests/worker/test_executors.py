"""Shows jobs that run in other processes: what their functions see, how they end, what is left of a killed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import psutil
import pytest

import flownb as fn
from flownb.worker.interpreter import start_python
from flownb.worker.packed_job import WorkPacker
from tests.support.processes import RUNS_JOBS, alive_below, is_alive


def children_alive():
    """Return the processes this one has started that run jobs."""
    return alive_below(psutil.Process(), RUNS_JOBS)


def finished(until, job):
    until(lambda: job.get_state() in ("completed", "failed"), seconds=60)
    return fn.Queue(job.queue_name).get_job(job.id)


def test_a_function_of_a_cell_runs_in_another_process():
    offset = 40

    def work(job):
        import os

        return [os.getpid(), job.data + offset]

    flows = [fn.add({"name": "j", "queueName": "q", "data": i}) for i in range(4)]
    with fn.Worker("q", work, executor="processes", concurrency=2):
        results = [flow.result(timeout=60) for flow in flows]
        assert len(children_alive()) == 2
    assert [value for _, value in results] == [40, 41, 42, 43]
    assert os.getpid() not in {pid for pid, _ in results}
    assert not children_alive()


def test_r21_the_job_is_whole_in_the_other_process(until):
    def parent(job):
        job.update_progress(50)
        job.log("half way")
        job.update_data({"seen": True})
        more = job.add_children([{"name": "late", "queueName": "late", "data": 7}])
        values = list(job.get_children_values().values())
        return [job.name, job.attempts_made, values, more, list(job.get_ignored_children_failures().values())]

    early = {"name": "early", "queueName": "late", "data": 3}
    bad = {"name": "bad", "queueName": "late", "data": None, "opts": {"failParentOnFailure": False}}
    flow = fn.add({"name": "top", "queueName": "top", "children": [early, bad]})

    def late(job):
        return job.data * 2

    with fn.Worker("top", parent, executor="processes"), fn.Worker("late", late):
        name, made, values, more, reasons = flow.result(timeout=60)
    assert (name, made, values, more) == ("top", 0, [6, None, 14], [14])
    assert reasons[0].startswith("TypeError: unsupported operand")
    assert (flow.job.progress, flow.job.data, flow.job.get_logs()) == (50, {"seen": True}, ["half way"] * 2)


def test_tasks_run_there_with_their_arguments_and_a_redefined_one_runs_its_new_code():
    def define(answer):
        @fn.task
        def load(x):
            return [x, answer]

        return load

    @fn.task
    def add_up(parts, job):
        return [job.name, *parts]

    with fn.workers(concurrency=2, executor="processes"):
        flow = fn.add(add_up.node([define("old").node(1)]))
        assert flow.result(timeout=60) == ["add_up", [1, "old"]]
        assert fn.add(define("new").node(2)).result(timeout=60) == [2, "new"]


def test_a_coroutine_and_a_rate_limit_and_an_error_are_what_they_are_in_a_thread(until):
    async def work(job):
        import asyncio

        import flownb

        await asyncio.sleep(0)
        if job.name == "limited" and job._record.attempts_started == 1:
            raise flownb.RateLimitError(0.05)
        if job.name == "bad":
            raise ValueError("no good")
        return job.name

    queue = fn.Queue("q")
    jobs = [queue.add(name, opts={"attempts": 2}) for name in ("good", "limited", "bad")]
    with fn.Worker("q", work, executor="processes"):
        good, limited, bad = (finished(until, job) for job in jobs)
    assert (good.returnvalue, limited.returnvalue, limited.attempts_made) == ("good", "limited", 1)
    assert (bad.failed_reason, bad.attempts_made) == ("ValueError: no good", 2)
    assert "no good" in bad.stacktrace[0]
    assert "flownb/worker" not in bad.stacktrace[0]


def test_what_a_function_prints_and_reads_does_not_disturb_its_answer(until):
    def work(job):
        import sys

        print("printed", flush=True)
        return sys.stdin.read()

    job = fn.Queue("q").add("j")
    with fn.Worker("q", work, executor="processes"):
        assert finished(until, job).returnvalue == ""


def test_a_function_in_a_process_hears_that_nobody_needs_it_any_more(until):
    def work(job):
        import time

        job.log("runs")
        while not job.is_cancelled():
            time.sleep(0.01)
        job.log("heard")  # raises Cancelled

    flow = fn.add({"name": "j", "queueName": "q", "opts": {"attempts": 3}})
    with fn.Worker("q", work, executor="processes"):
        until(lambda: flow.job.get_logs() == ["runs"], seconds=60)
        flow.cancel()
        until(lambda: flow.job.get_state() == "failed")
    assert (flow.state, flow.job.get_logs()) == ("cancelled", ["runs"])


# ---- timeouts, crashes, ends --------------------------------------------------------------------------------


def test_an_attempt_past_its_timeout_is_killed_and_the_others_are_not(redis, until):
    def work(job):
        import time

        job.log(str(__import__("os").getpid()))
        while job.name == "hangs":
            time.sleep(0.01)
        while not job._store.server.client.exists("gate"):
            time.sleep(0.01)
        return "done"

    queue = fn.Queue("q")
    other = queue.add("other")
    job = queue.add("hangs", opts={"timeout": 2000, "attempts": 2})
    with fn.Worker("q", work, executor="processes", concurrency=2):
        job = finished(until, job)
        pids = [int(pid) for pid in job.get_logs()]
        until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
        redis.set("gate", 1)
        other = finished(until, other)
    assert (job.failed_reason, job.attempts_made) == ("JobTimeout: ran longer than its timeout of 2 s", 2)
    assert len(set(pids)) == 2
    assert (other.returnvalue, other.attempts_made, len(other.get_logs())) == ("done", 1, 1)


class SlowToLoad:
    """Takes seconds to load in another process, as a large package does."""

    def __reduce__(self):
        return time.sleep, (2,)


def test_what_a_new_process_loads_is_no_part_of_an_attempts_time(connection, until):
    package = SlowToLoad()

    def work(job):
        return str(package)

    job = fn.Queue("q").add("quick", opts={"timeout": 1500})
    with fn.Worker("q", work, executor="processes"):
        job = finished(until, job)
    assert job.failed_reason is None
    assert job.returnvalue == "None"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("import os; os._exit(3)", "the process that ran it ended with exit code 3"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "the process that ran it died of SIGKILL; out of memory, perhaps",
        ),
        ("import ctypes; ctypes.string_at(0)", "the process that ran it died of SIGSEGV"),
    ],
)
def test_a_process_that_dies_is_a_failed_attempt_and_the_next_job_has_a_new_one(until, end, reason):
    def work(job):
        if job.data:
            exec(job.data)
        return "alive"

    queue = fn.Queue("q")
    jobs = queue.add_bulk(
        [{"name": "dies", "data": end, "opts": {"attempts": 2}}, {"name": "lives", "data": ""}]
    )
    with fn.Worker("q", work, executor="processes"):
        dead, alive = (finished(until, job) for job in jobs)
    assert (dead.failed_reason, dead.attempts_made) == (f"JobCrashed: {reason}", 2)
    assert alive.returnvalue == "alive"


def test_closing_leaves_no_process_and_gives_a_running_job_back(until):
    def work(job):
        import subprocess

        subprocess.run(["sleep", "1000"])

    job = fn.Queue("q").add("j")
    worker = fn.Worker("q", work, executor="processes").start()
    mine = until(lambda: alive_below(psutil.Process(), "sleep 1000"), 60)
    worker.close(grace=0)
    assert job.get_state() == "waiting"
    until(lambda: not any(map(is_alive, mine)))
    assert not children_alive()


def test_a_killed_worker_leaves_no_process_behind(redis, start_worker, until):
    fn.Queue("q").add("j")
    worker = start_worker("q", "gated", executor="processes")
    until(lambda: redis.llen("ran") == 1, seconds=60)
    (running,) = alive_below(psutil.Process(worker.process.pid), RUNS_JOBS)
    worker.kill()
    until(lambda: not is_alive(running))


@pytest.mark.parametrize("action", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_the_whole_group_ends_the_worker_and_finishes_the_job(
    server_folder, redis, until, action
):
    """As Ctrl-C does to a script, and a kernel's interrupt to all that the kernel has started."""
    script = (
        "import sys, time, flownb as fn\n"
        f"fn.connect(path={str(server_folder)!r})\n"
        "def work(job):\n"
        "    job.log('runs')\n"
        "    while not job._store.server.client.exists('gate'):\n"
        "        time.sleep(0.01)\n"
        "    return 'whole'\n"
        "fn.Worker('q', work, executor='processes').run()\n"
    )
    job = fn.Queue("q").add("j")
    root = os.path.dirname(os.path.dirname(fn.__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, env={**os.environ, "PYTHONPATH": root}
    )
    try:
        until(lambda: job.get_logs(), seconds=60)
        os.killpg(process.pid, action)
        redis.set("gate", 1)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    job = fn.Queue("q").get_job(job.id)
    assert (job.get_state(), job.returnvalue, job.attempts_made) == ("completed", "whole", 1)


# ---- executors of somebody else -----------------------------------------------------------------------------


def executors():
    import multiprocessing

    import loky

    yield "threads", lambda: ThreadPoolExecutor(2)
    yield "spawn", lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    yield "loky", lambda: loky.ProcessPoolExecutor(2)


@pytest.mark.parametrize("make", [make for _, make in executors()], ids=[name for name, _ in executors()])
def test_any_executor_will_do(make):
    factor = 3

    def work(job):
        return factor * job.data

    flows = [fn.add({"name": "j", "queueName": "q", "data": i}) for i in range(5)]
    with make() as executor, fn.Worker("q", work, executor=executor, concurrency=2):
        assert [flow.result(timeout=60) for flow in flows] == [0, 3, 6, 9, 12]


def test_an_executor_that_broke_fails_what_ran_in_it_and_nothing_that_waits(until, caplog):
    import loky

    def work(job):
        if job.data:
            import os

            os._exit(1)
        return "ran"

    queue = fn.Queue("q")
    dies, waits = queue.add_bulk([{"name": "dies", "data": 1}, {"name": "waits", "data": 0}])
    with loky.ProcessPoolExecutor(1) as executor:
        with fn.Worker("q", work, executor=executor):
            dead = finished(until, dies)
            until(lambda: "the executor takes no jobs" in caplog.text, seconds=60)
        assert dead.failed_reason.startswith("JobCrashed: the executor broke while it ran")
        assert (waits.get_state(), fn.Queue("q").get_job(waits.id).attempts_made) == ("waiting", 0)
    with fn.Worker("q", work, executor="processes"):
        assert finished(until, waits).returnvalue == "ran"


class Odd(ThreadPoolExecutor):
    """Takes jobs, and loses the first."""

    def __init__(self):
        super().__init__(1)
        self.lost = False

    def submit(self, *call):
        future = super().submit(*call) if self.lost else Future()
        if not self.lost:
            self.lost = True
            future.set_exception(ConnectionError("the scheduler is gone"))
        return future


def test_an_error_of_the_executor_itself_is_a_failed_attempt_and_the_slot_goes_on(until):
    queue = fn.Queue("q")
    first, second = queue.add_bulk([{"name": "j"}, {"name": "j"}])
    with Odd() as executor, fn.Worker("q", lambda job: "ran", executor=executor):
        first, second = finished(until, first), finished(until, second)
    assert first.failed_reason == "JobCrashed: the executor broke while it ran: the scheduler is gone"
    assert second.returnvalue == "ran"


def test_a_process_whose_worker_was_killed_while_it_ran_ends_without_a_word():
    """Its answer meets a closed pipe before it sees that no further job comes."""
    process = start_python("flownb.worker.job_process", isolated=False, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == -signal.SIGKILL
    process.stdin.close()
    process.stderr.close()


def test_a_process_that_cannot_be_started_fails_the_attempt_and_the_next_one_may_do(until, monkeypatch):
    from flownb.worker import job_process as process

    spawn, tries = process.start_python, []

    def spawn_late(*given, **more):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("Resource temporarily unavailable")
        return spawn(*given, **more)

    monkeypatch.setattr(process, "start_python", spawn_late)
    job = fn.Queue("q").add("j", opts={"attempts": 2})
    with fn.Worker("q", lambda job: "ran", executor="processes"):
        job = finished(until, job)
    assert (job.returnvalue, job.attempts_made) == ("ran", 2)
    assert "its process could not be started" in job.failed_reason


# ---- refused ------------------------------------------------------------------------------------------------


def test_without_cloudpickle_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(fn.OptionError, match=r'pip install "flownb\[process\]"'):
        fn.Worker("q", len, executor="processes")
    fn.Worker("q", len, executor="threads")


@pytest.mark.parametrize("executor", ["process", 4, None, ProcessPoolExecutor])
def test_what_is_no_executor_is_refused(executor):
    with pytest.raises(fn.OptionError, match="executor: 'threads', 'processes' or a concurrent"):
        fn.Worker("q", len, executor=executor)


def test_a_function_that_cannot_be_sent_fails_its_job_once_and_says_why(until):
    lock = threading.Lock()

    def work(job):
        return lock

    job = fn.Queue("q").add("j", opts={"attempts": 3})
    with fn.Worker("q", work, executor="processes"):
        job = finished(until, job)
    assert job.attempts_made == 1
    assert "sent to another process: lock cannot be packed (TypeError: cannot pickle" in job.failed_reason
    assert "make inside the function what cannot be packed" in job.failed_reason


def test_a_function_that_cannot_be_made_there_says_so(until, monkeypatch):
    import types

    module = types.ModuleType("only_here")
    exec("def work(job): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    job = fn.Queue("q").add("j")
    with fn.Worker("q", module.work, executor="processes"):
        job = finished(until, job)
    assert (
        "cannot be made in another process: ModuleNotFoundError: No module named 'only_here'"
        in job.failed_reason
    )


def test_nothing_of_a_job_is_packed_for_threads(until, monkeypatch):
    monkeypatch.setattr(WorkPacker, "pack", None)
    seen = []
    job = fn.Queue("q").add("j")
    with ThreadPoolExecutor(1) as executor, fn.Worker("q", lambda job: seen.append(1), executor=executor):
        finished(until, job)
    assert seen == [1]
