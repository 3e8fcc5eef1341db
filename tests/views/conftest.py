"""Says which layout engine a test draws with."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["engine", "builtin"])
def drawn_with(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with the engine flownb finds, and with none."""
    if request.param == "builtin":
        monkeypatch.setenv("FLOWNB_DOT", "builtin")
    else:
        monkeypatch.delenv("FLOWNB_DOT", raising=False)
        from flownb.views import engine

        if engine.find() is None:
            pytest.skip("no Graphviz engine here")
    return request.param
