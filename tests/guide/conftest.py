"""Every example of the guide runs on a real server, with workers of its own and no task of another test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""
