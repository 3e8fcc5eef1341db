"""What the tests of workers share: waiting for conditions, worker processes to kill, servers to kill, a lossy way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes

ROOT = str(Path(__file__).parents[2])

# A worker process: serves queues with a function of `worker_functions`, tells its keeper's pid, ends with its stdin.
SCRIPT = """
import json, sys
import flownb as fn
from tests.support import worker_functions
from flownb.worker.lease_keeper import keeper
asked = json.loads(sys.argv[1])
fn.connect(asked.get("url"), path=asked.get("path"))
function = getattr(worker_functions, asked["function"])
with fn.Worker(asked["queues"], function, **asked["options"]):
    print(keeper.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""


class WorkerProcess:
    """A worker in a process of its own, and its keeper."""

    def __init__(self, process, keeper):
        self.process = process
        self.keeper = keeper

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        for pid in (self.keeper, self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        processes.thaw(self.process.pid, self.keeper)  # it may have another keeper by now


@pytest.fixture
def start_worker(server_folder):
    """Start a worker process; a function of `worker_functions` serves the queues."""
    started = []

    def start(queues, function, *, url=None, **options):
        import json

        asked = {"queues": queues, "function": function, "options": options}
        asked |= {"url": url} if url else {"path": str(server_folder)}
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        worker = WorkerProcess(process, int(process.stdout.readline()))
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.thaw()
        worker.kill()
        worker.process.stdin.close()
        worker.process.stdout.close()


@pytest.fixture
def lossy(own_server):
    """Give a way to `own_server` that loses a share of its replies: `lossy(share)` returns a `Proxy`."""
    from tests.support.lossy_proxy import Proxy

    ways = []

    def make(share, **more):
        ways.append(Proxy(own_server.socket, share, **more))
        return ways[-1]

    yield make
    for way in ways:
        way.close()
