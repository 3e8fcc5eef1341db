"""The two sides of a scenario: the real BullMQ in one Node process for all of them, and flownb in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.conformance.flownb_side import FlownbSide
from tests.support.peers.process import Peer


@pytest.fixture(scope="session")
def bullmq(node: str, npm_packages: None, shared_server) -> Iterator[Peer]:
    """Give the real BullMQ."""
    peer = Peer("bullmq", node=node, socket=shared_server.socket)
    yield peer
    peer.close()


@pytest.fixture
def flownb(connection, redis) -> FlownbSide:
    """Give flownb, on the same server."""
    return FlownbSide(redis)
