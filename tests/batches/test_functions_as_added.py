"""Shows by which function a row runs: the one its batch was added with; after `retry` and `attach` the one by now."""

from __future__ import annotations

import os
import re
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

import flownb as fn
from tests.support.kernel_process import Kernel

# A cell: a task whose rows wait for a file, so that other cells run before they do.
WAITING = """
import os, time, functools
gate = {gate!r}
factor = 2
offset = [0]
def helper(x):
    while not os.path.exists(gate):
        time.sleep(0.01)
    return x * factor + offset[0]
class Scaled:
    def of(self, x): return helper(x)
scaled = Scaled()
@fn.task
def score(x, plus=0):
    return helper(x) + plus
first = fn.fan_out(list(range(40)), score, name="first", rows_per_job={rows_per_job})
"""
EDITS = {
    "global": "factor = 10",
    "helper": "def helper(x): return -1",
    "task": "@fn.task\ndef score(x): return -1",
    "default": "@fn.task\ndef score(x, plus=7): return helper(x) + plus",
    "deleted": "del factor\ndef helper(x): return 5",
}


@pytest.mark.parametrize("rows_per_job", [1, 10])
@pytest.mark.parametrize("edit", EDITS)
def test_in_one_kernel_each_batch_runs_by_the_function_that_it_was_added_with(
    start_kernel, tmp_path, edit, rows_per_job
):
    kernel, gate = start_kernel(), str(tmp_path / "gate")
    assert kernel.run(WAITING.format(gate=gate, rows_per_job=rows_per_job))[1] is None
    second = "second = fn.fan_out([3, 4], score, name='second')\nopen(gate, 'w').close()\n"
    both = "print([b.results(60)['score'].tolist() for b in (first, second)])"
    printed, error = kernel.run(f"{EDITS[edit]}\n{second}{both}")
    assert error is None
    by_now = {"global": [30, 40], "default": [13, 15], "deleted": [5, 5]}.get(edit, [-1, -1])
    assert printed.endswith(str([[2 * n for n in range(40)], by_now]))


def test_objects_are_shared_and_a_function_that_assigns_globals_goes_on_doing_so(start_kernel):
    kernel = start_kernel()
    cell = """
        seen, count = [], 0
        @fn.task
        def note(x):
            seen.append(x)
            return len(seen) > 0
        @fn.task
        def counted(x):
            global count
            count += 1
            return count > 0
        with fn.workers(1):
            fn.fan_out([1, 2], note).wait(60)
            fn.fan_out([1, 2], counted).wait(60)
        print(seen, count)
        """
    assert kernel.run(textwrap.dedent(cell)) == ("[1, 2] 2", None)


def test_retry_uses_the_function_as_it_is_now_and_says_what_has_changed(start_kernel):
    kernel = start_kernel()
    cell = """
        divisor = 0
        @fn.task
        def half(x): return x / (divisor if x > 2 else 2)
        batch = fn.fan_out([2, 4, 6], half, name="halves").wait(60)
        divisor = 2
        batch.retry()
        print(batch.results(60)["half"].tolist())
        """
    printed, error = kernel.run(textwrap.dedent(cell))
    assert error is None
    assert printed == (
        "batch 'halves': half has changed (divisor: 0 -> 2) since its rows ran; what runs again uses the function as "
        "it is now, and table()['_version'] tells which row ran which[1.0, 2.0, 3.0]"
    )


DEAD = """
import os, time
factor = {factor}
@fn.task
def score(x):
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    return x * factor
"""


