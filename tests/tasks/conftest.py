"""Tasks on a real server; each test starts with none."""

from __future__ import annotations

import pytest

from flownb.tasks import registry


@pytest.fixture(autouse=True)
def _only_this_test(connection, monkeypatch):
    monkeypatch.setattr(registry, "_by_queue", {})
