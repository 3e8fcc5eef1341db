"""The kind of an error: its type and message with the particulars folded away. Pure text work on what is stored."""

from __future__ import annotations

import re

MOST_CHARACTERS = 300  #: of a message that a kind is made from


def kind_of(error: str | None, message: str | None) -> str:
    """An error's type and its message's first line, with what differs from row to row folded.

    Quoted text becomes ``<q>``, an address ``<url>``, a path ``<path>``, a uuid, hex or
    another long mixture of letters and digits ``<id>``, and a number ``<n>``; several alike in
    a row become one and an ellipsis. A kind of a kind is itself.

    >>> kind_of("ValueError", "row 17 has no 'price' in /data/a.csv")
    'ValueError: row <n> has no <q> in <path>'
    >>> kind_of("KeyError", "['origin', 'dest'] not in index")
    'KeyError: [<q>, ...] not in index'
    """
    lines = (message or "").strip().splitlines()
    template, before = (lines[0][:MOST_CHARACTERS] if lines else ""), ""
    while template != before:  # what is folded may have stood beside a quote that now is one
        before = template
        template = _REPEATED.sub(r"\1, ...", _PARTICULARS.sub(_folded, template).strip())
    return ": ".join(part for part in (error, template) if part)


_PARTICULARS = re.compile(
    r"""
      (?P<kept> <(?:q|url|path|id|n)>(?:,[ ]\.\.\.)? )
    | (?P<q>    (?<!\w) (?: '[^'\n]*' | "[^"\n]*" | `[^`\n]*` ) (?!\w) )
    | (?P<url>  \b[a-z][a-z0-9+.-]{1,20}://[^\s'"<>]+ )
    | (?P<path> (?<![\w<>./\\]) (?: [A-Za-z]:[\\/] | ~?/ | \.{1,2}/ ) [^\s'"<>:;,()]*[^\s'"<>:;,.()]
              | (?<![\w./-]) [\w-]+ (?: /[\w.-]+ ){0,20} /[\w-]+ (?:\.[A-Za-z]\w{0,9})+ )
    | (?P<id>   \b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b
              | \b0[xX][0-9a-fA-F]+\b
              | \b(?=[0-9a-fA-F]*[a-fA-F])(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b
              | \b(?:[a-z]{2,8}[_-])?(?=[A-Za-z]*\d+[A-Za-z]+\d|\d+[A-Za-z]+\d)[A-Za-z0-9]{16,}\b )
    | (?P<n>    (?:(?<![\w)\]>])[-+])? (?<![A-Za-z_\d]) \d+ (?:[.,_]\d+)* (?:[eE][-+]?\d+)? )
    """,
    re.VERBOSE,
)
_REPEATED = re.compile(r"(<(?:q|url|path|id|n)>)(?:,[ ]?\1)+(?:,[ ]\.\.\.)?")


def type_and_message(reason: str | None, traceback: str | None = None) -> tuple[str | None, str]:
    r"""Return the error's type and its message from what is stored of a failed job.

    BullMQ's own workers store the message alone; their traceback begins with the type.

    >>> type_and_message("ValueError: no 'a'")
    ('ValueError', "no 'a'")
    >>> type_and_message("no route: 7", "TypeError: no route: 7\n    at f (a.js:1:2)")
    ('TypeError', 'no route: 7')
    """
    reason = reason or ""
    begins = (traceback or "").partition(": ")
    if begins[2].startswith(reason) and _TYPE.fullmatch(begins[0]):
        return begins[0], reason
    error, _, message = reason.partition(": ")
    return (error, message) if _TYPE.fullmatch(error) else (None, reason)


_TYPE = re.compile(r"[A-Za-z_][\w.]*")


def _folded(match: re.Match[str]) -> str:
    return match.group() if match.lastgroup == "kept" else f"<{match.lastgroup}>"
