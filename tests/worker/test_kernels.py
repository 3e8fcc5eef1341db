"""Shows processes that a real notebook kernel starts: functions of its cells, an interrupt, a restart; schedules outlive it."""

from __future__ import annotations

import os
import queue
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

import flownb as fn
from tests.support.processes import RUNS_JOBS, alive_below, is_alive

ROOT = str(Path(fn.__file__).parents[1])


class Notebook:
    """A kernel, and its cells as they are run."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": ROOT}
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", cwd=str(folder), env=environment, startup_timeout=120
        )

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.manager.provisioner.pid)

    def job_processes(self) -> list[psutil.Process]:
        return alive_below(self.process, RUNS_JOBS)

    def send(self, cell: str) -> str:
        return self.client.execute(cell)

    def receive(self, cell_id: str) -> str:
        """Return what a cell printed, once it has ended; of an error its name."""
        text = ""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=120)
            except queue.Empty:
                raise AssertionError(f"the cell did not end; it printed {text!r}") from None
            if message["parent_header"].get("msg_id") != cell_id:
                continue
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                text += content["text"]
            elif message["msg_type"] == "error":
                text += content["ename"]
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return text

    def run(self, cell: str) -> str:
        return self.receive(self.send(cell))


@pytest.fixture
def notebook(tmp_path):
    made = Notebook(tmp_path)
    yield made
    made.client.stop_channels()
    made.manager.shutdown_kernel(now=True)


DEFINE = """
factor = 10

def helper(x):
    return factor * x

@fn.task(attempts=1)
def work(x):
    return [helper(x), os.getpid() != kernel]
"""


def test_functions_of_cells_run_in_processes_and_cells_run_again_change_them(notebook):
    notebook.run("import os, time, flownb as fn\nkernel = os.getpid()\n" + DEFINE)
    notebook.run("workers = fn.workers(concurrency=2, executor='processes').start()")
    assert notebook.run("print(fn.add(work.node(4)).result(timeout=100))") == "[40, True]\n"
    assert notebook.run("factor = 5\nprint(fn.add(work.node(4)).result(timeout=100))") == "[20, True]\n"
    notebook.run("def helper(x):\n    return f'new {x}'")
    assert notebook.run("print(fn.add(work.node(4)).result(timeout=100))") == "['new 4', True]\n"


def test_an_interrupt_ends_the_cell_that_waits_and_not_the_job(notebook, tmp_path, until):
    notebook.run("import os, time, flownb as fn\n")
    notebook.run(
        "def work(job):\n"
        "    job.log('runs')\n"
        "    while not os.path.exists('gate'):\n"
        "        time.sleep(0.01)\n"
        "    return 'whole'\n"
        "worker = fn.Worker('q', work, executor='processes').start()\n"
        "flow = fn.add({'name': 'j', 'queueName': 'q'})\n"
        "while not flow.job.get_logs():\n"
        "    time.sleep(0.05)\n"
    )
    waits = notebook.send("print('waits', flush=True)\nflow.wait()")
    until(lambda: notebook.client.get_iopub_msg(timeout=60)["msg_type"] == "stream")
    notebook.manager.interrupt_kernel()
    assert notebook.receive(waits).endswith("KeyboardInterrupt")
    (tmp_path / "gate").touch()
    assert notebook.run("print(flow.result(timeout=100), flow.job.attempts_made)") == "whole 1\n"


@pytest.mark.parametrize("now", [True, False])
def test_a_restart_leaves_no_process(notebook, until, now):
    notebook.run("import time, flownb as fn\ndef work(job):\n    job.log('runs')\n    time.sleep(1000)\n")
    notebook.run("worker = fn.Worker('q', work, executor='processes').start()")
    notebook.run("job = fn.Queue('q').add('j')\nwhile not job.get_logs():\n    time.sleep(0.05)\n")
    (running,) = notebook.job_processes()
    notebook.manager.restart_kernel(now=now)
    until(lambda: not is_alive(running))


SCHEDULE = """
import time, flownb as fn

@fn.task
def day():
    return 7

schedule = fn.every("1s", day, name="n", overlap="allow")

def wait_for(count):
    while len(found := fn.flows(state="completed")) < count:
        time.sleep(0.05)
    return found
"""


def test_a_schedule_outlives_the_kernel_and_the_server_that_went_with_it(notebook):
    assert notebook.run(SCHEDULE) == "flownb: this kernel serves day with 4 threads\n"
    notebook.run("first = wait_for(2)")
    notebook.process.kill()
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=100)

    again = notebook.run(SCHEDULE)

    assert "flownb: schedule 'n' is there already and stays as it is\n" in again
    assert (
        notebook.run("found = wait_for(5)\nprint(found['name'].is_unique, fn.doctor().empty)")
        == "True True\n"
    )
    assert notebook.run("print({fn.attach(name).result(timeout=9) for name in found['name']})") == "{7}\n"
