"""Flows, workers and people in any order: after every step the server is where a model in plain Python is.

``FLOWNB_MODEL_MINUTES=30 pytest -s tests/model`` goes on with other dice for so long, and prints how often what happened.
"""

from __future__ import annotations

import importlib.util
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import world
from tests.model.machine import FlowMachine
from tests.support.script_bench import Bench

ROOT = Path(__file__).resolve().parents[2]
# A planted fault (tests/support/mutations.py) is to be seen, not to be explained.
PHASES = [Phase.generate] if "FLOWNB_MUTANT" in os.environ else [Phase.generate, Phase.shrink]
MINUTES = float(os.environ.get("FLOWNB_MODEL_MINUTES", "0"))
SAME_EACH_TIME = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(300 + MINUTES * 60 * 2)
def test_flows_do_what_the_model_says(bench: Bench):
    machine = type("Machine", (FlowMachine,), {"bench": bench})
    run_state_machine_as_test(machine, settings=SAME_EACH_TIME)

    ends = time.monotonic() + MINUTES * 60
    while time.monotonic() < ends:
        dice = random.randrange(2**32)
        print(f"seed {dice}, so far {dict(machine.done.most_common())}", flush=True)
        run_state_machine_as_test(seed(dice)(machine), settings=settings(SAME_EACH_TIME, derandomize=False))
    assert set(world.MOVES) <= _arrows(), "a way that the diagram in docs/state-machine.md does not show"


def _arrows() -> set[tuple[str, str]]:
    """The transitions that the scripts declare; a renewed lease is none to the model."""
    spec = importlib.util.spec_from_file_location(
        "write_lua_readme", ROOT / "scripts" / "write_lua_readme.py"
    )
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    return set(writer.transitions()) - {("active", "active")}
