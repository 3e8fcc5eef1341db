"""In a job's process: which modules of the user's were edited since the process has loaded them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

_INSTALLED = ("site-packages", "dist-packages", str(Path(os.__file__).parent), str(Path(__file__).parents[1]))

# When each file was written that was loaded, and how long it was then; the import system writes.
_loaded: dict[str, tuple[float, int]] = {}


def watch() -> None:
    """From now on, note the files of modules that are loaded and not installed.

    They are compiled each time: Python tells old bytecode only by the second and by the length of its source.
    """
    read_stats = SourceFileLoader.path_stats

    def noted(loader: SourceFileLoader, path: str) -> Mapping[str, Any]:
        stats = read_stats(loader, path)
        if any(installed in path for installed in _INSTALLED):
            return stats
        _loaded[path] = stats["mtime"], stats["size"]
        raise OSError("no bytecode is read for this file")

    SourceFileLoader.path_stats = noted  # type: ignore[method-assign, assignment]


def some() -> bool:
    """Say whether a module was edited since it was loaded. One whose file is gone runs on as it is."""
    return any(_is_edited(path, *loaded) for path, loaded in _loaded.items())


def _is_edited(path: str, mtime: float, size: int) -> bool:
    try:
        now = os.stat(path)
    except OSError:
        return False
    return (now.st_mtime, now.st_size) != (mtime, size)
