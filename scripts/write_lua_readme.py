"""Write flownb/wire/lua/README.md from the headers of the Lua files, and the diagram in docs/state-machine.md.

`--check` says whether both are up to date.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "flownb" / "wire" / "lua"
README = FOLDER / "README.md"
STATE_MACHINE = ROOT / "docs" / "state-machine.md"
DIAGRAM = re.compile(r"```mermaid\nstateDiagram-v2\n.*?```", re.DOTALL)

STATES = ("waiting", "prioritized", "active", "delayed", "waiting-children", "completed", "failed")
SCRIPT_ROOMS = {
    "transitions": "one transition each",
    "reads": "one read each; nothing is written",
    "repair": "what `doctor` puts right",
}
QUEUE_KEYS = {  # what each key of a queue holds; the names are BullMQ's
    "meta": "settings: `opts.maxLenEvents`, `paused`, `concurrency`, `max`, `duration`",
    "id": "how many jobs were stored",
    "wait": "list of ids, the next one at its right end",
    "prioritized": "ids by priority, then by order of coming",
    "pc": "counter for the order within a priority",
    "delayed": "ids by the time they are due",
    "active": "list of ids that run, the newest at its left end",
    "waiting-children": "parents whose children are not done",
    "completed": "ids by the time they ended",
    "failed": "ids by the time they ended",
    "stalled": "running ids that had no lease at the last sweep",
    "stalled-check": "set for an interval by whoever sweeps first",
    "limiter": "starts in the present window; a huge number: held by hand",
    "marker": "what idle workers sleep on: `0` work now, `1` work at its score",
    "events": "stream of what happened",
    "de": "`:<deduplication id>`: the job that owns it",
    "dn": "`:<deduplication id>`: the job that follows when its owner has ended (keepLastIfActive)",
    "paused": "BullMQ 5's line of a paused queue, taken in by `resume_queue`",
}
JOB_KEYS = {
    "lock": "token of the worker that runs the job; its life is the lease",
    "dependencies": "keys of children that are pending; of a flow being stored in chunks also its seal",
    "processed": "child's key -> JSON value",
    "failed": "child's key -> why it failed, forgiven",
    "unsuccessful": "keys of children that failed their parent, by time",
    "logs": "rows written by the job",
}
OWN_KEYS = {
    "flownb:flow": "`:<id>`: a flow's record",
    "flownb:counts": "`:<id>`: `state@queue` -> jobs of a flow",
    "flownb:children": "`:<job's key>`: a parent's declared children",
    "flownb:flows": "ids of flows by time of adding",
    "flownb:names": "name -> the newest flow of that name",
    "flownb:parents": "`:<job's key>`: further parents of a shared job",
    "flownb:shared": "shared jobs that have not ended -> their first parent's policy and key",
    "flownb:aside": "`:<id>`: keys of jobs that wait until others of their flow have ended, the oldest last",
    "flownb:served": "queues with a worker, until when",
}

_TAG = re.compile(r"^-- @(\w+) *(.*)$", re.MULTILINE)
_STATE = "|".join(sorted((*STATES, "nothing"), key=len, reverse=True))
_LIST = rf"(?:{_STATE})(?:(?:, | or )(?:{_STATE}))*"
_NAMED = re.compile(r"\b(\w+) = ':([\w-]+)'")
_ARROW = re.compile(rf"({_LIST}) -> ({_LIST})")


class Lua:
    """One file: its first line, its tags, its text without comments."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.room = path.parent.name
        self.text = path.read_text(encoding="utf-8")
        self.says = re.sub(r"^--+ \w+: ", "", self.text.splitlines()[0])
        self.tags: dict[str, list[str]] = {}
        for tag, words in _TAG.findall(self.text):
            self.tags.setdefault(tag, []).extend(words.split())
        self.code = re.sub(r"--[^\n]*", "", self.text)
        self.named = dict(_NAMED.findall(self.code))  # of a queue's keys, in Lua
        self.code = _NAMED.sub("", self.code)

    def arrows(self) -> list[tuple[str, str]]:
        """Return the transitions that its comments declare, ``from`` and ``to``."""
        found = []
        for line in self.text.splitlines():
            if line.startswith("--"):
                for origin, target in _ARROW.findall(line):
                    found += [(a, b) for a in re.findall(_STATE, origin) for b in re.findall(_STATE, target)]
        return found

    def keys(self, fields: dict[str, str]) -> set[str]:
        """Return the keys that its own code names; `fields` are those of a queue in Lua."""
        found = {fields[name] for name in re.findall(r"\bq\.(\w+)", self.code) if name in fields}
        found |= {f":{name}" for name in re.findall(r"':([\w-]+)'", self.code) if name in JOB_KEYS}
        found |= {
            name for name in re.findall(r"':([\w-]+)'", self.code) if name in QUEUE_KEYS.keys() - JOB_KEYS
        }
        found |= {key for key in OWN_KEYS if f":{key}" in self.code}
        found |= {f"flownb:{kind}" for kind in re.findall(r"flow_key\('(\w+)'", self.code)}
        found |= {key for key in ("flownb:flows", "flownb:names") if f"home .. ':{key[7:]}'" in self.code}
        return found


