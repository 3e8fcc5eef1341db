"""Names say what a thing is or does: none of the words that fit everything."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "flownb"

EMPTY_WORDS = {"manager", "managers", "util", "utils", "helper", "helpers", "common"}
EMPTY_VERBS = {"handle", "process", "do"}  # `handle_x`; a lone `process` is BullMQ's word for a processor


def is_empty(name: str) -> bool:
    """Say whether a module's, class's or function's name holds a word that says nothing."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    return bool(EMPTY_WORDS & set(words)) or (len(words) > 1 and words[0] in EMPTY_VERBS)


def names_in(package: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted(package.rglob("*")):
        where = path.relative_to(package).as_posix()
        if path.suffix in {".py", ".lua", ".js"}:
            found.append((where, path.stem))
        elif path.is_dir():
            found.append((where, path.name))
        if path.suffix == ".py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            found += [
                (f"{where}:{node.lineno}", node.name) for node in ast.walk(tree) if isinstance(node, kinds)
            ]
        elif path.suffix == ".lua":
            found += [
                (where, name) for name in re.findall(r"function +([\w.:]+)", path.read_text(encoding="utf-8"))
            ]
    return found


def test_no_name_is_an_empty_word():
    assert [f"{where}: {name}" for where, name in names_in(PACKAGE) if is_empty(name)] == []


@pytest.mark.parametrize(
    "name", ["JobManager", "utils", "_helper", "handle_reply", "_process_job", "do_it", "doIt"]
)
def test_an_empty_word_is_found(name):
    assert is_empty(name)


@pytest.mark.parametrize(
    "name", ["process", "processor", "processed_on", "done", "handle", "commonest", "worker"]
)
def test_a_good_word_is_let_through(name):
    assert not is_empty(name)
