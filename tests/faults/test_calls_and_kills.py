"""Shows a story of 2,000 rows that call a service in three steps: it limits and fails, workers are killed, money runs out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest

import flownb as fn
from tests.faults.service_worker import (
    CALLS_A_SECOND,
    TOKENS_A_SECOND,
    WIDTH,
    fetch,
    fetch_tokens,
    judge,
    judge_tokens,
    read,
    read_tokens,
)
from tests.support.service import ROOT, USD_A_TOKEN, Service

ROWS = 2000
STEPS = [fetch, read, judge]
PARTS = 10**9  # of a dollar, in which amounts are stored
#: how the service answers before it answers well
BAD = {
    **{f"fetch {n}": ["500"] for n in range(0, ROWS, 97)},
    **{f"read {n}": ["cut"] for n in range(1, ROWS, 193)},
    **{f"judge {n}": ["garbage", "closed"] for n in range(2, ROWS, 389)},
    **{f"fetch {n}": ["slow 1"] for n in range(3, ROWS, 499)},  # and then well
    "fetch 110": ["429 0"],
    "read 120": ["429 1"],
    "judge 130": ["429 date"],
    "judge 1500": ["429 absent", "503"],
}


def plain_loop() -> pd.DataFrame:
    """Return what a loop over the rows comes to, where the service never fails."""
    texts = [f"row {n}"[::-1] for n in range(ROWS)]
    judged = [f"{n} in {text}"[::-1] for n, text in enumerate(texts)]
    return pd.DataFrame({"text": texts, "what": "row", "number": range(ROWS), "judge": judged})


def tokens_of_calls() -> dict[str, int]:
    """Return what each call costs, by the key under which the service hears it."""
    found = {f"fetch {n}": fetch_tokens(str(n)) for n in range(ROWS)}
    found |= {f"read {n}": read_tokens(f"row {n}") for n in range(ROWS)}
    return found | {f"judge {n}": judge_tokens(n) for n in range(ROWS)}


@pytest.fixture
def start(server_folder):
    """Start a process that serves the rows; give it when it serves."""
    started = []

    def start(service):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.service_worker", str(server_folder)],
            env={**os.environ, "PYTHONPATH": ROOT, "SERVICE": service.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        assert "serves" in process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.timeout(400)
def test_two_thousand_rows_get_right_answers_with_no_call_more_than_needed(connection, start, until):
    costs = tokens_of_calls()
    budget = round(sum(costs.values()) / 2 * USD_A_TOKEN, 4)
    # Its window is a little shorter than the limiter's, as calls take some time to reach it.
    with Service(calls=(CALLS_A_SECOND, 0.8), tokens=(TOKENS_A_SECOND, 0.8), seconds=0.02) as service:
        service.script(BAD)
        fn.Queue("provider").pause()
        frame = pd.DataFrame({"key": [str(n) for n in range(ROWS)]})
        batch = fn.fan_out(frame, STEPS, name="nov", budget={"usd": budget})
        fn.workers(1).close()  # the work is the processes'
        fn.Queue("provider").resume()

        kill_and_replace = _killer(service, start, until)
        worker = kill_and_replace(start(service), after=len(costs) // 5)

        batch.wait(timeout=120)
        assert "its budget is used up" in batch.progress().paused
        until(lambda: service.open_now() == 0 and batch.progress().active == 0)
        spent, heard = batch.progress().spent["usd"], len(service.heard())
        assert budget <= spent < budget + WIDTH * max(costs.values()) * USD_A_TOKEN
        with pytest.raises(fn.FlowPaused, match="its budget is used up"):
            batch.results()

        batch.resume(budget={"usd": 10 * budget})
        kill_and_replace(worker, after=heard + len(costs) // 5)
        out = batch.results(timeout=240)
        _assert_answers(out)
        _assert_calls(service, costs)
        _assert_money(batch, service.answered(), costs)


def _killer(service, start, until):
    def kill_and_replace(worker, after):
        until(lambda: len(service.heard()) > after, seconds=120)
        worker.kill()
        worker.wait()
        return start(service)

    return kill_and_replace


def _assert_answers(out) -> None:
    pd.testing.assert_frame_equal(out, plain_loop(), check_dtype=False)


def _assert_calls(service, costs) -> None:
    """No call but one a row and step, one for each bad answer, and those that ran when a worker was killed.

    The service refuses what goes beyond its limits: next to nothing, as the limiter holds for all workers and kills.
    """
    heard = service.heard()
    refused = Counter(call.key for call in heard if call.how == "limited")
    needed = Counter(costs.keys())
    needed += Counter({key: sum("slow" not in word for word in words) for key, words in BAD.items()})
    in_the_air = service.asked() - refused - needed
    assert not needed - service.asked()
    assert in_the_air.total() <= 2 * WIDTH
    assert (service.answered() - Counter(costs.keys())).total() <= 2 * WIDTH
    assert service.most_at_once() <= 2 * WIDTH  # those of a killed worker are open until the service notices
    assert refused.total() <= 0.01 * len(costs)  # calls that took long to reach it


def _assert_money(batch, answered, costs) -> None:
    """Of each call that was answered once its cost, of one that ran at a kill at most that of each answer."""
    table, spent = batch.table(), batch.progress().spent
    for row, tokens in enumerate(table["_tokens"].tolist()):
        calls = [f"{step.name} {row}" for step in STEPS]
        assert (
            sum(costs[call] for call in calls)
            <= tokens
            <= sum(costs[call] * answered[call] for call in calls)
        )
    assert spent["tokens"] == table["_tokens"].sum()
    assert round(spent["usd"] * PARTS) == round(spent["tokens"] * USD_A_TOKEN * PARTS)
