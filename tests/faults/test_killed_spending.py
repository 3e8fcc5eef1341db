"""Shows that what rows say they have spent counts once, in the sum and in the table, at whatever moments kernels are killed."""

from __future__ import annotations

import os
import random

import pytest

import flownb as fn

SEED = int(os.environ.get("FLOWNB_SEED") or random.randrange(10**6))
ROWS = 24
KILLS = 2
TOLD_SECONDS = 0.5  # within which a coroutine's amount is on the server, however busy the machine is

#: Two steps, of which the second fails for some rows; the file says of each call when it begins to say what it has spent,
#: and when it has said so.
TASKS = """
import asyncio, os, time

said = os.open({path!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

def pay():
    os.write(said, f"begins {{time.monotonic()}}\\n".encode())
    fn.spend(usd=1)
    os.write(said, f"said {{time.monotonic()}}\\n".encode())

@fn.task(attempts=2, backoff="fixed 10ms")
{ask}
    pay()
    return {{"a": n}}

@fn.task(attempts=3, backoff="fixed 10ms")
def judge(a):
    time.sleep(0.003)
    pay()
    if a % 11 == 4:
        raise KeyError(a)
    return {{"b": a}}
"""
ASK = "def ask(n):\n    time.sleep(0.003)"
ASK_ASYNC = "async def ask(n):\n    await asyncio.sleep(0.003)"


@pytest.mark.parametrize(
    ("ask", "rows_per_job"),
    [(ASK, 1), (ASK, 8), (ASK_ASYNC, 1), (ASK_ASYNC, 8)],
    ids=["one", "many", "async", "many async"],
)
def test_what_was_said_is_in_the_sum_and_in_the_table_whenever_a_kernel_is_killed(
    ask, rows_per_job, start_kernel, tmp_path, until
):
    chance = random.Random(SEED)
    path = tmp_path / "said"
    tasks, kills = TASKS.format(path=str(path), ask=ask), []
    kernel = start_kernel(tasks)
    call = f"fn.fan_out([{{'n': n}} for n in range({ROWS})], [ask, judge], name='b', rows_per_job={rows_per_job})"
    assert kernel.run(call)[1] is None
    batch = fn.attach("b")
    for _ in range(KILLS):
        enough = len(moments(path, "said")) + chance.randrange(1, ROWS // 2)
        # On a busy machine all rows may have run before this process looks again: then no more is said.
        until(lambda enough=enough: len(moments(path, "said")) >= enough or batch.state == "completed")
        kernel.kill()
        kills.append(moments(path, "said")[-1])
        kernel = start_kernel(tasks)
        assert kernel.run("batch = fn.attach('b')")[1] is None
    assert kernel.run("batch.wait(timeout=60)")[1] is None

    table, spent = batch.table()["_usd"].sum(), batch.progress().spent["usd"]
    least = len(moments(path, "said")) if ask is ASK else told_before(moments(path, "said"), kills)
    assert least <= spent <= len(moments(path, "begins")), f"seed {SEED}"
    assert table == spent, f"seed {SEED}"


def moments(path, word):
    """Return when calls began to say what they have spent, or had said so."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [float(line.split()[1]) for line in lines if line.startswith(word)]


def told_before(said, kills):
    """Return how many amounts coroutines had said long enough before each kill."""
    return sum(not any(0 <= kill - moment < TOLD_SECONDS for kill in kills) for moment in said)
