"""`flownb worker` in real processes: what it serves, how it stops, what it refuses."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

import flownb
from flownb.api.producer import FlowProducer
from flownb.connection import Connection

TASKS = """
import time
from pathlib import Path
import flownb

@flownb.task(queue="cli-square")
def square(n):
    return n * n

@flownb.task(queue="cli-patient")
def patient(n):
    Path("started").touch()
    while not Path("go").exists():
        time.sleep(0.005)
    return n
"""


@pytest.fixture
def served(terminal) -> Iterator[FlowProducer]:
    """Give a producer on the folder's server, and a module of tasks beside it."""
    (terminal.folder / "cli_tasks.py").write_text(TASKS)
    with Connection(path=terminal.data) as connection:
        yield FlowProducer(connection=connection)


def add(producer: FlowProducer, name: str, n: int) -> flownb.Flow:
    return producer.add({"name": name, "queueName": f"cli-{name}", "data": {"n": n}})


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_it_serves_in_processes_where_it_is_told_to(terminal, served):
    squared = add(served, "square", 7)
    terminal.start("worker", "cli_tasks", "--executor", "processes")
    assert squared.result(timeout=60) == 49


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_when_stopped_finishes_what_runs(terminal, served, number):
    squared, running = add(served, "square", 7), add(served, "patient", 3)
    process = terminal.start("worker", "cli_tasks", "-c", "2")
    assert first_line(process) == (
        f"flownb worker: serves cli-square, cli-patient, 2 at a time, on {terminal.data}"
    )
    assert squared.result(timeout=30) == 49
    terminal.until((terminal.folder / "started").exists)
    process.send_signal(number)
    assert first_line(process).startswith("flownb worker: waits for what still runs")
    left = add(served, "square", 8)
    (terminal.folder / "go").touch()
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, "", "")
    assert running.result(timeout=0) == 3
    assert running.job.attempts_made == 1
    assert left.job.get_state() == "waiting"


def test_idle_it_stops_without_a_word(terminal, served):
    process = terminal.start("worker", "cli_tasks")
    first_line(process)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_a_second_signal_leaves_what_runs_to_others(terminal, served):
    running = add(served, "patient", 3)
    process = terminal.start("worker", "cli_tasks")
    first_line(process)
    terminal.until((terminal.folder / "started").exists)
    process.send_signal(signal.SIGINT)
    first_line(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    terminal.until(lambda: running.job.get_state() == "waiting")


def test_it_serves_only_the_queues_named(terminal, served):
    waiting, squared = add(served, "patient", 1), add(served, "square", 5)
    process = terminal.start("worker", "cli_tasks", "-q", "cli-square")
    assert "serves cli-square, as many at a time as they ask for" in first_line(process)
    assert squared.result(timeout=30) == 25
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert waiting.job.get_state() == "waiting"


def test_it_joins_the_folder_above(terminal, served):
    below = terminal.folder / "below"
    below.mkdir()
    (below / "deep_tasks.py").write_text(TASKS)
    squared = add(served, "square", 6)
    terminal.folder = below
    process = terminal.start("worker", "deep_tasks")
    assert first_line(process).endswith(f"on {terminal.data}")
    assert squared.result(timeout=30) == 36


REFUSALS = {
    (
        "cli_tasks",
        "-q",
        "cli-cube",
    ): "no task of queue 'cli-cube' in cli_tasks; there are cli-square, cli-patient",
    ("json",): "json: defines no @flownb.task",
    ("not_there",): "there is no module 'not_there' here, nor installed",
    ("cli_tasks.py",): "there is no module 'cli_tasks.py'; name the module, not its file: cli_tasks",
    ("broken",): "broken: cannot be imported: ZeroDivisionError: division by zero (broken.py, line 1)",
    ("leaving",): "leaving: cannot be imported: SystemExit: 3 (leaving.py, line 2)",
}


@pytest.mark.parametrize("words", REFUSALS, ids=" ".join)
def test_it_refuses_in_one_line(terminal, words):
    terminal.data.mkdir()
    (terminal.folder / "cli_tasks.py").write_text(TASKS)
    (terminal.folder / "broken.py").write_text("1 / 0\n")
    (terminal.folder / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    assert terminal.run("worker", *words) == (1, "", f"flownb worker: {REFUSALS[words]}\n")
    assert list(terminal.data.iterdir()) == []


def test_it_never_makes_a_folder(terminal):
    (terminal.folder / "cli_tasks.py").write_text(TASKS)
    status, out, errors = terminal.run("worker", "cli_tasks")
    assert (status, out) == (1, "")
    assert errors.startswith("flownb worker: there is no .flownb here or above to join")
    assert errors.count("\n") == 1
    assert not terminal.data.exists()


def test_an_unreachable_server_is_one_line_without_the_password(terminal):
    (terminal.folder / "cli_tasks.py").write_text(TASKS)
    status, out, errors = terminal.run("worker", "cli_tasks", FLOWNB_URL="redis://me:s3cret@127.0.0.1:1/0")
    assert (status, out) == (1, "")
    assert errors.startswith("flownb worker: no server at redis://127.0.0.1:1/0")
    assert errors.count("\n") == 1
    assert "s3cret" not in errors


@pytest.mark.parametrize("hides", ["redis.py", "redis/__init__.py"])
@pytest.mark.parametrize("words", [("worker", "cli_tasks"), ("ls",)], ids=" ".join)
def test_a_file_that_hides_the_client_library_is_named_in_one_line(terminal, hides, words):
    terminal.data.mkdir()
    (terminal.folder / "cli_tasks.py").write_text(TASKS)
    file = terminal.folder / hides
    file.parent.mkdir(exist_ok=True)
    file.write_text("host = 'example.org'\n")
    assert terminal.run(*words, FLOWNB_URL="redis://127.0.0.1:1/0") == (
        1,
        "",
        f"flownb {words[0]}: {file} hides redis-py, which flownb reaches the server with: rename it\n",
    )
    assert list(terminal.data.iterdir()) == []


@pytest.mark.parametrize(
    "words", [(), ("worker",), ("worker", "m", "-c", "0"), ("worker", "m", "-c", "x"), ("wroker",)]
)
def test_wrong_usage_is_2(terminal, words):
    status, out, errors = terminal.run(*words)
    assert (status, out) == (2, "")
    assert "Traceback" not in errors


def test_help_has_an_example_each(terminal):
    commands = ["demo", "worker", "ls", "doctor", "watch", "explain", "logs", "retry", "cancel", "rm"]
    for words in ((), *((command,) for command in commands)):
        status, out, errors = terminal.run(*words, "--help")
        assert (status, errors) == (0, "")
        assert out.splitlines()[-1].startswith("example: flownb ")


def test_the_version(terminal):
    assert terminal.run("--version") == (0, f"flownb {flownb.__version__}\n", "")
