"""What tasks print and log is kept with their rows, and stays out of the cell: `batch.logs()`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

import flownb as fn
from flownb.batches.row_facts import RowFacts
from flownb.batches.stored_batch import StoredBatch
from flownb.widgets.row_details import row_details
from flownb.widgets.row_table import RowTable

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def tell():
    @fn.task(attempts=2)
    def tell(n):
        print("row", n, end="")
        print(" of many")
        if n == 1:
            logging.getLogger("shop").warning("odd: %d", n)
            raise ValueError(n)
        return n

    return tell


def lines_of(batch, **asked):
    table = batch.logs(**asked)
    return list(table[["label", "attempt", "stream", "line"]].itertuples(index=False, name=None))


RIGHT = [
    ("a", 1, "stdout", "row 0 of many"),
    ("b", 1, "stdout", "row 1 of many"),
    ("b", 1, "WARNING", "shop: odd: 1"),
    ("b", 2, "stdout", "row 1 of many"),
    ("b", 2, "WARNING", "shop: odd: 1"),
    ("c", 1, "stdout", "row 2 of many"),
]
FRAME = pd.DataFrame({"n": range(3)}, index=list("abc"))


@pytest.mark.parametrize("rows_per_job", [1, 3])
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_lines_come_with_their_rows_and_attempts_wherever_these_ran(tell, executor, rows_per_job, capfd):
    with fn.workers(2, executor=executor):
        batch = fn.fan_out(FRAME, tell, rows_per_job=rows_per_job).wait(timeout=60)
    assert lines_of(batch) == RIGHT
    assert "of many" not in "".join(capfd.readouterr())
    table = fn.attach(batch.name).logs()
    assert (table["time"] <= pd.Timestamp.now("UTC")).all()


def test_an_async_function_prints_into_the_row_that_it_runs_for():
    @fn.task
    async def wait(n):
        print("begins", n)
        await asyncio.sleep(0.05)
        print("ends", n)

    with fn.workers(3):
        batch = fn.fan_out(FRAME, wait).wait(timeout=60)
    right = [
        (label, 1, "stdout", f"{what} {n}") for n, label in enumerate("abc") for what in ("begins", "ends")
    ]
    assert lines_of(batch) == right


def test_some_rows_some_words_and_some_levels_are_found(tell):
    batch = fn.fan_out(FRAME, tell).wait(timeout=60)
    assert {label for label, *_ in lines_of(batch, rows=["c", "a"])} == {"a", "c"}
    assert lines_of(batch, rows="b", grep="^row") == [RIGHT[1], RIGHT[3]]
    for level in ("info", logging.INFO, logging.INFO - 1):
        assert lines_of(batch, level=level) == [RIGHT[2], RIGHT[4]]
    assert batch.logs(grep="nowhere").empty
    assert str(batch.logs(grep="nowhere").dtypes["time"]) == "datetime64[ms, UTC]"
    with pytest.raises(fn.OptionError, match=r"grep: '\(' is no regular expression: missing \)"):
        batch.logs(grep="(")
    with pytest.raises(fn.OptionError, match="level: one of NOTSET, DEBUG, INFO"):
        batch.logs(level="loud")
    with pytest.raises(fn.FlowError, match="there is no row 'z'"):
        batch.logs(rows=["z"])


def test_equal_labels_have_the_lines_of_each_of_their_rows(tell):
    batch = fn.fan_out(pd.DataFrame({"n": [0, 2]}, index=["x", "x"]), tell, rows_per_job=2).wait(timeout=60)
    assert [line for *_, line in lines_of(batch, rows=["x"])] == ["row 0 of many", "row 2 of many"]


@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_rows_that_are_kept_have_their_own_lines_wherever_they_stand_now(tell, rows_per_job):
    how = {"name": "kept", "rows_per_job": rows_per_job}
    fn.fan_out(FRAME.iloc[[0, 2]], tell, **how).wait(timeout=60)
    batch = fn.fan_out(FRAME.iloc[::-1], tell, **how).wait(timeout=60)
    assert lines_of(batch) == sorted(RIGHT, key=lambda line: -ord(line[0]))
    assert batch.row("c").logs["line"].tolist() == ["row 2 of many"]
    stored = StoredBatch.own_batch(batch._stored.store, batch._stored.id)
    assert [line[-1] for line in row_details(stored, 2)["log"]] == ["row 0 of many"]
    facts = RowFacts(stored)
    facts.refresh(60)
    page = RowTable(stored, facts).page({})["rows"]
    assert {row[1]: row[10] for row in page} == {
        "a": "row 0 of many",
        "b": "shop: odd: 1",
        "c": "row 2 of many",
    }


def test_what_no_task_prints_goes_where_it_went(tell, capsys):
    @fn.task(logs=False)
    def shout(n):
        print("shouted", n)

    batch = fn.fan_out(FRAME, tell).wait(timeout=60)
    capsys.readouterr()
    print("from the cell")
    fn.fan_out(FRAME, shout).wait(timeout=60)
    heard = capsys.readouterr().out.splitlines()
    assert heard[0] == "from the cell"
    assert {"shouted 0", "shouted 1", "shouted 2"} <= set(heard)
    aside = io.StringIO()
    with contextlib.redirect_stdout(aside):
        print("aside")
        again = fn.fan_out([5], tell).wait(timeout=60)
    assert aside.getvalue().startswith("aside\n")
    assert lines_of(again) == [(0, 1, "stdout", "row 5 of many")]
    assert lines_of(batch) == RIGHT
    print("back")
    assert capsys.readouterr().out == "back\n"


def test_handlers_that_write_to_files_still_get_what_a_task_logs(tell, tmp_path, capfd):
    file, console = logging.FileHandler(tmp_path / "log"), logging.StreamHandler(sys.stderr)
    log = logging.getLogger("shop")
    log.addHandler(file)
    log.addHandler(console)
    try:
        fn.fan_out(FRAME, tell).wait(timeout=60)
        log.error("from the cell")
    finally:
        log.removeHandler(file)
        log.removeHandler(console)
    assert (tmp_path / "log").read_text().splitlines() == ["odd: 1", "odd: 1", "from the cell"]
    assert capfd.readouterr().err == "from the cell\n"


def test_a_bar_is_one_line_colours_are_left_out_and_half_a_character_passes():
    @fn.task
    def draw(n):
        for part in (0, 50, 100):
            sys.stderr.write(f"\r{part:3d}%")
            sys.stderr.flush()
        print("\x1b[31mred\x1b[0m \ud800 \x07")
        logging.getLogger().critical("%d", "no number")

    found = [(stream, line) for _, _, stream, line in lines_of(fn.fan_out([0], draw).wait(timeout=60))]
    assert ("stdout", r"red \ud800 \x07") in found
    assert ("stderr", "100%") in found
    assert any(line.startswith("root: %d (TypeError") for _, line in found)
    assert sum("%" in line and "50" in line for _, line in found) == 0


def test_at_most_a_thousand_lines_of_a_row_are_kept_and_the_cut_is_said():
    @fn.task
    def chatter(n):
        for i in range(n):
            print(i)

    batch = fn.fan_out([2_000, 3], chatter, rows_per_job=2).wait(timeout=60)
    lines = [line for *_, line in lines_of(batch)]
    assert lines[:1000] == [str(i) for i in range(1000)]
    assert lines[1000].startswith("the rest is not kept: at most 1,000 lines")
    assert lines[1001:] == ["0", "1", "2"]


def test_a_bar_below_those_of_other_threads_leaves_its_last_state_too():
    @fn.task
    def draw(n):
        print("first", file=sys.stderr)
        for part in range(0, 120, 20):  # as tqdm draws a bar that has two above it
            sys.stderr.write("\n\n")
            sys.stderr.write(f"\r{part:3d}%")
            sys.stderr.write("\x1b[A\x1b[A")
        sys.stderr.write("\r100% left")
        sys.stderr.write("\n")
        print(file=sys.stderr)
        sys.stderr.write("\n\r 50%\x1b[A")
        print("over it", file=sys.stderr)

    batch = fn.fan_out([0], draw).wait(timeout=60)
    assert batch.logs()["line"].tolist() == ["first", "100% left", "", " 50%", "over it"]


def test_what_ran_past_its_timeout_tells_what_it_printed_before():
    @fn.task(timeout="0.5s")
    def hang(n):
        print("before")
        time.sleep(2)

    batch = fn.fan_out([1], hang, rows_per_job=1).wait(timeout=60)
    assert lines_of(batch) == [(0, 1, "stdout", "before")]
    assert list(batch.failures["error"]) == ["JobTimeout"]


def test_what_a_function_logs_itself_stands_beside_what_it_prints_in_bullmqs_log():
    @fn.task(keep_logs=2)
    def both(n, job):
        job.log("mine")
        for i in range(n):
            print(i)

    batch = fn.fan_out([1, 5], both).wait(timeout=60)
    assert [(stream, line) for _, _, stream, line in lines_of(batch, rows=[0])] == [
        ("log", "mine"),
        ("stdout", "0"),
    ]
    assert [line for *_, line in lines_of(batch, rows=[1])] == ["3", "4"]
    assert batch.logs(rows=[0], grep="mine")[["attempt", "time"]].isna().all(axis=None)
    logs = [job.get_logs() for job in fn.Queue("both").get_jobs("completed")]
    assert {rows[-1].partition("Z ")[2] for rows in logs} == {"stdout attempt 1: 0", "stdout attempt 1: 4"}


def test_a_switch_that_is_none_is_refused(tell):
    with pytest.raises(fn.OptionError, match=r"task tell\.logs: True or False, not 'no'"):
        fn.task(logs="no")(tell.function)


CELL = """
import flownb as fn
fn.connect(path={folder!r})

