"""`wait(progress=True)`: a bar in a terminal, one line elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import flownb as fn

ROOT = str(Path(fn.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT, "TERM": "xterm", "COLUMNS": "100"}
WAITING = """
import sys
import flownb as fn

fn.connect(path=sys.argv[1])

@fn.task
def half(n):
    if n == 3:
        raise ValueError(n)
    return n / 2

fn.fan_out(range(40), half, name="halves [red]").wait(timeout=60, progress=True)
with fn.Worker("q", lambda job: 1):
    fn.add({"name": "top", "queueName": "q"}).wait(timeout=60, progress=True)
"""


def test_where_nobody_looks_one_line_says_how_far_it_came(server_folder):
    command = [sys.executable, "-c", WAITING, str(server_folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.stderr == ""
    announced, rows, jobs = done.stdout.splitlines()
    assert announced.startswith("flownb: this kernel serves half")
    assert rows.startswith("halves [red] ")
    assert rows.endswith(" 39 of 40 rows completed, 1 failed")
    assert jobs.endswith(" 1 of 1 job completed")


HALF_STORED = """
import sys
import flownb as fn

fn.connect(path=sys.argv[1])

@fn.task
def same(n):
    return n

def numbers():
    yield from range(30)
    raise OSError("gone")

try:
    fn.fan_out(numbers(), same, name="cut")
except OSError:
    pass
for _ in range(2):
    try:
        fn.attach("cut").wait(timeout=60, progress=True)
    except fn.FlowStuck as error:
        print("stuck")
"""


def test_of_a_batch_that_cannot_end_the_line_says_how_far_it_came_and_why(server_folder):
    command = [sys.executable, "-c", HALF_STORED, str(server_folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT | {"COLUMNS": "200"}, timeout=120
    )
    assert done.stderr == ""
    _, first, stuck, second, _ = done.stdout.splitlines()
    assert stuck == "stuck"
    for line in (first, second):
        assert line.endswith(
            " 30 of 30 rows completed · half stored: reading its rows raised OSError: gone"
        ), line


def test_in_a_terminal_the_bar_is_drawn_over(server_folder):
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(server_folder)], stdin=inside, stdout=inside, env=ENVIRONMENT
    ):
        os.close(inside)
        drawn = b""
        try:
            while piece := os.read(terminal, 65536):
                drawn += piece
        except OSError:  # the terminal ends with the process
            pass
    os.close(terminal)
    assert drawn.count(b"\x1b[2K") > 1
    assert b"39 of 40 rows completed, 1 failed" in drawn


def test_a_switch_that_is_none_is_refused(connection):
    with pytest.raises(fn.OptionError, match="progress: True or False, not 'yes'"):
        fn.add({"name": "top", "queueName": "q"}).wait(timeout=0, progress="yes")
