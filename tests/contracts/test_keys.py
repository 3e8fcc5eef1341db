"""Keys are put together and cut apart in wire/keys alone, and the client of a store is for wire and connection alone."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "flownb"

KEY_WORDS = re.compile(r"(?:^|[._])(?:base|key|prefix|job|parent|queue|child|root)s?(?:_key)?(?:\(\))?$")
GLUE = re.compile(r":[a-z-]*(?::[a-z-]*)*\Z")  # `:`, `:wait`, `:flownb:flow:`
CUTS = {"split", "rsplit", "partition", "rpartition", "removesuffix", "removeprefix"}
CLIENT_ROOMS = {"wire", "connection"}


def is_key(node: ast.expr) -> bool:
    """Say whether an expression is named like a key or a part of one."""
    return KEY_WORDS.search(ast.unparse(node)) is not None


def glued_keys(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield texts put together or cut apart at a colon, beside what is named like a key."""
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=parts):
                found = is_glued(parts)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                found = is_glued([left, right])
            case ast.Call(func=ast.Attribute() as function, args=args):
                found = is_cut(function, args) or is_joined(function)
            case _:
                continue
        if found:
            yield node.lineno, ast.unparse(node)


def is_glued(parts: list[ast.expr]) -> bool:
    """Say whether something named like a key is followed by a colon and perhaps the name of a part."""
    for before, after in itertools.pairwise(parts):
        value = before.value if isinstance(before, ast.FormattedValue) else before
        if isinstance(after, ast.Constant) and GLUE.match(str(after.value)) and is_key(value):
            return True
    return False


def is_cut(function: ast.Attribute, args: list[ast.expr]) -> bool:
    """Say whether something named like a key is cut at a colon, or anything is split at one into many."""
    if function.attr not in CUTS or not args or not isinstance(args[0], ast.Constant):
        return False
    at = str(args[0].value)
    return (at == ":" and function.attr in {"split", "rsplit"}) or (":" in at and is_key(function.value))


def is_joined(function: ast.Attribute) -> bool:
    return (
        function.attr == "join" and isinstance(function.value, ast.Constant) and function.value.value == ":"
    )


def clients_of_stores(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield where the client of a store is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "client":
            owner = ast.unparse(node.value)
            if owner.split(".")[-1] in {"server", "_server"} or re.search(
                r"(^|[._])store_?(\(.*\))?$", owner, re.I
            ):
                yield node.lineno, ast.unparse(node)


def problems_in(package: Path) -> list[str]:
    problems = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=name)
        if name != "wire/keys.py":
            problems += [f"{name}:{line} {what}: use wire/keys" for line, what in glued_keys(tree)]
        if name.split("/")[0] not in CLIENT_ROOMS:
            problems += [f"{name}:{line} {what}: ask the store" for line, what in clients_of_stores(tree)]
    return problems


def test_keys_are_made_in_wire_keys_and_clients_used_in_wire_and_connection():
    assert problems_in(PACKAGE) == []


# -- the checks themselves find what is planted -----------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        'f"{base}:wait"',
        'f"{self.base}:{id}"',
        'f"{prefix}:flownb:flow:{flow}"',
        'f"found {job.key}:lock"',
        'base + ":wait"',
        'parent_key + ":dependencies"',
        'job_key.rpartition(":")[2]',
        'name.split(":")',
        'name.rsplit(":", 2)',
        'job.partition(":")[0]',
        'base.removesuffix(":meta")',
        '":".join([prefix, queue])',
        "store.client.hget(key, field)",
        "self._store.server.client.exists(key)",
        "Store(client, prefix).client",
    ],
)
def test_a_planted_fault_is_found(tmp_path, source):
    plant(tmp_path, "state/a.py", source)
    assert len(problems_in(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("wire/keys.py", 'f"{base}:{id}"'),
        ("wire/store/jobs.py", "self._server.client.hget(key, field)"),
        ("connection/connect.py", "store.client.close()"),
        ("state/a.py", 'keys.part(base, "wait")'),
        ("state/a.py", 'f"{job}: {reason}"'),
        ("state/a.py", 'f"{minutes}:{seconds:02}"'),
        ("state/a.py", 'reason.partition(": ")[0]'),
        ("state/a.py", "connection.client()"),
    ],
)
def test_what_is_right_is_let_through(tmp_path, file, source):
    plant(tmp_path, file, source)
    assert problems_in(tmp_path) == []


def plant(package: Path, file: str, source: str) -> None:
    (package / file).parent.mkdir(parents=True, exist_ok=True)
    (package / file).write_text(source)
