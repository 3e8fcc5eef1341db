"""The peers as processes that are told, line by line, what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from private_server import PrivateServer

HERE = Path(__file__).parent
NODE = HERE / "node"
PROGRAMS = {"flownb": "flownb_peer.py", "bullmq-py": "bullmq_py_peer.py", "bare": "bare_client.py"}
# bullmq's best of an earlier scan; the guide's for flownb, for which `--scan` shows no clear best.
CONCURRENCY = {"bullmq": 100, "flownb": 10, "bullmq-py": 10, "bare": 1}
PATIENCE = 300  # seconds for one answer


class Peer:
    """A fresh process of one peer, for one measurement."""

    def __init__(self, name: str, server: PrivateServer) -> None:
        self.name = name
        program = PROGRAMS.get(name)
        command = [sys.executable, str(HERE / program)] if program else ["node", "peer.mjs"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent if program else NODE,
            env={
                **os.environ,
                "PYTHONPATH": str(HERE.parent),
                "BENCH_URL": server.url,
                "BENCH_SOCKET": server.socket,
            },
        )

    def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Have one thing done, and return what the peer says about it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        answer: dict[str, Any] = (
            json.loads(line) if line else {"error": f"no answer (a peer is ended after {PATIENCE} s)"}
        )
        if "error" in answer:
            raise SystemExit(f"{self.name}: {what}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write('{"do": "end"}\n')
            self._process.stdin.close()
            self._process.wait(30)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def prepare_node() -> str | None:
    """Install what peer.mjs needs, once; say in one line why that cannot be."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "no Node and npm on this machine: flownb alone is measured"
    wanted = json.loads((NODE / "package.json").read_text())["dependencies"]
    if all(_installed(name) == version for name, version in wanted.items()):
        return None
    print("--- installing the npm package bullmq (the first time it needs the network)", file=sys.stderr)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        cwd=NODE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=300,
    )
    if done.returncode:
        return "`npm ci` failed (no network?): flownb alone is measured"
    return None


def _installed(name: str) -> str | None:
    try:
        return str(json.loads((NODE / "node_modules" / name / "package.json").read_text())["version"])
    except (OSError, ValueError):
        return None
