"""A file without a name, which processes map into their memory: what stands in it survives who wrote it."""

from __future__ import annotations

import os
import tempfile


def open_shared_file(name: str, size: int) -> int:
    """Return the descriptor of a new file of so many bytes, all of them 0; `name` is for tools that list open files.

    >>> os.close(open_shared_file("flownb-doc", 64))
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
