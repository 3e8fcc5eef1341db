"""Load the Lua scripts and call them with named arguments and named answers.

Each file in ``lua/transitions``, ``lua/reads`` and ``lua/repair`` is one state transition or one read; ``lua/lib``
holds what scripts share. A script's header is its contract. This module enforces the header on both sides: a
generated Lua prologue names ``queues`` and ``args``, and a Python check requires a call to name exactly those.
``KEYS``, ``ARGV``, ``EVALSHA`` and ``NOSCRIPT`` appear nowhere else in flownb.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgpack

from flownb import errors
from flownb.wire import keys, transition_log

if TYPE_CHECKING:
    from redis import Redis

ROOMS = ("transitions", "reads", "repair")  #: folders of ``lua/`` whose files are scripts
LIBRARY = "lib"  #: the folder of what scripts share

_TAGS = ("keys", "args", "returns", "errors", "use", "touches")
_TAG_LINE = re.compile(rf"^-- @({'|'.join(_TAGS)})(?: +(.+))?$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
# Declares names for the whole source:
_TOP_LEVEL = re.compile(r"^local (function )?(\w+(?:, \w+)*)", re.MULTILINE)
_RECORD_LINE = re.compile(r"^-- @(row|map) +(\w+) (.+)$", re.MULTILINE)

# Arguments travel as one MessagePack map and so does the answer: names on both sides, one string on
# the wire, and user JSON inside stays the text it was. Each queue is declared by its `meta` key; the
# script derives the queue's other keys from it.
_PROLOGUE = """\
local args = cmsgpack.unpack(ARGV[1])
local steps = ARGV[2] and {} -- what a program that logs every step hears of this call
local function reply(t)
  t.steps = steps or nil
  return cmsgpack.pack(t)
