"""Kernels in miniature: processes that run cells, one after the other, in one ``__main__``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import flownb as fn

ROOT = str(Path(fn.__file__).parents[1])

KERNEL = """
import contextlib, io, json, sys
import flownb as fn
connection = fn.connect(**json.loads(sys.argv[1]))
for line in sys.stdin:
    _printed, _error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(_printed):
            exec(json.loads(line), globals())
    except Exception as _raised:
        _error = f"{type(_raised).__name__}: {_raised}"
    print(json.dumps([_printed.getvalue(), _error]), flush=True)
"""


class Kernel:
    """A process that runs cells, as a notebook's kernel does."""

    def __init__(self, folder=None, *, url=None):
        where = {"path": str(folder)} if url is None else {"url_or_redis_client": url}
        self.process = subprocess.Popen(
            [sys.executable, "-c", KERNEL, json.dumps(where)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )

    def run(self, cell):
        """Return what a cell printed, without the announcement of its workers, and its error."""
        self.process.stdin.write(json.dumps(cell) + "\n")
        self.process.stdin.flush()
        printed, error = json.loads(self.process.stdout.readline())
        return "".join(line for line in printed.splitlines() if "this kernel serves" not in line), error

    def kill(self):
        self.process.kill()
        self.process.communicate()
