"""Damage to an append-only file, as a power failure leaves it: its end torn off."""

from __future__ import annotations

import os
from pathlib import Path


def cut(file: Path, *, keep: int) -> None:
    """Leave the first bytes of a file."""
    os.truncate(file, keep)


def inside_the_last_block(file: Path) -> int:
    """Return a length that ends a file within a command of its last MULTI ... EXEC."""
    written = file.read_bytes()
    begin = written.rindex(b"MULTI\r\n")
    end = written.index(b"EXEC\r\n", begin)
    return begin + (end - begin) * 2 // 3
