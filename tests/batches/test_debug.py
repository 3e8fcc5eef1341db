"""Shows `debug(label)`: that row's function runs here, in the debugger where somebody can answer it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import traceback
from pathlib import Path

import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

import flownb as fn
from flownb.tasks import registry

ROOT = str(Path(fn.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb"}

BATCH = """
import sys
import flownb as fn
fn.connect(path={folder!r})

@fn.task
def share(part, whole):
    return part / whole

batch = fn.fan_out([{{"part": 3, "whole": 4}}, {{"part": 1, "whole": 0}}], share).wait(timeout=60)
print("ready", flush=True)
"""


pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def share():
    @fn.task
    def share(part, whole=1):
        return part / whole

    return share


FRAME = pd.DataFrame({"part": [3, 1, 2], "whole": [4, 0, 1]}, index=["x", "y", "y"])


def test_the_function_gets_the_same_inputs_and_the_stored_jobs_stay_as_they_are(share, redis):
    batch = fn.fan_out(FRAME, share, name="b").wait(timeout=20)
    before = {key: redis.dump(key) for key in redis.scan_iter(b"bull:share:*")}
    assert batch.debug("x") == 0.75
    assert fn.attach("b").debug("x") == 0.75
    assert {key: redis.dump(key) for key in redis.scan_iter(b"bull:share:*")} == before


def test_without_somebody_at_a_prompt_the_exception_is_raised_from_the_function_on(share):
    batch = fn.fan_out(FRAME, share).wait(timeout=20)
    with pytest.raises(ZeroDivisionError) as raised:
        batch.debug("y")  # of two rows with this label the one that failed
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert frames[-1] == "share"
    assert "arguments_of" not in frames


def test_a_mended_function_is_what_runs(share):
    batch = fn.fan_out(FRAME, share).wait(timeout=20)

    @fn.task
    def share(part, whole):
        return part / (whole or 1)

    assert batch.debug("y") == 1.0


def test_whole_rows_async_functions_and_the_job_itself_are_as_in_a_worker(redis, capsys):
    @fn.task
    async def wide(row, job):
        job.update_progress(50)
        job.log(f"{row['a']} of {job.name}")
        job.update_data(job.data | {"seen": True})
        return [row["a"] + row["b"], job.data["seen"]]

    batch = fn.fan_out(pd.DataFrame({"a": [1], "b": [2]}), wide).wait(timeout=20)
    (key,) = redis.keys("bull:wide:r*[a-z0-9]")[:1]
    before = redis.dump(key)
    capsys.readouterr()
    assert batch.debug(0) == [3, True]
    assert redis.dump(key) == before
    assert capsys.readouterr().out == "1 of wide\n"


def test_a_label_or_a_task_that_is_not_there_is_told(share, monkeypatch):
    batch = fn.fan_out(FRAME, share).wait(timeout=20)
    with pytest.raises(fn.FlowError, match="there is no row 'z'; the labels are those of the frame's index"):
        batch.debug("z")
    monkeypatch.setattr(registry, "_by_queue", {})
    with pytest.raises(fn.FlowError, match="no task 'share' is known here"):
        batch.debug("x")


def test_in_a_terminal_pythons_debugger_opens_where_it_was_raised(server_folder):
    ours, theirs = pty.openpty()
    program = BATCH.format(folder=str(server_folder)) + "print('gave', batch.debug(1))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        os.write(ours, b"p part, whole\nq\n")
        printed, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert "(Pdb) (1, 0)" in printed
    assert printed.rstrip().endswith("gave None")


def test_in_a_notebook_ipythons_debugger_asks_and_a_run_as_a_whole_raises(server_folder):
    manager, client = start_new_kernel(env=ENVIRONMENT, startup_timeout=120)
    try:
        printed: list[str] = []

        def note(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        def run(code, **options):
            return client.execute_interactive(code, output_hook=note, timeout=120, **options)["content"]

        assert run(BATCH.format(folder=str(server_folder)))["status"] == "ok"
        answers = iter(["p part, whole", "q"])
        said = run("batch.debug(1)", stdin_hook=lambda _: client.input(next(answers)))
        assert said["status"] == "ok"
        assert "(1, 0)" in "".join(printed)
        assert next(answers, None) is None
        said = run("batch.debug(1)", allow_stdin=False)
        assert (said["status"], said["ename"]) == ("error", "ZeroDivisionError")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