@fn.task
def tell(n):
    print("row", n)

batch = fn.fan_out(range(3), tell).wait(timeout=60)
fn.fan_out(range(9), tell).wait(timeout=60)
print("the cell")
"""


def outputs_of(cell):
    """Run a cell in a kernel of its own; return its outputs, kind and text."""
    root = str(Path(fn.__file__).parents[1])
    manager, client = start_new_kernel(env={**os.environ, "PYTHONPATH": root}, startup_timeout=120)
    outputs: list[tuple[str, str]] = []

    def note(message):
        kind, content = message["msg_type"], message["content"]
        if kind in ("stream", "display_data", "update_display_data", "clear_output"):
            outputs.append((kind, content.get("text") or content.get("data", {}).get("text/plain", "")))

    try:
        done = client.execute_interactive(cell, output_hook=note, timeout=120)
        assert done["content"]["status"] == "ok", done["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return outputs


def test_a_kernel_says_once_where_the_output_is(server_folder):
    outputs = outputs_of(CELL.format(folder=str(server_folder)))
    assert "".join(text for _, text in outputs).splitlines()[1:] == [
        "flownb: what tasks print is kept with their rows: batch.logs()",
        "the cell",
    ]


DISPLAYS = """
import flownb as fn
import ipywidgets
import pandas as pd
from IPython.display import Markdown, clear_output, display

