"""Every example of the guide runs on a real server, with workers of its own and no task of another test."""

from __future__ import annotations

import pytest

from flownb.tasks import registry


@pytest.fixture(autouse=True)
def _only_this_test(connection, monkeypatch):
    monkeypatch.setattr(registry, "_by_queue", {})
