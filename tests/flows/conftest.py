"""Flows on a real server, without a task of another test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""


@pytest.fixture
def stage(connection):
    """Give what puts flows into the states in which they are stuck."""
    from tests.support.stuck_flows import Stage

    made = Stage(connection)
    yield made
    made.close()


@pytest.fixture
def peer(connection):
    """Give BullMQ's own Python client on the same server."""
    pytest.importorskip("bullmq")
    from tests.support.bullmq_peer import Peer

    other = Peer(connection)
    yield other
    other.close()
