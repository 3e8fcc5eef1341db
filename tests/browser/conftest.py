"""A real JupyterLab and a real browser, one of each for all these tests; a notebook, kernel and server a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.jupyter import Lab, Notebook


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a JupyterLab with a browser."""
    with Lab(tmp_path_factory.mktemp("lab"), browser) as started:
        yield started


@pytest.fixture
def notebook(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook of these cells, in a folder and with a server of its own."""
    opened: list[Notebook] = []

    def open_notebook(*cells: str, **options: object) -> Notebook:
        opened.append(Notebook(lab, request.node.name[:40], cells, **options))
        return opened[-1]

    yield open_notebook
    for one in opened:
        one.close()
