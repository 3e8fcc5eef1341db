"""What type checkers make of a user's code: `page.py` says it line by line, mypy and pyright must agree."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flownb.options import JobOptions
from flownb.typed import RowOptions, TaskOptions

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = FOLDER / "page.py"
ERROR = "error"
#: what type checkers print before a class's own name
_MODULES = re.compile(r"\b[a-z_]+\.(?:[a-z_]+\.)*(?=[A-Z])")


def expected() -> dict[int, str]:
    """Line -> the revealed type, or `ERROR`."""
    found = {}
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        code, _, comment = line.partition("  # ")
        if comment.startswith(f"{ERROR}:"):
            found[number] = ERROR
        elif "reveal_type(" in code:
            found[number] = comment
    return found


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def mypy() -> dict[int, str]:
    found: dict[int, str] = {}
    checked = run(sys.executable, "-m", "mypy", "--strict", "--output", "json", str(PAGE))
    for told in map(json.loads, checked.splitlines()):
        revealed = re.match(r'Revealed type is "(.*)"', told["message"])
        if revealed:
            found[told["line"]] = _MODULES.sub("", revealed[1])
        elif told["severity"] == ERROR:
            found[told["line"]] = ERROR
    return found


def pyright() -> dict[int, str]:
    node = shutil.which("node") or str(Path(sys.executable).parent / "node")
    checker = str(FOLDER / "node_modules" / "pyright" / "index.js")
    told = json.loads(run(node, checker, "--outputjson", "--pythonpath", sys.executable, str(PAGE)))
    found: dict[int, str] = {}
    for one in told["generalDiagnostics"]:
        line = one["range"]["start"]["line"] + 1
        revealed = re.match(r'Type of ".*" is "(.*)"$', one["message"], re.DOTALL)
        found[line] = revealed[1] if revealed else ERROR
    return found


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_type_checkers_see_what_a_function_takes_and_returns(checker):
    assert checker() == expected()


def test_each_option_of_a_job_has_a_type():
    policies = {"fail_parent", "continue_parent", "ignore_dependency", "remove_dependency"}
    known = {field.name for field in dataclasses.fields(JobOptions)} - {"job_id", "policy", "wire", "bullmq"}
    known |= {f"{policy}_on_failure" for policy in policies}
    of_tasks, of_rows = TaskOptions.__annotations__.keys(), RowOptions.__annotations__.keys()
    assert of_tasks == known
    assert of_rows == known - {"remove_on_complete", "remove_on_fail"} | {"limiter", "weight", "concurrency"}
