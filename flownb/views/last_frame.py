"""Where in the user's own code an error was raised, from the text of its traceback."""

from __future__ import annotations

import re
from typing import NamedTuple

from flownb.views.words import shown

_CHARACTERS = 160
_FRAME = re.compile(
    r'^  File "([^"\n]+)", line (\d+)(?:, in (\S+))?(?:\n    (?! *[\^~]+)(.+))?', re.MULTILINE
)
_FRAME_OF_NODE = re.compile(
    r"^ +at (?:(?:async )?(\S+) \()?((?:file:/{2})?[^\s()]+):(\d+):\d+\)?$", re.MULTILINE
)
_NOT_THEIRS = re.compile(
    r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python\d|<frozen |[\\/]node_modules[\\/]|^node:"
)
_CELL = re.compile(r"[\\/]ipykernel_\d+[\\/]|^<(?:ipython-input|stdin|string)")


class LastFrame(NamedTuple):
    """A line of code as a person finds it."""

    where: str  #: ``line 7 of price.py, in price``
    source: str  #: the line itself; empty where the traceback does not have it


def where_in_code(traceback: str | None) -> str:
    """The last line of the user's own code in a traceback: where it stands, and the line itself below that."""
    frame = last_user_frame(traceback or "")
    return f"{frame.where}\n{frame.source}".strip() if frame else ""


def last_user_frame(traceback: str) -> LastFrame | None:
    r"""The last line of the user's own code in a traceback; of libraries' alone the last one; None without any.

    >>> last_user_frame('Traceback ...\n  File "/home/a/price.py", line 7, in price\n    return rates[country]\n')
    LastFrame(where='line 7 of price.py, in price', source='return rates[country]')
    """
    frames = [(path, line, name, source) for path, line, name, source in _FRAME.findall(traceback)] or [
        (path, line, name, "") for name, path, line in reversed(_FRAME_OF_NODE.findall(traceback))
    ]
    theirs = [frame for frame in frames if not _NOT_THEIRS.search(frame[0])]
    if not frames:
        return None
    path, line, name, source = (theirs or frames)[-1]
    file = "a cell" if _CELL.search(path) else shown(re.split(r"[\\/]", path)[-1])
    inside = f", in {shown(name)}" if name and name != "<module>" else ""
    return LastFrame(f"line {line} of {file}{inside}", shown(source.strip(), _CHARACTERS) if source else "")
