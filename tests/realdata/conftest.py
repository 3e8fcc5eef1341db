"""Real tables run on the server of all tests, by this process's own workers."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""
