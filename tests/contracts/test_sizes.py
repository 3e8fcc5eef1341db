"""Files and functions stay small enough to be read at one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "flownb"

LONGEST_FILE = {".py": 400, ".lua": 150}  #: lines
LONGEST_JS_LINE = 110  #: characters
MOST_COMPLEX = 15
COMPLEX_AT_P95 = 8
LONG_AT_P95 = 25  #: lines of a function, its docstring left out

BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions_of(package: Path) -> list[tuple[str, Function]]:
    """Return where and what of every function, nested ones and methods too."""
    found = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                found.append((f"{path.relative_to(package)}:{node.lineno} {node.name}", node))
    return found


def complexity(function: ast.AST) -> int:
    """Return 1, a branch more for each condition and loop, and one for each further operand of `and` and `or`."""
    return 1 + sum(
        isinstance(node, BRANCHES) + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0)
        for node in _inside(function)
    )


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is below a node; what is defined there counts for itself."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef):
            yield child
            yield from _inside(child)


def length(function: Function) -> int:
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def test_files_are_short():
    too_long = [
        f"{path.relative_to(PACKAGE)}: {lines} lines, {limit} are the most"
        for kind, limit in LONGEST_FILE.items()
        for path in sorted(PACKAGE.rglob(f"*{kind}"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > limit
    ]
    assert too_long == []


def test_lines_of_javascript_are_short():
    too_long = [
        f"{path.relative_to(PACKAGE)}:{number}: {len(line)} characters"
        for path in sorted(PACKAGE.rglob("*.js"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST_JS_LINE
    ]
    assert too_long == []


def test_no_function_is_too_complex():
    measured = [(complexity(function), where) for where, function in functions_of(PACKAGE)]
    assert [f"{where}: {branches}" for branches, where in measured if branches > MOST_COMPLEX] == []


def test_most_functions_are_simple():
    measured = sorted(
        ((complexity(function), where) for where, function in functions_of(PACKAGE)), reverse=True
    )
    over = [f"{where}: {branches}" for branches, where in measured if branches > COMPLEX_AT_P95]
    assert percentile([branches for branches, _ in measured], 0.95) <= COMPLEX_AT_P95, over


def test_most_functions_are_short():
    measured = [length(function) for _, function in functions_of(PACKAGE)]
    assert percentile(measured, 0.95) <= LONG_AT_P95


@pytest.mark.parametrize(
    ("source", "branches"),
    [
        ("def f(): return 1", 1),
        ("def f(a):\n if a: return 1\n elif not a: return 2", 3),
        ("def f(a, b): return a and b or a", 3),
        ("def f(a):\n for x in a:\n  while x: pass", 3),
        ("def f(a): return [x for x in a if x]", 2),
        ("def f(a):\n def g(): return 1 if a else 2\n return g", 1),
    ],
)
def test_complexity_is_counted(source: str, branches: int):
    assert complexity(ast.parse(source).body[0]) == branches
