"""Shows that two kernels never run different functions for one queue: the second is refused, and told what mends it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.kernel_process import Kernel

DOUBLE = """
@fn.task
def score(n):
    return n * 2
"""
SQUARE = DOUBLE.replace("n * 2", "n * n")
RUN = "print(fn.fan_out({rows}, score, name={name!r}).results(timeout=60)['score'].tolist())"

REFUSED = (
    "FlowError: task 'score': another kernel runs another function for queue 'score', and each would run the "
    'other\'s jobs; give this one a queue of its own: @fn.task(queue="score-2")'
)


def keys_of(redis):
    """Return all keys but those that a worker lets run out and sets again while it serves."""
    return sorted(key for key in redis.scan_iter() if not key.endswith(b":stalled-check"))


@pytest.fixture
def kernels(server_folder, connection):
    made = [Kernel(server_folder) for _ in range(2)]
    yield made
    for kernel in made:
        kernel.kill()


def test_the_second_kernel_with_another_function_is_refused_before_it_writes_and_told_to_give_a_queue(
    kernels, redis
):
    first, second = kernels
    assert first.run(DOUBLE + RUN.format(rows=[1, 2, 3], name="a")) == ("[2, 4, 6]", None)
    keys = keys_of(redis)
    assert second.run(SQUARE + RUN.format(rows=[5], name="b")) == ("", REFUSED)
    assert second.run(SQUARE + "fn.add(score.node(5))") == ("", REFUSED)
    assert keys_of(redis) == keys
    assert first.run(RUN.format(rows=list(range(50)), name="a"))[0].endswith(str([2 * n for n in range(50)]))
    mended = SQUARE.replace("@fn.task", "@fn.task(queue='score-2')")
    assert second.run(mended + RUN.format(rows=[5, 6], name="b")) == ("[25, 36]", None)


def test_a_function_that_is_defined_while_workers_run_is_refused_in_its_cell_and_serves_nothing(kernels):
    first, second = kernels
    other = "@fn.task\ndef other(n): return n\nfn.fan_out([1], other).wait(timeout=60)"
    assert second.run(other) == ("", None)
    assert first.run(DOUBLE + RUN.format(rows=[1], name="a")) == ("[2]", None)
    assert second.run(SQUARE) == ("", REFUSED)
    rows = list(range(200))
    assert first.run(RUN.format(rows=rows, name="b")) == (str([2 * n for n in rows]), None)
    assert second.run(SQUARE.replace("@fn.task", "@fn.task(queue='mine')")) == ("", None)
    assert second.run("print(fn.add(score.node(5)).result(timeout=60))") == ("25", None)


def test_a_kernel_that_is_refused_for_one_queue_runs_its_other_tasks_and_a_renamed_function(kernels):
    first, second = kernels
    assert first.run(DOUBLE + RUN.format(rows=[1], name="a")) == ("[2]", None)
    assert second.run(SQUARE + RUN.format(rows=[5], name="b")) == ("", REFUSED)
    other = "@fn.task\ndef other(n): return n + 1\n"
    assert second.run(other + "print(fn.add(other.node(5)).result(timeout=60))")[0].endswith("6")
    renamed = SQUARE.replace("score", "squared") + RUN.replace("score", "squared")
    assert second.run(renamed.format(rows=[5], name="c")) == ("[25]", None)
    assert second.run(RUN.format(rows=[5], name="b")) == ("", REFUSED)
    assert second.run(SQUARE) == ("", REFUSED)


def test_workers_say_which_queue_they_do_not_serve_and_serve_the_others(kernels):
    first, second = kernels
    assert first.run(DOUBLE + RUN.format(rows=[1], name="a")) == ("[2]", None)
    other = "@fn.task\ndef other(n): return n + 1\n"
    assert second.run(SQUARE + other + "workers = fn.workers(2).start()") == (
        f"flownb: not served here: {REFUSED.removeprefix('FlowError: ')}",
        None,
    )
    assert second.run("print(fn.add(other.node(5)).result(timeout=60))") == ("6", None)


def test_of_two_refused_functions_each_can_be_mended_alone(kernels):
    first, second = kernels
    more = "@fn.task\ndef more(n): return n + {}\n"
    assert first.run(DOUBLE + more.format(1) + "fn.fan_out([1], score).wait(timeout=60)") == ("", None)
    assert second.run("workers = fn.workers(2).start()") == ("", None)
    for cell in SQUARE, more.format(2):
        assert second.run(cell)[1].startswith("FlowError: task ")
    assert second.run(SQUARE.replace("@fn.task", "@fn.task(queue='score-2')")) == ("", None)
    assert second.run(RUN.format(rows=[5, 6], name="b")) == ("[25, 36]", None)


def test_a_queue_is_free_for_others_once_a_kernel_has_moved_its_function(kernels):
    first, second = kernels
    assert first.run(DOUBLE + RUN.format(rows=[1], name="a")) == ("[2]", None)
    assert second.run(SQUARE + RUN.format(rows=[5], name="b")) == ("", REFUSED)
    moved = DOUBLE.replace("@fn.task", "@fn.task(queue='score-1')")
    assert first.run(moved + RUN.format(rows=[3], name="c")) == ("[6]", None)
    assert second.run(RUN.format(rows=[5], name="b")) == ("[25]", None)


def test_kernels_with_the_same_function_share_the_work_until_one_of_them_edits_it(kernels):
    for kernel in kernels:
        assert kernel.run(DOUBLE + RUN.format(rows=[1, 2], name="a"))[0].endswith("[2, 4]")
    assert kernels[0].run(SQUARE) == ("", REFUSED)


SCALE = """
factor = {factor}
def scaled(n): return n * factor
@fn.task
def score(n):
    return scaled(n)