def test_a_dead_kernels_rows_wait_until_somebody_goes_on_with_them_and_says_so(start_kernel, tmp_path, until):
    first, gate = start_kernel(), str(tmp_path / "gate")
    assert (
        first.run(DEAD.format(factor=2, gate=gate) + "fn.fan_out([1, 2, 3], score, name='left')")[1] is None
    )
    first.kill()
    second = start_kernel()
    (tmp_path / "gate").touch()
    own = "print(fn.fan_out([5], score, name='mine').results(60)['score'].tolist())"
    until(lambda: second.run(DEAD.format(factor=10, gate=gate) + own) == ("[50]", None))
    assert fn.flows(state="waiting-children")[["name", "completed"]].values.tolist() == [["left", 0]]
    printed, error = second.run("print(fn.attach('left').results(60)['score'].tolist())")
    assert error is None
    assert printed == (
        "batch 'left': score has changed (factor: 2 -> 10) since its rows were added; those that have not run use the "
        "function as it is now[10, 20, 30]"
    )


def test_who_comes_behind_what_a_dead_kernel_has_left_is_told_so_with_a_cure(start_kernel, tmp_path):
    gate = str(tmp_path / "gate")
    cell = DEAD.format(factor=2, gate=gate)
    first = start_kernel()
    assert first.run(f"{cell}fn.fan_out(list(range(40)), score, name='left', rows_per_job=1)") == ("", None)
    assert first.run("fn.fan_out([50], score, name='more')") == ("", None)  # one's own is known
    first.kill()
    second = start_kernel()
    printed, error = second.run(f"{cell}batch = fn.fan_out([3], score, name='mine')")
    assert error is None
    said = r"batch 'mine' comes behind batch 'left' \(40 rows, [^)]* old\); cancel it: fn\.attach\('left'\)\.cancel\(\)"
    assert re.fullmatch(said, printed)
    assert second.run("for name in ('left', 'more'): fn.attach(name).cancel()") == ("", None)
    (tmp_path / "gate").touch()
    assert second.run("print(batch.results(60)['score'].tolist())") == ("[6]", None)


# The definition stands within the try too: a kernel that serves already claims the queue of a new task at once.
CLAIM = """
factor = {factor}
try:
    @fn.task(queue="claimed-{turn}")
    def scale(x, offset={factor}):
        return [x * factor, offset]
    rows = fn.fan_out(list(range(20)), scale, name="{turn}-{factor}").results(120)["scale"].tolist()
    print("ran" if rows == [[n * factor, factor] for n in range(20)] else rows)
except fn.FlowError as error:
    print("refused" if "another kernel runs another function" in str(error) else error)
"""
TURNS = 50 if "FLOWNB_LONG_TESTS" in os.environ else 2


