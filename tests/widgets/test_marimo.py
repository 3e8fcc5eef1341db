"""Notebooks that are no Jupyter: they take a flow's MIME bundle as it is, and turn it into JSON by exact types."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import flownb as fn
from tests.support.programs import missing

TREE = {"name": "total", "queueName": "totals", "children": [{"name": "<load>", "queueName": "loads"}]}
NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    import flownb as fn
    import pandas as pd

    fn.connect(path="here")

    @fn.task
    def score(text):
        if text == "bad":
            raise ValueError("no score for this")
        return len(text)

    batch = fn.fan_out(pd.DataFrame({"text": ["a", "bad", "ccc"]}), score, name="november")
    batch.wait()
    batch
    return batch, fn


@app.cell
def _(batch):
    batch.draw()
    return


@app.cell
def _(fn):
    fn.draw({"name": "planned", "queueName": "totals"})
    return
"""


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda flow: flow, id="a flow"),
        pytest.param(lambda flow: flow.draw(), id="its picture"),
        pytest.param(lambda flow: flow.watch(), id="its live view"),
        pytest.param(lambda _: fn.draw(TREE), id="a tree"),
    ],
)
def test_what_a_cell_shows_is_plain_text(connection, shown):
    bundle = shown(fn.add(TREE, connection=connection))._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert {type(text) for text in data.values()} == {str}


def test_a_report_is_plain_text(connection):
    flow = fn.add(TREE, connection=connection)
    assert type(flow.to_html()) is type(flow.draw().svg()) is str


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A folder with a notebook of marimo's."""
    if importlib.util.find_spec("marimo") is None:
        missing("marimo", "make env-test")
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    return tmp_path


@pytest.fixture
def address(notebook: Path) -> Iterator[str]:
    """Where marimo serves that notebook as a page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "marimo", "run", "notebook.py", "--headless", "--no-token"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=notebook,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as marimo:
        assert marimo.stdout is not None
        assert any(str(port) in line for line in marimo.stdout)  # it serves
        yield f"http://127.0.0.1:{port}/"
        marimo.terminate()


@pytest.mark.timeout(120)
def test_in_a_browser_marimo_shows_a_batch_and_its_picture(address: str, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address, wait_until="commit")  # it asks distant hosts, too
        heading = page.locator(".fn-flow .fn-title").first
        heading.wait_for(timeout=60_000)
        assert heading.inner_text() == "november"
        counts = page.locator(".fn-flow .fn-key").first.inner_text()
        assert " ".join(counts.split()) == "✓ 2 completed ✗ 1 failed"
        assert "no score for this" in page.locator(".fn-failures").first.inner_text()
        picture = page.locator("img.fn-picture").first
        assert picture.evaluate("it => it.complete && it.naturalWidth > 100")
        drawn = page.locator("svg").filter(has_text="planned").first
        drawn.wait_for(timeout=30_000)
        assert drawn.bounding_box()["width"] > 50


def test_marimo_shows_a_batch_and_its_picture(notebook: Path) -> None:
    command = [sys.executable, "-m", "marimo", "export", "ipynb", "notebook.py", "--include-outputs"]
    done = subprocess.run(
        [*command, "-o", "made.ipynb"], cwd=notebook, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((notebook / "made.ipynb").read_text())["cells"]
    outputs = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    batch, picture, tree = ("".join("".join(text) for text in data.values()) for data in outputs)
    assert "november" in batch
    assert "ValueError: no score for this" in batch
    assert "data:image/svg+xml" in batch
    assert "<svg" in picture
    assert "planned" in tree
