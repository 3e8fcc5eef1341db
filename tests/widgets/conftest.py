"""Live views without a page, on a real server."""

from __future__ import annotations

import pytest


@pytest.fixture
def stage(connection):
    """Give what moves jobs from state to state, one by one."""
    from tests.support.stuck_flows import Stage

    made = Stage(connection)
    yield made
    made.close()
