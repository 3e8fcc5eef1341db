"""Shows that a run with CI=true cannot pass by leaving tests out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
A_FILE = """
import pytest
def test_left_out(): pytest.skip("no dot here")
@pytest.fixture
def dot(): pytest.skip("no dot here")
def test_left_out_by_a_fixture(dot): pass
@pytest.mark.skipif(True, reason="no dot here")
def test_left_out_by_a_mark(): pass
def test_left_out_for_a_package(): pytest.importorskip("no_such_package")
def test_run(): pass
def test_not_on_this_system(): pytest.skip("not on this system: /proc")
@pytest.mark.xfail(reason="not yet")
def test_known_to_fail(): assert False
"""
A_WHOLE_FILE = "import pytest; pytest.skip('no dot here', allow_module_level=True)"


@pytest.mark.parametrize(
    ("ci", "outcomes"),
    [
        ("true", {"failed": 2, "errors": 3, "passed": 1, "skipped": 1, "xfailed": 1}),
        ("", {"passed": 1, "skipped": 6, "xfailed": 1}),
    ],
)
def test_what_is_left_out_fails_where_ci_is_true_and_nowhere_else(tmp_path, ci, outcomes):
    (tmp_path / "test_some.py").write_text(A_FILE)
    (tmp_path / "test_whole.py").write_text(A_WHOLE_FILE)
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.skips", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", "."]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert {
        word: int(n) for n, word in re.findall(r"(\d+) (\w+)", said.splitlines()[-1].partition(" in ")[0])
    } == outcomes
    assert said.count("where CI=true nothing is left out") == (
        2 * 5 if ci else 0
    )  # where it failed, and in the summary


def test_the_tests_here_are_under_that_guard(request):
    hooks = request.config.hook
    for hook in (hooks.pytest_runtest_makereport, hooks.pytest_make_collect_report):
        assert "tests.support.skips" in {found.function.__module__ for found in hook.get_hookimpls()}
