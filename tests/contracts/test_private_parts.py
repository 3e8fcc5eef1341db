"""No module reaches into another one's private parts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "flownb"

# Named with an underscore only to keep clear of a caller's own names.
PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}


def reached(source: str) -> Iterator[tuple[int, str]]:
    """Yield lines and names of private attributes that the module does not define itself."""
    tree = ast.parse(source)
    own = PUBLIC | set(_defined(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names if _is_private(alias.name))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in {"self", "cls"}
        ):
            yield node.attr


def test_no_module_reaches_into_another_ones_private_parts():
    found = [
        f"{path.relative_to(PACKAGE)}:{line} .{name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in reached(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source", ["flow._store.read()", "from flownb.api.flow import _title", "self.flow._store = 1"]
)
def test_a_reach_is_found(source: str):
    assert list(reached(source))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n def f(self): return self._x\n def g(self, other): return other._x",
        "row._replace(a=1)",
        "x.__dict__",
        "def _f(): pass\nimport a\na._f",
    ],
)
def test_own_private_parts_are_let_through(source: str):
    assert not list(reached(source))
