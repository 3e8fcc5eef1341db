"""Flows on a real server, without a task of another test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))  # for `books`
sys.path.insert(0, str(Path(__file__).parent))  # for `stages`


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""


@pytest.fixture
def stage(connection):
    """Give what puts flows into the states in which they are stuck."""
    from stages import Stage

    return Stage(connection)


@pytest.fixture
def peer(connection):
    """Give BullMQ's own Python client on the same server."""
    pytest.importorskip("bullmq")
    from bullmq_peer import Peer

    other = Peer(connection)
    yield other
    other.close()
