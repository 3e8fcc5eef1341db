"""Fails what is skipped where CI=true, which must not pass by leaving out; `tests/conftest.py` has the hooks from here.

What no package brings to a system, such as a wheel for another Python, is said with `NOT_ON_THIS_SYSTEM`: that may be
skipped anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

NOT_ON_THIS_SYSTEM = "not on this system: "
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _failed_if_left_out(report: Report) -> Report:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NOT_ON_THIS_SYSTEM not in reason:
            report.outcome = "failed"
            report.longrepr = f"{reason}; where CI=true nothing is left out"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at each test."""
    return _failed_if_left_out((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at each file: it may be skipped as a whole."""
    return _failed_if_left_out((yield))
