"""The page about the scripts is what their headers say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRITER = ROOT / "scripts" / "write_lua_readme.py"


@pytest.fixture
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_lua_readme", WRITER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date():
    done = subprocess.run([sys.executable, WRITER, "--check"], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, ""), "run scripts/write_lua_readme.py"


def test_a_stale_page_is_found(writer: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    writer.README = tmp_path / "README.md"
    writer.README.write_text(writer.generate().replace("`PARENT_MISSING`", "`PARENT_GONE`"))

    assert writer.main(["--check"]) == 1
    assert "PARENT_MISSING" in capsys.readouterr().out
    assert writer.main([]) == 0
    assert writer.main(["--check"]) == 0


def test_every_script_and_every_key_is_on_the_page(writer: ModuleType):
    page = writer.generate()

    for path in writer.FOLDER.rglob("*.lua"):
        assert f"| `{path.stem}` |" in page
    for line in page.splitlines():
        assert not re.match(r"\| `<.*\|  \|$", line), f"no file names {line}"


def test_every_state_is_in_the_picture_and_can_be_left_the_last_two_only_by_a_retry(writer: ModuleType):
    arrows = {tuple(found) for found in re.findall(r"^  (\S+) --> (\S+) :", writer.diagram(), re.MULTILINE)}

    assert len(arrows) == len(writer.transitions())
    for state in ("waiting", "prioritized", "active", "delayed", "waiting_children", "completed", "failed"):
        assert any(target == state for _, target in arrows)
        assert any(origin == state for origin, _ in arrows)
    assert {target for origin, target in arrows if origin == "completed"} == {
        "waiting_children",
        "waiting",
        "prioritized",
    }


def test_a_stale_diagram_is_found(writer: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = writer.STATE_MACHINE.read_text(encoding="utf-8")
    writer.STATE_MACHINE = tmp_path / "state-machine.md"
    writer.STATE_MACHINE.write_text(page.replace("active --> completed", "active --> delayed"))

    assert writer.main(["--check"]) == 1
    assert "active --> completed" in capsys.readouterr().out
