"""Shows brakes on the command line: pause, resume with other brakes, what is listed and watched."""

from __future__ import annotations

import json

import pytest

import flownb as fn


@pytest.fixture
def served(terminal):
    """Give the default connection, to the server of the terminal's folder."""
    connection = fn.connect(path=terminal.data)
    yield connection
    connection.close()


@pytest.fixture
def held(served):
    """A batch that its budget holds."""

    @fn.task
    def ask(n):
        fn.spend(usd=0.5)

    with fn.workers(1):
        yield fn.fan_out(range(40), ask, name="nov", budget={"usd": 5}).wait(timeout=30)


def test_what_a_flow_has_spent_is_listed_and_a_larger_budget_goes_on(held, terminal):
    code, out, _ = terminal.run("ls", "--json")
    [line] = json.loads(out)
    assert (code, line["spent"]) == (0, "5 usd")
    assert line["why"] == "the flow is paused: its budget is used up: 5 of 5 usd"
    assert "5 usd" in terminal.run("ls")[1].splitlines()[-1]

    code, out, _ = terminal.run("watch", "nov")
    assert code == 1
    assert "5 of 5 usd spent, about 20 usd in all · paused (its budget is used up: 5 of 5 usd)" in out
    assert out.splitlines()[-1] == "nov: paused: its budget is used up: 5 of 5 usd; flownb resume goes on"

    code, _, err = terminal.run("resume", "nov")
    assert (code, "has spent 5 usd, and its budget is 5 usd" in err) == (1, True)
    assert terminal.run("resume", "nov", "--budget", "usd")[0] == 2
    assert terminal.run("resume", "nov", "--budget", "usd=100", "--max-failures", "5%")[0] == 0
    assert held.wait(timeout=30).progress().completed == 41
    assert held._stored.store.flows.read_brakes(held._stored.id)["percent"] == "5"


def test_a_flow_is_paused_and_resumed(served, terminal):
    flow = fn.add({"name": "total", "queueName": "totals"}, name="totals")

    assert terminal.run("pause", "totals")[:2] == (0, "totals: paused\n")
    assert flow.progress().paused == "by hand"
    code, _, err = terminal.run("resume", "totals", "--budget", "usd=1")
    assert (code, "is no batch" in err) == (1, True)
    code, out, _ = terminal.run("resume", "totals", "--json")
    assert (code, json.loads(out)) == (0, {"name": "totals", "state": "waiting"})
    assert flow.progress().paused is None
