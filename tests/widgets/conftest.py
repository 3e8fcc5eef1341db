"""Live views without a page, on a real server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "flows"))  # for `stages`


@pytest.fixture
def stage(connection):
    """Give what moves jobs from state to state, one by one."""
    from stages import Stage

    return Stage(connection)