def read_files() -> list[Lua]:
    """Return all Lua files, by name."""
    return [Lua(path) for path in sorted(FOLDER.rglob("*.lua"), key=lambda path: path.stem)]


def generate() -> str:
    """Return the text of the page."""
    files = read_files()
    library = [file for file in files if file.room == "lib"]
    queue = next(file for file in library if file.name == "queue")
    parts = [
        "# The scripts",
        "Made by `scripts/write_lua_readme.py` from the headers of the files here; do not edit. What is stored is "
        "on [docs/wire-format.md](../../../docs/wire-format.md), the rules for Lua are in "
        "[ARCHITECTURE.md](../../../ARCHITECTURE.md).",
        "Which script takes a job from which state to which is drawn in "
        "[docs/state-machine.md](../../../docs/state-machine.md).",
        *(part for room, title in SCRIPT_ROOMS.items() for part in _section(room, title, files)),
        "## `lib/`: what scripts share, put in front of them by the loader",
        _table(
            ["file", "what it is", "touches", "uses"],
            [[f"`{f.name}`", f.says, _words(f, "touches"), _words(f, "use")] for f in library],
        ),
        "## Keys, and the files that name them",
        _table(["key", "holds", "files"], _key_rows(files, queue.named)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(room: str, title: str, files: list[Lua]) -> list[str]:
    tags = ("args", "returns", "errors", "use")
    rows = [[f"`{f.name}`", f.says, *(_words(f, tag) for tag in tags)] for f in files if f.room == room]
    return [
        f"## `{room}/`: {title}",
        _table(["script", "what it does", "args", "returns", "errors", "uses"], rows),
    ]


def with_diagram(page: str) -> str:
    """Return the page about states with its first diagram made anew."""
    return DIAGRAM.sub(lambda _: diagram(), page, count=1)


def transitions() -> dict[tuple[str, str], list[str]]:
    """Return the transitions of a job, ``(from, to)``, with the files that declare them; ``nothing``: not there yet."""
    by: dict[tuple[str, str], list[str]] = {}
    for file in read_files():
        for arrow in file.arrows():
            if file.name not in by.setdefault(arrow, []):
                by[arrow].append(file.name)
    return by


def diagram() -> str:
    """Return the transitions as a diagram."""
    by = transitions()
    order = {state: i for i, state in enumerate(("nothing", *STATES))}
    lines = ["```mermaid", "stateDiagram-v2", '  state "waiting-children" as waiting_children']
    for origin, target in sorted(by, key=lambda arrow: (order[arrow[0]], order[arrow[1]])):
        start = "[*]" if origin == "nothing" else origin.replace("-", "_")
        lines.append(f"  {start} --> {target.replace('-', '_')} : {', '.join(by[origin, target])}")
    return "\n".join([*lines, "```"])


def _key_rows(files: list[Lua], fields: dict[str, str]) -> list[list[str]]:
    named = {file.name: file.keys(fields) for file in files}

    def row(key: str, shown: str, holds: str) -> list[str]:
        return [f"`{shown}`", holds, ", ".join(f"`{name}`" for name, keys in named.items() if key in keys)]

    rows = [row(name, f"<queue>:{name}", holds) for name, holds in QUEUE_KEYS.items()]
    rows += [row(f":{name}", f"<job>:{name}", holds) for name, holds in JOB_KEYS.items()]
    return rows + [row(name, f"<prefix>:{name}", holds) for name, holds in OWN_KEYS.items()]


def _words(file: Lua, tag: str) -> str:
    return " ".join(f"`{word}`" for word in file.tags.get(tag, []))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them."""
    stale = 0
    for page, made in ((README, generate()), (STATE_MACHINE, with_diagram(_stored(STATE_MACHINE)))):
        stored = _stored(page)
        if "--check" not in arguments:
            page.write_text(made, encoding="utf-8")
        elif made != stored:
            stale = 1
            old, new = stored.splitlines(), made.splitlines()
            sys.stdout.writelines(
                f"{line}\n" for line in difflib.unified_diff(old, new, page.name, "made", lineterm="")
            )
            print(f"{page.name} is out of date: run scripts/write_lua_readme.py", file=sys.stderr)
    return stale


def _stored(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