@pytest.mark.serial
@pytest.mark.timeout(60 * TURNS + 240)
def test_no_row_runs_with_the_values_of_another_kernel_however_many_begin_at_once(start_kernel):
    kernels = [start_kernel() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for turn in range(TURNS):
            cells = [CLAIM.format(factor=factor, turn=turn) for factor in range(2, 10)]
            ends = list(pool.map(Kernel.run, kernels, cells))
            assert sorted(ends) == [("ran", None), *[("refused", None)] * 7]


def test_the_table_explain_and_the_view_tell_rows_of_several_versions(start_kernel):
    kernel = start_kernel()
    cell = """
        divisor = 0
        @fn.task
        def half(x): return x / (divisor if x > 4 else 2)
        batch = fn.fan_out([2, 4, 6], half, name="halves").wait(60)
        print(batch.table()["_version"].nunique(), len(batch.explain()))
        divisor = 2
        batch.retry().wait(60)
        versions = batch.table()["_version"]
        print([versions[0] == versions[1], versions[1] == versions[2], {*map(len, versions)}])
        print(batch.explain().values.tolist())
        print("rows ran by 2 versions of half (divisor: 0 -&gt; 2)" in batch.to_html())
        """
    printed, error = kernel.run(textwrap.dedent(cell))
    assert error is None
    said = [["halves", "rows ran by 2 versions of half (divisor: 0 -> 2)", SAID_FIX]]
    assert printed.startswith("1 0batch 'halves': half has changed")
    assert printed.endswith(f"[True, False, {{7}}]{said}True")


SAID_FIX = (
    'table()["_version"] tells which; if_exists="rerun", or another version= on the task, runs all by one'
)


@pytest.mark.parametrize("how", ["rows_per_job=1", "rows_per_job=3"])
def test_a_row_of_a_job_of_many_keeps_its_version_and_every_kernel_gives_code_the_same_name(
    start_kernel, how
):
    names = []
    for _ in range(2):
        kernel = start_kernel()
        cell = f"""
            bad = {{1}}
            @fn.task
            def half(x):
                if x in bad: raise ValueError(x)
                return x / 2
            batch = fn.fan_out([0, 1, 2], half, name="h{len(names)}", {how}).wait(60)
            first = batch.table()["_version"].tolist()
            bad = set()
            print("|", (first, batch.retry().wait(60).table()["_version"].tolist()))
            """
        printed, error = kernel.run(textwrap.dedent(cell))
        assert error is None
        first, then = eval(printed.rpartition("|")[2])
        assert len({*first}) == 1
        assert then[0] == then[2] == first[0] != then[1]
        names.append((first, then))
        kernel.kill()
    assert names[0] == names[1]


@pytest.mark.parametrize("attach_first", [True, False])
def test_after_a_restart_attach_and_the_tasks_cell_are_enough_in_either_order(
    start_kernel, tmp_path, redis, until, attach_first
):
    first, gate = start_kernel(), str(tmp_path / "gate")
    cell = DEAD.format(factor=2, gate=gate)
    assert first.run(cell + "fn.fan_out([1, 2, 3], score, name='left')")[1] is None
    until(
        lambda: redis.zscore("bull:flownb:served", "bull:score")
    )  # noted for some seconds, also after its death
    first.kill()
    (tmp_path / "gate").touch()
    second = start_kernel()
    attach = "batch = fn.attach('left')"
    missing = (
        "batch 'left': nobody runs its rows: run the cell that defines task 'score', or import its module"
    )
    if attach_first:
        assert second.run(attach) == (missing, None)
        assert second.run(cell) == ("", None)
    else:
        assert second.run(cell) == ("", None)
        assert second.run(attach) == ("", None)
    assert second.run("print(batch.results(60)['score'].tolist())") == ("[2, 4, 6]", None)


def test_a_killed_kernel_is_missed_by_explain_and_flows_as_by_attach(start_kernel, tmp_path, redis, until):
    first = start_kernel()
    cell = DEAD.format(factor=2, gate=str(tmp_path / "gate"))
    assert first.run(cell + "fn.fan_out([1, 2, 3], score, name='left')")[1] is None
    until(
        lambda: redis.zscore("bull:flownb:served", "bull:score")
    )  # noted for some seconds, also after its death
    serves = start_kernel()
    assert serves.run("print(fn.flows()['why'][0])") == ("3 of its jobs in queue 'score' run", None)
    first.kill()
    printed, error = serves.run(
        "print(fn.flows()['why'][0]); print(fn.attach('left').explain()['why'].tolist()[0])"
    )
    assert error is None
    nobody = "no worker serves queue 'score'"
    assert printed.startswith(f"{nobody}batch 'left': nobody runs its rows: ")
    assert printed.endswith(nobody)


def test_a_cell_that_comes_after_attach_says_what_has_changed_too(start_kernel, tmp_path):
    first, gate = start_kernel(), str(tmp_path / "gate")
    assert first.run(DEAD.format(factor=2, gate=gate) + "fn.fan_out([1], score, name='left')")[1] is None
    first.kill()
    (tmp_path / "gate").touch()
    second = start_kernel()
    second.run("batch = fn.attach('left')")
    printed, error = second.run(DEAD.format(factor=3, gate=gate))
    assert error is None
    assert printed.startswith("batch 'left': score has changed (factor: 2 -> 3) since its rows were added")
    assert second.run("print(batch.results(60)['score'].tolist())") == ("[3]", None)
