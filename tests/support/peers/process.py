"""The four peers as processes that are told, line by line, what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NODE = ROOT / "tests" / "interop" / "node"
PATIENCE = 60  # seconds for one answer

#: name -> what docs/compatibility.md calls it
PEERS = {"flownb": "flownb", "node6": "Node 6", "node5": "Node 5", "python": "Python"}


class PeerError(Exception):
    """What the peer's library said when it was asked."""


class Peer:
    """One process of one peer. What it can be asked for is listed in node/peer.mjs."""

    def __init__(self, name: str, *, node: str, socket: str, package: Path = ROOT) -> None:
        self.name = name  # of its queues, too
        self.kind = name
        self._process = subprocess.Popen(
            [*_command(name, node), socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(package)},  # where flownb's package is
        )

    def ask(self, what: str, **more: Any) -> Any:
        """Have one thing done and return the answer; raise `PeerError` with what the library raised."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        told = json.loads(line) if line else {"error": f"{self.name} ended, or was killed after {PATIENCE} s"}
        if "error" in told:
            raise PeerError(told["error"])
        return told["answer"]

    def serve(self) -> None:
        """Work from now on for the queues ``<name>-top``, ``-middle``, ``-items`` and ``-line``."""
        for queue, concurrency in {"top": 1, "middle": 4, "items": 20, "line": 1}.items():
            self.ask("work", queue=f"{self.name}-{queue}", concurrency=concurrency)

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process, at the end of its input."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def _command(name: str, node: str) -> list[str]:
    if name == "bullmq":
        return [node, str(NODE / "conformance.mjs")]
    if name in ("node6", "node5"):
        return [node, str(NODE / "peer.mjs"), name, {"node6": "bullmq", "node5": "bullmq5"}[name]]
    return [sys.executable, str(Path(__file__).parent / f"{name}_peer.py"), name]
