"""Real peers on one server: processes that live as long as the tests do, each serving queues of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import missing

if TYPE_CHECKING:
    from flownb.connection import Connection
    from tests.support.peers.process import Peer
    from tests.support.peers.stored import Stored

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def npm_packages() -> None:
    """See that the peers' npm packages are there."""
    if not (HERE / "node" / "node_modules" / ".installed").is_file():
        missing("the npm packages of the peers", "python scripts/install_peers.py")


@pytest.fixture(scope="session")
def start_peer(node: str, npm_packages: None, shared_server) -> Iterator[Callable[..., Peer]]:
    """Start a process of a peer; all are ended with the tests."""
    from tests.support.peers.process import Peer

    started: list[Peer] = []

    def start(name: str, **how) -> Peer:
        started.append(Peer(name, node=node, socket=shared_server.socket, **how))
        return started[-1]

    yield start
    for peer in started:
        peer.close()


@pytest.fixture(scope="session")
def peers(start_peer: Callable[..., Peer]) -> dict[str, Peer]:
    """Give the four peers; each serves its queues all the time."""
    from tests.support.peers.process import PEERS

    running = {name: start_peer(name) for name in PEERS}
    for peer in running.values():
        peer.serve()
    return running


@pytest.fixture(scope="module")
def start_board(node: str, npm_packages: None, shared_server) -> Iterator[Callable[..., str]]:
    """Start a Bull Board over some queues, and give its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*queues: str) -> str:
        command = [node, str(HERE / "node" / "board.mjs"), shared_server.socket, *queues]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return f"http://127.0.0.1:{started[-1].stdout.readline().strip()}"

    yield start
    for process in started:
        with process:
            process.stdin.close()


@pytest.fixture
def connection(shared_server) -> Iterator[Connection]:
    """Give the default connection, to the peers' server, without data."""
    from flownb.connection import connect

    default = connect(shared_server.url)
    default.client().flushall()
    yield default
    default.close()


@pytest.fixture
def stored(redis) -> Stored:
    """Give what reads the server, which is empty."""
    from tests.support.peers.stored import Stored

    return Stored(redis)