end
local function refuse(code, about) return redis.error_reply(code .. ' ' .. about) end
"""
# The server's clock, so that no client's decides anything; a test may pass its own.
_CLOCK = """\
local now = tonumber(args.now)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local now_text = string.format('%.0f', now)
"""
_QUEUES = """\
local queues = {}
for i, meta in ipairs(KEYS) do queues[i] = queue_at(meta:sub(1, -6)) end
"""


@dataclass(frozen=True)
class Script:
    """A transition, ready to run on any server that holds the queues it is given."""

    name: str
    args: frozenset[str]
    returns: tuple[str, ...]
    source: str
    sha: str

    def __call__(self, client: Redis, queues: Sequence[str], **args: Any) -> dict[str, Any]:
        """Run the transition in one hop; raise a `TransitionError` if it refuses.

        `queues` are qualified names (``prefix:queue``). Arguments that are None are absent in Lua.
        """
        operands = self._operands(queues, args)
        if not transition_log.has_listener():
            return _unpacked(self._run(client, len(queues), operands))
        reply = _unpacked(self._run(client, len(queues), [*operands, "steps"]))
        transition_log.write(reply.pop("steps", ()))
        return reply

    def ask(self, client: Redis, queues: Sequence[str], **args: Any) -> dict[str, Any]:
        """Run a script that reads, in the way in which the server sees to it that nothing is written (Redis 7)."""
        from redis.exceptions import NoScriptError

        operands = self._operands(queues, args)
        try:
            reply: Any = client.evalsha_ro(self.sha, len(queues), *operands)
        except NoScriptError:
            reply = client.eval_ro(self.source, len(queues), *operands)
        return _unpacked(reply)

    def _operands(self, queues: Sequence[str], args: dict[str, Any]) -> list[Any]:
        if args.keys() != self.args:
            raise TypeError(f"{self.name}() takes {sorted(self.args)}, not {sorted(args)}")
        return [
            *[keys.part(base, "meta") for base in queues],
            msgpack.packb(args, use_bin_type=False, unicode_errors="surrogateescape"),
        ]

    def _run(self, client: Redis, n_keys: int, operands: list[Any]) -> Any:
        from redis.exceptions import NoScriptError, ResponseError

        try:
            try:
                return client.evalsha(self.sha, n_keys, *operands)
            except NoScriptError:  # first use on this server, or after SCRIPT FLUSH or a failover
                return client.eval(self.source, n_keys, *operands)
        except ResponseError as error:
            code, _, about = str(error).partition(" ")
            if code in errors.BY_CODE:
                raise errors.BY_CODE[code](about) from None
            raise


def _unpacked(reply: Any) -> dict[str, Any]:
    return msgpack.unpackb(reply, unicode_errors="surrogateescape", strict_map_key=False) or {}


@cache
def load(name: str) -> Script:
    """Return the script ``lua/*/<name>.lua`` with the library files it uses in front."""
    body = _read(name, ROOMS)
    tags = header(body)
    library = _library(tags["use"], seen=set())
    queues = [_QUEUES] if "queue" in tags["use"] else []
    readers = [_reader(*row) for row in rows_read("\n".join([*library, body])).items()]
    clock = [_CLOCK] if "now" in tags["args"] else []
    source = "\n".join([_PROLOGUE, *clock, *readers, *_enclosed(library, [*queues, body]), *queues, body])
    return Script(
        name=name,
        args=frozenset(tags["args"]),
        returns=tags["returns"],
        source=source,
        sha=hashlib.sha1(source.encode()).hexdigest(),
    )


@cache
def _read(name: str, rooms: tuple[str, ...]) -> str:
    lua = resources.files("flownb.wire") / "lua"
    (found,) = [path for room in rooms if (path := lua / room / f"{name}.lua").is_file()]
    return found.read_text(encoding="utf-8")


def header(text: str) -> dict[str, tuple[str, ...]]:
    """Return the words behind each ``-- @tag`` of a script."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(_TAGS, ())
    for tag, words in _TAG_LINE.findall(text):
        found[tag] += tuple(words.split())
    return found


def records(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the records that a script declares: its kind (``row`` or ``map``) and its fields, by name.

    A row is a list in the order of its fields; a map names them.

    >>> records("-- @row lease base id token")
    {'lease': ('row', ('base', 'id', 'token'))}
    """
    return {name: (kind, tuple(fields.split())) for kind, name, fields in _RECORD_LINE.findall(text)}


def rows_read(text: str) -> dict[str, tuple[str, ...]]:
    """Return the rows that a source reads, with ``<name>_of(row)``, and the order of their fields."""
    found = records(text).items()
    return {name: fields for name, (kind, fields) in found if kind == "row" and f"{name}_of(" in text}


def _reader(name: str, fields: Sequence[str]) -> str:
    """Return a Lua function that gives the parts of a row their names."""
    parts = ", ".join(f"{field} = row[{at}]" for at, field in enumerate(fields, 1))
    return f"local function {name}_of(row) return {{{parts}}} end"


@cache
def _names_in(text: str) -> Counter[str]:
    """Return how often each name stands in a source."""
    return Counter(_NAME.findall(text))


def _enclosed(library: Sequence[str], rest: Sequence[str]) -> list[str]:
    """Return library files as blocks that show the names alone which others use, behind a line that declares these.

    Lua allows a source 200 names at its top. It finds one that a function uses by a walk over those that were declared
    behind it, with each call of the script: the most used ones come last.
    """
    uses, texts_with = Counter[str](), Counter[str]()  # of each name
    for text in (*library, *rest):
        uses.update(_names_in(text))
        texts_with.update(_names_in(text).keys())
    shown: list[str] = []

    def show(declaration: re.Match[str]) -> str:
        names = _NAME.findall(declaration[2])
        if all(texts_with[name] == 1 for name in names):
            return declaration[0]
        shown.extend(names)
        return (declaration[1] or "") + declaration[2]

    blocks = [f"do\n{_TOP_LEVEL.sub(show, text)}\nend" for text in library]
    return [f"local {', '.join(sorted(shown, key=uses.__getitem__))}", *blocks] if shown else blocks


def _library(names: Iterable[str], seen: set[str]) -> list[str]:
    """Return the sources of library files, each once, the ones they use themselves first."""
    sources = []
    for name in names:
        if name not in seen:
            seen.add(name)
            text = _read(name, (LIBRARY,))
            sources += [*_library(header(text)["use"], seen), text]
    return sources
