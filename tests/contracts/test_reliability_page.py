"""docs/reliability.md names tests that exist, for each guarantee and each fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([GF]\d+) \|.*\| (.*) \|$", PAGE, re.MULTILINE))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", [*(f"G{i}" for i in range(1, 10)), *(f"F{i:02}" for i in range(1, 42))])
def test_every_guarantee_and_every_fault_has_a_test(row: str):
    assert re.findall(r"`(test_\w+)`", ROWS[row])


def test_every_test_that_the_page_names_exists():
    assert sorted(set(re.findall(r"`(test_\w+)`", PAGE)) - TESTS) == []
