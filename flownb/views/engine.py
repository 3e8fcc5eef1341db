"""Finds a Graphviz engine on this machine and runs it. The `graphviz` package only builds the text.

The order: ``FLOWNB_DOT`` (a path or a command; ``builtin`` for none) -> the `graphviz-pure` wheel beside this
Python -> ``dot`` on PATH -> none, and the caller lays the picture out itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import warnings
from functools import lru_cache
from typing import Literal

BUILT_IN = "builtin"
TIMEOUT_SECONDS = 10.0  #: a picture is at most some hundred milliseconds of work


class EngineFailed(Exception):
    """The engine is missing, took too long, or did not answer with a picture. Never reaches the user."""


def find() -> str | None:
    """The engine's path, or None when the built-in layout is to be used.

    A kernel's PATH often lacks the folder of its own scripts, so that folder is searched, too. The wheel's
    command is called ``graphviz-pure``, so as not to hide an installed ``dot``; a ``dot`` there counts as well.
    """
    wanted = os.environ.get("FLOWNB_DOT", "")
    if wanted == BUILT_IN:
        return None
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            warnings.warn(f"FLOWNB_DOT={wanted!r} is no command; the built-in layout is used", stacklevel=2)
        return found
    scripts = sysconfig.get_path("scripts")
    beside = (shutil.which(command, path=scripts) for command in ("graphviz-pure", "dot"))
    return next((path for path in beside if path), None) or shutil.which("dot")


@lru_cache(maxsize=32)
def run(command: str, source: str, form: Literal["svg", "json"] = "svg") -> str:
    """Lay out `source` (DOT) with `command`, and return the picture or its description as the engine wrote it.

    The same text gives the same picture, so repeated displays cost nothing.
    """
    try:
        done = subprocess.run(
            [command, f"-T{form}"],
            input=source.encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineFailed(str(error)) from error
    text = done.stdout.decode(errors="replace")
    if form == "svg" and "<svg" not in text:
        raise EngineFailed("the engine wrote no picture")
    return text
