"""The embedded server as if it were a shared one: nothing runs in this process beside the calls that are judged."""

from __future__ import annotations

import pytest

import flownb as fn
from tests.input.fuzz import url_of
from tests.support.server import client_for_all


@pytest.fixture
def url(server_folder):
    """Give the URL of a server with no data on it."""
    with fn.Connection(path=server_folder) as embedded:
        with client_for_all(embedded) as client:
            client.flushall()
        yield url_of(embedded.address())


@pytest.fixture
def redis(url, server_folder):
    """Give a client of a user who may do everything."""
    with fn.Connection(path=server_folder) as embedded:
        yield client_for_all(embedded)


@pytest.fixture(autouse=True)
def connection(url):
    """Give the default connection."""
    default = fn.connect(url)
    yield default
    default.close()
