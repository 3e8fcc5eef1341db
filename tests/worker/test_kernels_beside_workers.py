"""Shows that a kernel and a `flownb worker` never run different functions for one queue, and that deploys go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

import flownb as fn
from tests.support.kernel_process import ROOT, Kernel

MODULE = """
import flownb as fn
factor = {factor}
@fn.task
def score(n):
    return n * factor
"""
CELL = MODULE.replace("import flownb as fn", "")
OTHER = """
@fn.task
def other(n):
    return n + 1
"""
RUN = "print(fn.fan_out({rows}, score, name={name!r}).results(timeout=60)['score'].tolist())"
IMPORT = "import importlib, sys; sys.path.insert(0, {folder!r}); sys.dont_write_bytecode = True\nfrom {module} import score\n"
BY_WORKER = (
    "FlowError: task 'score': a `flownb worker` runs another function for queue 'score' (factor: 2 -> 10), and each "
    'would run the other\'s jobs; give this one a queue of its own: @fn.task(queue="score-2")'
)
BY_KERNEL = (
    "task 'score': another kernel runs another function for queue 'score' (factor: 10 -> 2), and each would run the "
    "other's jobs; restart the one of the two whose module is older, or give this one a queue of its own: "
    '@fn.task(queue="score-2")'
)


class Deployment:
    """A folder with a module of tasks below the server's, and workers of it."""

    def __init__(self, folder, data):
        self.folder, self._environment = folder, {**os.environ, "PYTHONPATH": ROOT, "FLOWNB_URL": data}
        self._started = []

    def write(self, text, module="scores"):
        (self.folder / f"{module}.py").write_text(text)

    def start(self, module="scores"):
        """Start a worker; return it with its first line, once it serves."""
        process = subprocess.Popen(
            [sys.executable, "-B", "-m", "flownb", "worker", module],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process, process.stdout.readline()

    def imported(self, module="scores"):
        return IMPORT.format(folder=str(self.folder), module=module)

    def stop(self):
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def deployment(own_server, tmp_path):
    made = Deployment(tmp_path, own_server.url)
    yield made
    made.stop()


@pytest.fixture
def start_kernel(own_server):
    started = []

    def start(*, serves=True):
        started.append(Kernel(url=own_server.url))
        if serves:
            assert started[-1].run("serving = fn.workers(2)") == ("", None)
        return started[-1]

    yield start
    for kernel in started:
        kernel.kill()


def test_a_kernel_is_refused_beside_a_worker_that_runs_its_queue_with_another_value(deployment, start_kernel):
    deployment.write(MODULE.format(factor=2))
    _, said = deployment.start()
    assert said.startswith("flownb worker: serves score, ")
    kernel = start_kernel()
    cell = CELL.format(factor=10)
    assert kernel.run(cell) == ("", BY_WORKER)
    mended = cell.replace("@fn.task", "@fn.task(queue='score-2')")
    assert kernel.run(mended + RUN.format(rows=[5], name="a")) == ("[50]", None)


def test_a_worker_is_refused_beside_a_kernel_that_runs_its_queue_with_another_value(deployment, start_kernel):
    assert start_kernel().run(CELL.format(factor=10) + RUN.format(rows=[5], name="a")) == ("[50]", None)
    deployment.write(MODULE.format(factor=2))
    worker, said = deployment.start()
    assert (said, worker.wait(30), worker.stderr.read()) == ("", 1, f"flownb worker: {BY_KERNEL}\n")


def test_a_worker_serves_its_other_queues_and_takes_up_the_refused_one_when_the_kernel_is_gone(
    deployment, start_kernel, own_server
):
    kernel = start_kernel()
    assert kernel.run(CELL.format(factor=10) + RUN.format(rows=[5], name="a")) == ("[50]", None)
    deployment.write(MODULE.format(factor=2) + OTHER)
    worker, said = deployment.start()
    assert said == f"flownb worker: waits with one queue: {BY_KERNEL}\n"
    assert worker.stdout.readline().startswith("flownb worker: serves other, ")
    with fn.connect(own_server.url):
        assert fn.add({"name": "other", "queueName": "other", "data": {"n": 1}}).result(timeout=30) == 2
        kernel.kill()
        assert fn.add({"name": "score", "queueName": "score", "data": {"n": 5}}).result(timeout=60) == 10


def test_a_kernel_with_the_same_code_runs_beside_a_worker_imported_or_from_a_cell(deployment, start_kernel):
    deployment.write(MODULE.format(factor=2))
    deployment.start()
    kernels = start_kernel(), start_kernel()
    cells = deployment.imported(), CELL.format(factor=2)
    rows = list(range(100))
    for number, (kernel, cell) in enumerate(zip(kernels, cells, strict=True)):
        assert kernel.run(cell + RUN.format(rows=rows, name=f"b{number}")) == (
            str([2 * n for n in rows]),
            None,
        )


def test_a_new_version_is_deployed_beside_the_old_one_and_rows_run_by_either(deployment, own_server):
    deployment.write(MODULE.format(factor=2))
    old, _ = deployment.start()
    deployment.write(MODULE.format(factor=10))
    new, said = deployment.start()
    assert said.startswith("flownb worker: serves score, ")
    with fn.connect(own_server.url):
        add = {"name": "score", "queueName": "score", "data": {"n": 5}}
        assert fn.add(add).result(timeout=30) in (10, 50)
        old.send_signal(signal.SIGTERM)
        assert old.wait(30) == 0
        assert fn.add(add).result(timeout=30) == 50
        new.send_signal(signal.SIGTERM)
        assert new.wait(30) == 0


def test_a_kernel_goes_on_once_the_workers_of_the_old_version_are_stopped(deployment, start_kernel, until):
    deployment.write(MODULE.format(factor=2))
    old, _ = deployment.start()
    deployment.write(MODULE.format(factor=10))
    deployment.start()
    kernel = start_kernel()
    assert kernel.run(deployment.imported()) == ("", None)  # the import itself is not refused
    refused = (
        "FlowError: task 'score': a `flownb worker` runs another function for queue 'score' (factor: 2 -> 10), and each "
        "would run the other's jobs; restart the one of the two whose module is older, or give this one a queue of its "
        'own: @fn.task(queue="score-2")'
    )
    assert kernel.run(RUN.format(rows=[5], name="a")) == ("", refused)
    old.kill()
    until(lambda: kernel.run(RUN.format(rows=[5], name="a")) == ("[50]", None))


def test_a_kernel_whose_workers_are_closed_is_in_nobodys_way(deployment, start_kernel):
    kernel = start_kernel()
    assert kernel.run(CELL.format(factor=10) + RUN.format(rows=[5], name="a")) == ("[50]", None)
    deployment.write(MODULE.format(factor=2))
    assert kernel.run("serving.close()") == ("", None)
    assert deployment.start()[1].startswith("flownb worker: serves score, ")
    assert kernel.run("serving = fn.workers(2)") == (f"flownb: not served here: {BY_WORKER[11:]}", None)


def test_two_kernels_that_imported_two_versions_of_a_module_do_not_share_its_queue(deployment, start_kernel):
    first, second = start_kernel(), start_kernel()
    deployment.write(MODULE.format(factor=2) + OTHER)
    assert first.run(deployment.imported() + RUN.format(rows=[5], name="a")) == ("[10]", None)
    deployment.write(MODULE.format(factor=10) + OTHER)
    error = second.run(deployment.imported() + RUN.format(rows=[5], name="b"))[1]
    assert "another kernel runs another function for queue 'score' (factor: 2 -> 10)" in error
    assert second.run("from scores import other\nprint(fn.fan_out([1], other).results(60)['other'][0])") == (
        "2",
        None,
    )


def test_tasks_that_share_a_queue_elsewhere_with_others_are_named(deployment, start_kernel):
    deployment.write(
        MODULE.format(factor=2).replace("@fn.task", "@fn.task(queue='score')")
        + OTHER.replace("@fn.task", "@fn.task(queue='score')")
    )
    deployment.start()
    error = start_kernel().run(CELL.format(factor=2))[1]
    assert (
        "for queue 'score' (its tasks are other, score, here score), and each would run the other's jobs"
        in error
    )


def test_a_kernel_that_was_not_to_be_seen_for_a_while_comes_back_to_what_it_runs(
    start_kernel, own_server, until
):
    first, second = start_kernel(), start_kernel()
    assert first.run(CELL.format(factor=10) + RUN.format(rows=[5], name="a")) == ("[50]", None)
    with fn.connect(own_server.url) as connection:
        client = connection.client()

        def signs():
            return {each["id"] for each in client.client_list() if each["name"].startswith("flownb-kernel:")}

        lost = signs()
        for each in lost:
            client.client_kill_filter(_id=each)
        until(lambda: len(signs() - lost) == 2)
    assert "(factor: 10 -> 2)" in second.run(CELL.format(factor=2))[1]


def test_a_dead_kernels_rows_of_a_module_that_was_edited_since_wait_until_somebody_goes_on(
    deployment, start_kernel, until
):
    gate = deployment.folder / "gate"
    wait = f"    import os, time\n    while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n    return"
    text = MODULE.replace("    return", wait)
    deployment.write(text.format(factor=2))
    first = start_kernel()
    add = "batch = fn.fan_out([1, 2], score, name='left')"
    assert first.run(deployment.imported() + add) == ("", None)
    first.kill()
    deployment.write(text.format(factor=10))
    gate.touch()
    second = start_kernel()
    until(lambda: second.run(deployment.imported() + RUN.format(rows=[5], name="mine")) == ("[50]", None))
    assert second.run("print(fn.flows()[['name', 'completed']].values.tolist())") == (
        "[['mine', 2], ['left', 0]]",
        None,
    )
    printed, error = second.run(textwrap.dedent("print(fn.attach('left').results(60)['score'].tolist())"))
    assert error is None
    assert printed.endswith("use the function as it is now[10, 20]")
