"""Tasks on a real server; each test starts with none."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""
