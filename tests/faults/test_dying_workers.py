"""Shows what the death of a worker costs, wherever it is: what had begun and was not written runs again, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import flownb as fn
from tests.support.execution_log import FILE, Kill
from tests.support.fleet import ROOT


@pytest.mark.parametrize(
    ("place", "least", "most"),
    [
        ("after_fetch@1", 0, 0),  # nothing of what came has begun
        ("before_run@1", 0, 3),  # the other slots may have begun
        ("after_run@3", 1, 4),
        ("before_finish@3", 1, 20),
        ("after_finish_sent@3", 0, 20),  # what was sent is written; what ended since is not
    ],
)
def test_a_death_at_a_named_place_repeats_only_what_had_begun_and_was_not_written(
    scene, until, place, least, most
):
    scene.add(60, 0.01)
    worker = scene.worker(failpoint=place)
    assert worker.process.wait(20) == -signal.SIGKILL
    scene.kills.append(Kill(worker.pid, time.time(), time.time()))
    scene.worker()
    assert least <= scene.check().again <= most


def test_what_was_sent_before_a_death_is_final(scene, ended):
    """The server has ended these jobs, and the worker died without having seen that."""
    scene.add(12)
    worker = scene.worker(failpoint="after_finish_sent@1")
    assert worker.process.wait(20) == -signal.SIGKILL
    final = {id.decode() for id in scene.client.zrange("bull:leaf:completed", 0, -1)}
    keys = {scene.client.hget(f"bull:leaf:{id}", "name").decode() for id in final}
    assert keys
    scene.kills.append(Kill(worker.pid, time.time(), time.time()))
    scene.worker()
    scene.check()
    assert {len(of_key) for key, of_key in scene.runs().items() if key in keys} == {1}


def test_workers_on_machines_that_are_gone_cost_a_lease_and_two_checks(scene, until):
    """Nobody on another machine hears of the death: the lease must run out. Nothing is lost all the same."""
    scene.add(40, 0.05)
    for _ in range(2):
        worker = scene.worker()
        begun = scene.begun()
        until(lambda begun=begun: scene.begun() > begun + 5)
        scene.kill(worker, keeper=True)
    scene.worker()
    runs = scene.check()
    assert 0 < runs.again <= sum(runs.begun_at_kills)


def test_a_worker_told_to_stop_by_a_signal_gives_back_what_has_not_begun_and_repeats_nothing(scene, until):
    """As `docker stop` or a pod's end does it: SIGTERM, once, in the middle of everything."""
    program = (
        "import flownb as fn, sys\n"
        "from tests.support.fault_functions import run\n"
        "fn.connect(sys.argv[1])\n"
        "fn.Worker(['leaf', 'middle', 'total'], run, concurrency=4).run()\n"
    )
    scene.add(60, 0.02)
    for stop in range(2):
        env = {**os.environ, "PYTHONPATH": ROOT, FILE: str(scene.log)}
        with subprocess.Popen([sys.executable, "-c", program, scene.server.url], env=env) as process:
            until(lambda stop=stop: scene.begun() > 15 * (stop + 1))
            process.terminate()
            assert process.wait(20) == 0
    scene.worker()
    assert scene.check().again == 0
    assert scene.charged() == 0


def test_two_processes_forked_from_one_are_two_workers(scene):
    """Both have the same name and the same memory; their leases differ, so neither ends the other's jobs."""
    program = (
        "import os, sys, flownb as fn\n"
        "from tests.support.fault_functions import run\n"
        "fn.connect(sys.argv[1])\n"
        "os.fork()\n"
        "with fn.Worker(['leaf', 'middle', 'total'], run, concurrency=4, name='twin'):\n"
        "    sys.stdin.read()\n"
    )
    flow = scene.add(200, 0.02)  # long enough for both to come
    env = {**os.environ, "PYTHONPATH": ROOT, FILE: str(scene.log)}
    with subprocess.Popen(
        [sys.executable, "-c", program, scene.server.url], env=env, stdin=subprocess.PIPE
    ) as process:
        flow.wait(timeout=30)
        process.stdin.close()
    assert len({run.process for of_key in scene.runs().values() for run in of_key}) == 2
    assert scene.check().again == 0


def test_a_function_that_needs_more_memory_than_there_is_fails_and_its_neighbours_do_not(scene, until):
    queue = fn.Queue("hungry", connection=scene.connection)
    jobs = queue.add_bulk([{"name": f"j{i}", "data": 10**12 if i == 7 else 10} for i in range(20)])
    scene.worker(queues="hungry", function="hungry", memory=4 << 30)
    until(lambda: sum(queue.get_job_counts()[state] for state in ("completed", "failed")) == 20)
    states = [job.get_state() for job in jobs]
    assert states == ["failed" if i == 7 else "completed" for i in range(20)]
    assert "MemoryError" in queue.get_job(jobs[7].id).failed_reason
