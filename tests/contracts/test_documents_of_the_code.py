"""What is written about the code names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LUA = ROOT / "flownb" / "wire" / "lua"


def exists(name: str) -> bool:
    return any(
        (folder / name).exists()
        for folder in (ROOT, ROOT / "flownb", ROOT / "flownb/wire", LUA, LUA / "transitions")
    )


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_every_file_that_is_named_exists(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {
        name for name in re.findall(r"`([\w/.]+)`", text) if "/" in name and not name.startswith((".", "/"))
    }
    assert len(named) > 15
    # `a/b` -> `c`: a module of a journey, without its ending
    assert [name for name in sorted(named) if not exists(name) and not exists(f"{name}.py")] == []


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_every_link_leads_somewhere(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []
