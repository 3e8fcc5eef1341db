"""Runs the gate in small: `make chaos` runs it whole."""

from __future__ import annotations

import pytest

from tests.faults import chaos

# Dead machines cost a lease of 15 s each, and are in a test of their own.
SMALL = chaos.Plan(
    seed=20, jobs=2000, waves=5, kills=6, machine_kills=0, server_kills=1, kill_gap=2.5, fleet=2, look_gap=3.0
)


@pytest.mark.serial
@pytest.mark.timeout(240)
def test_kills_of_workers_and_server_lose_fail_double_and_mix_up_nothing(tmp_path):
    report = chaos.run(SMALL, tmp_path)
    print(report)
    assert report.problems == []
    assert report.looks > 1
