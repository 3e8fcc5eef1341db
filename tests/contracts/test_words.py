"""Names say what a thing is or does: none of the words that fit everything, none that once misled a reader."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "flownb"
GLOSSARY = ROOT / "docs" / "glossary.md"

EMPTY_VERBS = {"handle", "process", "do"}  # `handle_x`; a lone `process` is BullMQ's word for a processor


class Name(NamedTuple):
    """A name in the code and where it is."""

    where: str
    kind: str  # file, class, function, parameter
    name: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind} {self.name}"


class Refused(NamedTuple):
    """A row of the glossary's last table."""

    instead: str
    anywhere: bool  # refused as a part of a longer name, too


def refused_words() -> dict[str, Refused]:
    """Read the glossary's last table: the word, and what to use instead."""
    section = GLOSSARY.read_text(encoding="utf-8").split("\n## Words not to use\n")[1]
    rows = re.findall(r"^\| ([a-z_]+) \| (.+) \| (any|whole) \|$", section, re.MULTILINE)
    return {word: Refused(instead, where == "any") for word, instead, where in rows}


REFUSED = refused_words()


def words_of(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def complaint(found: Name) -> str | None:
    """Say what is wrong with a name, if anything."""
    words = words_of(found.name)
    # a function or a parameter may be an everyday word; a file or a class is what a reader looks for
    whole = ("_".join(words),) if found.kind in {"file", "class"} else ()
    for word in (*whole, *(word for word in words if word in REFUSED and REFUSED[word].anywhere)):
        if word in REFUSED:
            return f"{found}: not '{word}', but {REFUSED[word].instead}"
    if found.kind == "function" and len(words) > 1 and words[0] in EMPTY_VERBS:
        return f"{found}: '{words[0]}_' says nothing"
    return None


def names_in(package: Path) -> Iterator[Name]:
    for path in sorted(package.rglob("*")):
        where = path.relative_to(package).as_posix()
        if path.suffix in {".py", ".lua", ".js"} or path.is_dir():
            yield Name(where, "file", path.stem)
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield from _names_of(node, where)
        elif path.suffix == ".lua":
            for name, parameters in re.findall(
                r"function +([\w.:]+)\(([^)]*)\)", path.read_text(encoding="utf-8")
            ):
                yield Name(where, "function", name)
                yield from (Name(where, "parameter", word) for word in re.findall(r"\w+", parameters))


def _names_of(node: ast.AST, where: str) -> Iterator[Name]:
    if isinstance(node, ast.ClassDef):
        yield Name(f"{where}:{node.lineno}", "class", node.name)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield Name(f"{where}:{node.lineno}", "function", node.name)
        for one in ast.walk(node.args):
            if isinstance(one, ast.arg):
                yield Name(f"{where}:{one.lineno}", "parameter", one.arg)


def test_every_name_says_what_it_names():
    assert [problem for name in names_in(PACKAGE) if (problem := complaint(name))] == []


def test_no_two_rooms_have_files_of_one_name():
    by_name = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if path.stem not in {"__init__", "__main__"}:
            by_name[path.name].append(path.relative_to(PACKAGE).as_posix())
    assert [sorted(paths) for paths in by_name.values() if len(paths) > 1] == []


def test_the_table_is_read():
    assert len(REFUSED) > 30
    assert REFUSED["parcel"] == Refused("packed_job", True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("class", "JobManager"),
        ("file", "utils"),
        ("function", "_helper"),
        ("function", "handle_reply"),
        ("function", "_process_job"),
        ("function", "do_it"),
        ("function", "doIt"),
        ("class", "FlowBooks"),
        ("parameter", "chart"),
        ("file", "cells"),
        ("class", "Elsewhere"),
    ],
)
def test_a_name_that_misleads_is_found(kind: str, name: str):
    assert complaint(Name("a.py", kind, name))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("function", "process"),
        ("class", "processor"),
        ("function", "processed_on"),
        ("function", "done"),
        ("function", "handle"),
        ("file", "commonest"),
        ("class", "worker"),
        ("parameter", "found"),
        ("class", "TableCells"),
    ],
)
def test_a_good_name_is_let_through(kind: str, name: str):
    assert complaint(Name("a.py", kind, name)) is None
