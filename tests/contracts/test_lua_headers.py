"""The header of a Lua script is its contract, and its length is bounded: compared with the code, without a server.

A small reader of Lua follows each script into the helper functions it really calls, so that a code word
or an argument in a helper counts for the scripts that reach it and for no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from flownb import errors
from flownb.wire import scripts

PACKAGE = Path(scripts.__file__).resolve().parent.parent
FOLDER = PACKAGE / "wire" / "lua"
MOST_LINES = 150

RECORD_TAGS = ["row", "map"]
SCRIPT_TAGS = ["keys", "args", "returns", "errors", "use"]
HELPER_TAGS = ["touches", "use"]
CLOCK = {"now", "now_text"}
CALLERS_NAMES = {"args", "queues", "reply", "refuse"}  # of the prologue, for scripts alone
PROLOGUE_NAMES = CALLERS_NAMES | CLOCK | {"steps"}

TOKEN = re.compile(
    r"""(?P<comment>--\[\[.*?\]\]|--[^\n]*)
      | (?P<text>\[\[.*?\]\]|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
      | (?P<number>\d[\w.]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>\.\.\.|\.\.|==|~=|<=|>=|[^\s\w])""",
    re.VERBOSE | re.DOTALL,
)
CODE_WORD = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
TAG_LINE = re.compile(r"^-- @(\w+)(?: +(.+))?$", re.MULTILINE)


@dataclass
class Source:
    """One Lua file, cut into tokens, top-level functions and the rest."""

    name: str
    text: str
    is_helper: bool = False
    functions: dict[str, list[str]] = field(default_factory=dict)
    top: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        tokens = [m[0] for m in TOKEN.finditer(self.text) if m.lastgroup != "comment"]
        at = 0
        while at < len(tokens):
            if tokens[at : at + 2] == ["local", "function"]:
                end = end_of_block(tokens, at + 1)
                self.functions[tokens[at + 2]] = tokens[at + 3 : end]
                at = end
            else:
                self.top.append(tokens[at])
                at += 1

    @cached_property
    def tokens(self) -> list[str]:
        return [*self.top, *(token for body in self.functions.values() for token in body)]

    @cached_property
    def tags(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for tag, words in TAG_LINE.findall(self.text):
            found.setdefault(tag, []).extend(words.split())
        return found

    @cached_property
    def top_locals(self) -> set[str]:
        """Names that other files see: top-level functions and top-level `local`s."""
        found, depth = set(self.functions), 0
        for at, token in enumerate(self.top):
            depth += (token in OPENERS) - (token in CLOSERS)
            if token == "local" and depth == 0:
                found |= names_after(self.top, at + 1)
        return found

    @cached_property
    def own_names(self) -> set[str]:
        """Every name this file declares anywhere: locals, functions, parameters, loop variables."""
        found = set(self.functions)
        for body in [self.top, *self.functions.values()]:
            if body is not self.top:
                found |= set(body[1 : body.index(")")]) - {","}
            for at, token in enumerate(body):
                if token in {"local", "for"}:
                    found |= names_after(body, at + 1)
                elif token == "function":
                    start = body.index("(", at)
                    found |= set(body[at + 1 : body.index(")", start)]) - {"(", ","}
        return found


OPENERS, CLOSERS = {"function", "if", "do", "repeat"}, {"end", "until"}


def end_of_block(tokens: list[str], start: int) -> int:
    """Return the index behind the `end` that closes the `function` at `start`."""
    depth = 0
    for at in range(start, len(tokens)):
        depth += (tokens[at] in OPENERS) - (tokens[at] in CLOSERS)
        if depth == 0:
            return at + 1
    raise AssertionError(f"no end for: {' '.join(tokens[start : start + 5])}")


def names_after(tokens: list[str], at: int) -> set[str]:
    found = set()
    if tokens[at] == "function":
        return {tokens[at + 1]}
    while at < len(tokens) and re.fullmatch(r"[A-Za-z_]\w*", tokens[at]):
        found.add(tokens[at])
        if at + 1 >= len(tokens) or tokens[at + 1] != ",":
            break
        at += 2
    return found


def free_names(tokens: list[str]) -> set[str]:
    """Return the names used as variables: not fields, not methods, not keys of a table."""
    found = set()
    for at, token in enumerate(tokens):
        if re.fullmatch(r"[A-Za-z_]\w*", token):
            before = tokens[at - 1] if at else ""
            after = tokens[at + 1] if at + 1 < len(tokens) else ""
            if before not in {".", ":"} and not (after == "=" and before in {"{", ",", ";"}):
                found.add(token)
    return found


class Folder:
    """All Lua files of a folder, and what is wrong with each of them."""

    def __init__(self, path: Path) -> None:
        paths = sorted(path.rglob("*.lua"), key=lambda file: file.stem)
        self.files = {
            file.stem: Source(
                file.stem, file.read_text(encoding="utf-8"), is_helper=file.parent.name == scripts.LIBRARY
            )
            for file in paths
        }
        assert len(paths) == len(self.files), "two files have one name"
        self.helpers = {name: file for name, file in self.files.items() if file.is_helper}
        self.scripts = {name: file for name, file in self.files.items() if not file.is_helper}

    def closure(self, file: Source) -> dict[str, Source]:
        """Return the helpers that the loader puts in front of a file."""
        found: dict[str, Source] = {}
        todo = list(file.tags.get("use", []))
        while todo:
            name = todo.pop()
            if name in self.helpers and name not in found:
                found[name] = self.helpers[name]
                todo += found[name].tags.get("use", [])
        return found

    def reached(self, script: Source) -> list[list[str]]:
        """Return the code a script runs: its own, helpers' top level, and the functions that are called."""
        helpers = self.closure(script)
        functions = {
            name: (body, helper) for helper in helpers.values() for name, body in helper.functions.items()
        }
        found = [script.tokens, *(helper.top for helper in helpers.values())]
        todo = free_names(script.tokens) - script.own_names
        for helper in helpers.values():
            todo |= free_names(helper.top)
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in functions and name not in seen:
                seen.add(name)
                body, _ = functions[name]
                found.append(body)
                todo |= free_names(body)
        return found

    def problems(self) -> list[str]:
        return [
            f"{file.name}.lua: {problem}"
            for file in self.files.values()
            for problem in self.problems_of(file)
        ]

    def problems_of(self, file: Source) -> list[str]:
        found = [*self._in_form(file), *self._in_use(file)]
        return found if file.is_helper or found else self._in_contract(file)

    def _in_form(self, file: Source) -> list[str]:
        found = []
        lines = file.text.splitlines()
        first, dashes = (lines or [""])[0], "--" if file.is_helper else "---"
        if not re.match(rf"{dashes} {re.escape(file.name)}: \S", first):
            found.append(f"the first line is not `{dashes} {file.name}: what it does`")
        if len(lines) > MOST_LINES:
            found.append(f"{len(lines)} lines, more than {MOST_LINES}")
        known = [*(HELPER_TAGS if file.is_helper else SCRIPT_TAGS), *RECORD_TAGS]
        if unknown := [tag for tag in file.tags if tag not in known]:
            found.append(f"unknown tags: {unknown}")
        required = ["touches"] if file.is_helper else SCRIPT_TAGS
        if missing := [tag for tag in required if tag not in file.tags]:
            found.append(f"missing tags: {missing}")
        if file.is_helper and not file.tags.get("touches"):
            found.append("@touches says nothing")
        for tag, words in file.tags.items():
            if tag not in RECORD_TAGS and (
                twice := sorted({word for word in words if words.count(word) > 1})
            ):
                found.append(f"@{tag} says twice: {twice}")
        if positional := sorted({"KEYS", "ARGV"} & set(file.tokens)):
            found.append(f"{positional} stand only in the loader's prologue")
        if "error_reply" in file.tokens:
            found.append("error_reply stands only in the loader's prologue: use refuse()")
        free = free_names(file.tokens)
        if file.is_helper and (callers := sorted(CALLERS_NAMES & free)):
            found.append(f"a helper takes what it needs as parameters and answers nobody: {callers}")
        if hidden := sorted(PROLOGUE_NAMES & file.own_names):
            found.append(f"hides names of the prologue: {hidden}")
        return found

    def _in_use(self, file: Source) -> list[str]:
        found = []
        declared, names = file.tags.get("use", []), free_names(file.tokens) - file.own_names
        inlined = self.closure(file)
        for use in declared:
            if use not in self.helpers:
                found.append(f"@use {use}: there is no lib/{use}.lua")
            elif not names & self.helpers[use].top_locals and not (use == "queue" and "queues" in names):
                found.append(f"@use {use} is not needed")
        for name, helper in self.helpers.items():
            if name not in inlined and helper is not file and (used := names & helper.top_locals):
                found.append(f"uses {sorted(used)} of lib/{name}.lua without @use {name}")
        return found

    def _in_contract(self, script: Source) -> list[str]:
        found = []
        code = self.reached(script)
        arguments: set[str] = set()
        words: set[str] = set()
        for tokens in code:
            for at, token in enumerate(tokens):
                if token == "args" and tokens[at - 1 : at] not in (["."], [":"]):
                    if tokens[at + 1] == ".":
                        arguments.add(tokens[at + 2])
                    else:
                        found.append("args is passed on as a whole: write args.name")
                elif token in CLOCK and tokens[at - 1 : at] not in (["."], [":"]):
                    arguments.add("now")
                elif token[0] in "'\"" and (
                    CODE_WORD.fullmatch(token[1:-1]) or token[1:-1] in errors.BY_CODE
                ):
                    words.add(token[1:-1])
        if "queue" in self.closure(script):
            arguments.add("now")  # the clock belongs to queues
        found += differences("args", arguments, script)
        found += differences("errors", words, script)
        found += differences("returns", self._returned(script, found), script)
        if foreign := [word for word in script.tags["keys"] if word != "queues"]:
            found.append(f"@keys {foreign}: the loader knows `queues` only")
        if "queues" in free_names(script.tokens):
            if "queues" not in script.tags["keys"]:
                found.append("queues is used but not in @keys")
            if "queue" not in script.tags["use"]:
                found.append("queues is used without @use queue")
        return found

    def _returned(self, script: Source, problems: list[str]) -> set[str]:
        """Return the names in `reply{name = ...}`."""
        names, answers = set(), 0
        tokens = script.tokens
        for at, token in enumerate(tokens):
            if token != "reply" or tokens[at - 1 : at] == ["."]:
                continue
            answers += 1
            start = at + 1 + (tokens[at + 1] == "(")
            if tokens[start] != "{":
                problems.append("an answer is written reply{name = value}")
                continue
            depth = 0
            for i in range(start, len(tokens)):
                depth += (tokens[i] in "{([") - (tokens[i] in "})]")
                if depth == 0:
                    break
                if depth == 1 and tokens[i] in "{," and tokens[i + 1] != "}":
                    if tokens[i + 2] == "=":
                        names.add(tokens[i + 1])
                    else:
                        problems.append("an answer is written reply{name = value}")
        if not answers:
            problems.append("never answers with reply{...}")
        return names


def differences(tag: str, used: set[str], script: Source) -> list[str]:
    declared = set(script.tags[tag])
    found = []
    if used - declared:
        found.append(f"used but not in @{tag}: {sorted(used - declared)}")
    if declared - used:
        found.append(f"in @{tag} but not used: {sorted(declared - used)}")
    return found


# -- the contract -----------------------------------------------------------------------------------------

LUA = Folder(FOLDER)


def test_there_are_scripts():
    assert LUA.scripts


def test_every_script_is_in_a_room_of_its_kind():
    rooms = {path.parent.name for path in FOLDER.rglob("*.lua")}
    assert rooms == {*scripts.ROOMS, scripts.LIBRARY}


@pytest.mark.parametrize("name", sorted(LUA.files))
def test_a_header_says_what_the_code_does(name):
    assert LUA.problems_of(LUA.files[name]) == []


def test_code_words_and_exceptions_are_the_same():
    raised = {word for script in LUA.scripts.values() for word in script.tags.get("errors", [])}
    assert raised == set(errors.BY_CODE)


@pytest.mark.parametrize("name", sorted(LUA.scripts))
def test_the_loader_reads_the_same_header(name):
    script, tags = scripts.load(name), LUA.scripts[name].tags
    assert (script.args, set(script.returns)) == (set(tags["args"]), set(tags["returns"]))


@pytest.mark.parametrize("name", sorted(LUA.scripts))
def test_no_two_library_files_of_a_script_show_one_name(name):
    """They would write to one variable: names are declared once, for the whole script."""
    shown = re.findall(r"^local ([\w, ]+)\ndo$", scripts.load(name).source, re.MULTILINE)
    names = [one for line in shown for one in line.split(", ")]
    assert sorted(names) == sorted(set(names))


def test_positions_are_the_loaders_business():
    spoken = re.compile(r"\b(?:KEYS|ARGV)\[|\.evalsha\(|register_script\(")
    others = [path for path in PACKAGE.rglob("*.py") if path != Path(scripts.__file__)]
    assert [str(path) for path in others if spoken.search(path.read_text(encoding="utf-8"))] == []


# -- the checks themselves find what is planted -----------------------------------------------------------

HELPER = """\
-- queue: names.
-- @touches meta
local function name_of(q) return q.name .. now end
local function refusal(q)
  if name_of(q) == '' then return 'QUEUE_GONE' end
end
"""
OTHER = """\
-- other: another.
-- @touches nothing
-- @use     queue
local function twice(q) return name_of(q) .. name_of(q) end
"""
SCRIPT = """\
--- do_well: waiting -> active.
-- @keys    queues
-- @args    now id
-- @returns names
-- @errors  QUEUE_GONE JOB_GONE
-- @use     queue
local q = queues[1]
local problem = refusal(q)
if problem then return refuse(problem, q.name) end
if args.id == '' then return refuse('JOB_GONE', 'KEYS') end -- ARGV in a comment is no harm
return reply{names = {name_of(q), now = 1}}
"""


def problems(folder: Path, script: str = SCRIPT, helper: str = HELPER) -> list[str]:
    for name, text in {"transitions/do_well": script, "lib/queue": helper, "lib/other": OTHER}.items():
        path = folder / f"{name}.lua"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Folder(folder).problems()


def test_a_true_header_is_let_through(tmp_path):
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("args.id", "args.name", "used but not in @args: ['name']"),
        ("now id", "now id extra", "in @args but not used: ['extra']"),
        ("now id", "id", "used but not in @args: ['now']"),
        ("local q =", "local now, q =", "hides names of the prologue: ['now']"),
        ("args.id ==", "f(args) ==", "args is passed on as a whole"),
        (" JOB_GONE", "", "used but not in @errors: ['JOB_GONE']"),
        ("QUEUE_GONE JOB_GONE", "JOB_GONE", "used but not in @errors: ['QUEUE_GONE']"),
        ("QUEUE_GONE", "QUEUE_GONE LEASE_LOST", "in @errors but not used: ['LEASE_LOST']"),
        ("refusal(q)", "nil", "in @errors but not used: ['QUEUE_GONE']"),
        ("reply{names", "reply{other", "used but not in @returns: ['other']"),
        ("{names = {name_of(q), now = 1}}", "{name_of(q)}", "an answer is written reply{name = value}"),
        ("return reply", "return print", "never answers"),
        ("queue\n", "queue other\n", "@use other is not needed"),
        ("queue\n", "queue third\n", "there is no lib/third.lua"),
        ("refusal(q)", "refusal(twice(q))", "without @use other"),
        ("-- @use     queue", "-- @use", "of lib/queue.lua without @use queue"),
        ("-- @keys    queues", "-- @keys", "queues is used but not in @keys"),
        ("-- @keys    queues", "-- @keys    base", "the loader knows `queues` only"),
        ("queues[1]", "KEYS[1]", "['KEYS'] stand only in the loader's prologue"),
        ("refuse('JOB_GONE', 'KEYS')", "redis.error_reply('JOB_GONE')", "error_reply stands only"),
        ("-- @errors  ", "-- @error ", "missing tags: ['errors']"),
        ("--- do_well", "-- do_better", "the first line is not"),
        ("return reply", "\n" * 200 + "return reply", "more than 150"),
        ("local q", "local reply, q", "hides names of the prologue: ['reply']"),
    ],
)
def test_a_false_script_is_found(tmp_path, old, new, problem):
    assert old in SCRIPT
    assert problem in "\n".join(problems(tmp_path, script=SCRIPT.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("-- @touches meta\n", "", "missing tags: ['touches']"),
        ("-- @touches meta\n", "-- @touches\n", "@touches says nothing"),
        (
            "return q.name",
            "return refuse('A_B', q.name)",
            "a helper takes what it needs as parameters and answers nobody: ['refuse']",
        ),
        ("'QUEUE_GONE'", "'QUEUE_LOST'", "used but not in @errors: ['QUEUE_LOST']"),
        (
            "return q.name",
            "return args.name",
            "takes what it needs as parameters and answers nobody: ['args']",
        ),
        (
            "return q.name",
            "return queues[1]",
            "takes what it needs as parameters and answers nobody: ['queues']",
        ),
        ("-- @touches meta", "-- @touches meta\n-- @use other", "@use other is not needed"),
    ],
)
def test_a_false_helper_is_found(tmp_path, old, new, problem):
    assert old in HELPER
    assert problem in "\n".join(problems(tmp_path, helper=HELPER.replace(old, new, 1)))
