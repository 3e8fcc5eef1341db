"""Write the tables of files into ARCHITECTURE.md: one line a file of the package, script or test, from its first line.

`--check` says whether the table is up to date.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flownb"
PAGE = ROOT / "ARCHITECTURE.md"
TABLE = re.compile(r"(<!-- files -->\n).*?(<!-- end of files -->)", re.DOTALL)

ROOMS = (  # in the order of ARCHITECTURE.md's first table; "" is flownb/ itself
    "",
    "wire",
    "wire/store",
    "connection",
    "files",
    "state",
    "adding",
    "steering",
    "diagnosis",
    "api",
    "tasks",
    "worker",
    "batches",
    "views",
    "widgets",
    "widgets/static",
    "cli",
)
SCRIPT_ROOMS = ("transitions", "reads", "repair", "lib")  # of flownb/wire/lua/, in the order of the page


def first_line(path: Path) -> str:
    """Return what a file says that it is for; raise ValueError if it does not."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        says = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    else:
        found = re.match(r"(?://|--+) *(?:\w+: )?(.*)\n", text)
        says = found[1] if found else ""
    if not says:
        raise ValueError(f"{path.relative_to(ROOT)}: its first line does not say what the file is for")
    return says


def files() -> list[Path]:
    """Return the files of the package that have a line in the table, room by room."""
    found = [path for kind in ("*.py", "*.js") for path in PACKAGE.rglob(kind)]
    rooms = {path.parent.relative_to(PACKAGE).as_posix().removeprefix(".") for path in found}
    if unknown := sorted(rooms - set(ROOMS)):
        raise ValueError(f"scripts/write_file_table.py: ROOMS does not have {', '.join(unknown)}")

    def place(path: Path) -> tuple[int, bool, str]:
        room = path.parent.relative_to(PACKAGE).as_posix().removeprefix(".")
        return ROOMS.index(room), path.name != "__init__.py", path.name

    return sorted(found, key=place)


def scripts() -> list[Path]:
    """Return the Lua scripts and what they share, room by room."""
    return [path for room in SCRIPT_ROOMS for path in sorted((PACKAGE / "wire/lua" / room).glob("*.lua"))]


def tests() -> list[Path]:
    """Return the files of tests and what they share, folder by folder."""
    found = [path for path in (ROOT / "tests").rglob("*.py") if path.stat().st_size]
    return sorted(found, key=lambda path: (path.parent, path.name))


def tools() -> list[Path]:
    """Return the scripts of the repository and the benchmarks."""
    return [path for folder in ("scripts", "benchmarks") for path in sorted((ROOT / folder).glob("*.py"))]


def table(paths: list[Path], root: Path) -> str:
    """Return a table: file, what it is for."""
    rows = [(path.relative_to(root).as_posix(), first_line(path)) for path in paths]
    lines = ["| file | what it is for |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {says.replace('|', chr(92) + '|')} |" for name, says in rows)])


def tables() -> str:
    """Return the tables, each below its heading."""
    return "\n".join(
        [
            "### The package\n",
            table(files(), PACKAGE),
            "\n### Scripts, below `wire/lua/`\n",
            table(scripts(), PACKAGE / "wire/lua"),
            "\n### Tests\n",
            table(tests(), ROOT),
            "\n### Scripts of the repository, and benchmarks\n",
            table(tools(), ROOT),
        ]
    )


def with_table(page: str) -> str:
    """Return the page with its table made anew."""
    return TABLE.sub(lambda found: f"{found[1]}{tables()}\n{found[2]}", page)


def main(arguments: list[str]) -> int:
    """Write the table, or compare it."""
    stored = PAGE.read_text(encoding="utf-8")
    made = with_table(stored)
    if "--check" not in arguments:
        PAGE.write_text(made, encoding="utf-8")
        return 0
    if made == stored:
        return 0
    old, new = set(stored.splitlines()), set(made.splitlines())
    for sign, lines in (("-", old - new), ("+", new - old)):
        print(*(f"{sign} {line}" for line in sorted(lines)), sep="\n")
    print("ARCHITECTURE.md is out of date: run `make fmt`, or scripts/write_file_table.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