fn.connect(path={folder!r})

@fn.task
{kind} show(n):
    bar = ipywidgets.IntProgress(max=3)
    display(bar)
    bar.value = 3
    display(pd.Series([n], name="shown"), Markdown("*said*"), display_id=True).update("anew")
    clear_output()

batch = fn.fan_out(range(2), show).wait(timeout=60)
assert batch.failures.empty, batch.failures.iloc[0]["traceback"]
display("of the cell")
print(batch.logs(rows=[1])["line"].tolist())
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_tasks_display_stays_out_of_the_cell_too(server_folder, kind):
    outputs = outputs_of(DISPLAYS.format(folder=str(server_folder), kind=kind))
    assert [(of, text) for of, text in outputs if of != "stream"] == [("display_data", "'of the cell'")]
    said = ["0    1", "Name: shown, dtype: int64", "<IPython.core.display.Markdown object>"]
    assert outputs[-1] == ("stream", f"{said}\n")


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_lines_of_groups_come_with_their_own_rows_also_when_a_job_delegates(executor):
    @fn.task
    def speak(n):
        print("number", n)
        time.sleep(0.05 if n < 4 else 0)  # more than a job of many rows may take

    @fn.task
    def count(rows):
        return len(rows)

    frame = pd.DataFrame({"n": range(40), "parity": ["even", "odd"] * 20})
    with fn.workers(2, executor=executor):
        batch = fn.fan_out(frame, speak, by="parity", into=count).wait(timeout=60)
    told = batch.logs().set_index("label")["line"]
    assert told.to_dict() == {n: f"number {n}" for n in range(40)}


def test_lines_of_rows_that_run_again_in_other_jobs_come_with_their_own_rows():
    allowed = set(range(0, 30, 3))

    @fn.task
    def speak(n):
        print("number", n)
        if n not in allowed:
            raise ValueError(n)

    frame = pd.DataFrame({"n": range(30)})
    fn.fan_out(frame, speak, name="spoken", rows_per_job=10).wait(timeout=60)
    allowed.update(range(30))
    batch = fn.fan_out(frame, speak, name="spoken", rows_per_job=10).wait(timeout=60)
    told = batch.logs(rows=[n for n in range(30) if n % 3])
    assert set(zip(told["label"], told["line"], strict=True)) == {
        (n, f"number {n}") for n in range(30) if n % 3
    }