"""


def test_a_kernel_whose_function_uses_another_value_is_refused_and_told_which(kernels):
    first, second = kernels
    assert first.run(SCALE.format(factor=2) + RUN.format(rows=[1, 2], name="a")) == ("[2, 4]", None)
    printed, error = second.run(SCALE.format(factor=10) + RUN.format(rows=[1, 2], name="b"))
    assert printed == ""
    assert "for queue 'score' (factor: 2 -> 10), and each would run" in error
    assert second.run("factor = 2\n" + RUN.format(rows=[3], name="b")) == ("[6]", None)


def test_a_kernel_that_changes_what_its_function_uses_serves_it_no_longer_beside_another(kernels):
    first, second = kernels
    for kernel in kernels:
        assert kernel.run(SCALE.format(factor=2) + RUN.format(rows=[1], name="a"))[0].endswith("[2]")
    assert "(factor: 2 -> 10)" in second.run("factor = 10\n" + RUN.format(rows=[5], name="b"))[1]
    rows = list(range(100))
    assert first.run(RUN.format(rows=rows, name="c")) == (str([2 * n for n in rows]), None)


def test_of_two_kernels_that_claim_a_queue_at_once_with_different_functions_one_is_refused(kernels):
    cells = [SCALE.format(factor=factor) + RUN.format(rows=[1], name=f"n{factor}") for factor in (2, 10)]
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda pair: pair[0].run(pair[1]), zip(kernels, cells, strict=True)))
    assert sorted(error is None for _, error in ends) == [False, True]
    (printed,) = (printed for printed, error in ends if error is None)
    assert printed == ("[2]" if ends[0][1] is None else "[10]")


def test_a_kernel_that_is_gone_refuses_nobody(kernels, until):
    first, second = kernels
    assert first.run(DOUBLE + RUN.format(rows=[1, 2], name="a")) == ("[2, 4]", None)
    assert second.run(SQUARE + RUN.format(rows=[3], name="b")) == ("", REFUSED)
    first.kill()
    until(lambda: second.run(SQUARE + RUN.format(rows=[3], name="b")) == ("[9]", None))


def test_a_kernel_may_edit_its_own_function(kernels):
    kernel = kernels[0]
    assert kernel.run(DOUBLE + RUN.format(rows=[3], name="a")) == ("[6]", None)
    assert kernel.run(SQUARE + RUN.format(rows=[3], name="b")) == ("[9]", None)
