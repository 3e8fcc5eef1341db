"""Runs the gate in small: `make chaos` runs it whole. Shows that the gate itself sees what it is there to see."""

from __future__ import annotations

import pytest

from tests.faults import chaos
from tests.support import execution_log
from tests.support.execution_log import Kill, Run

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


BEFORE, AFTER = Run("a", 1, 10.0, 10.5), Run("a", 2, 12.0, 12.5)


def test_a_run_without_a_kill_is_seen():
    assert execution_log.not_explained([[BEFORE, AFTER]], [Kill(1, 11.0)]) == []
    assert len(execution_log.not_explained([[BEFORE, AFTER]], [])) == 1
    assert len(execution_log.not_explained([[BEFORE, AFTER]], [Kill(2, 11.0)])) == 1, "another process"
    assert len(execution_log.not_explained([[BEFORE, AFTER]], [Kill(1, 9.0)])) == 1, "killed before it began"


def test_what_had_begun_at_a_kill_is_what_was_not_written():
    assert execution_log.begun_at(Kill(1, 11.0), [[BEFORE, AFTER]], {"a": 12.6}) == {"a"}
    assert execution_log.begun_at(Kill(1, 11.0), [[BEFORE, AFTER]], {"a": 10.6}) == set()
    assert execution_log.begun_at(Kill(1, 9.0), [[BEFORE, AFTER]], {}) == set()
