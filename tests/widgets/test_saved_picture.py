"""Shows what a notebook keeps of a flow when a program runs it from top to bottom, without a page."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

FLOW = """
import flownb as fn
flow = fn.add({"name": "total", "queueName": "totals", "children": [
    {"name": f"row-{n}", "queueName": "rows", "data": n, "opts": {"ignoreDependencyOnFailure": True}}
    for n in range(9)]}, name="november")
mended = False
def run(job):
    assert mended or job.data != 4
    return job.data
fn.Worker(["rows", "totals"], run, concurrency=1).start()
"""


def run(folder: Path, *cells: str) -> list[str]:
    """Run a notebook; return the HTML that stays in each cell."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(made, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()
    htmls = [[o.data.get("text/html", "") for o in cell.outputs if "data" in o] for cell in made.cells]
    return ["".join(html) for html in htmls]


@pytest.fixture(autouse=True)
def live_views(monkeypatch):
    monkeypatch.delenv("FLOWNB_STATIC", raising=False)


def test_the_picture_shows_what_the_last_cell_has_done(tmp_path):
    shown = run(tmp_path, FLOW, "flow", "print(flow.wait(timeout=30).state)")
    assert "1</b> failed" in shown[1]
    assert "as of" not in shown[1]


def test_the_picture_follows_a_flow_that_ends_a_second_time(tmp_path):
    mend = "mended = True; print(flow.retry().wait(timeout=30).state)"
    shown = run(tmp_path, FLOW, "print(flow.wait(timeout=30).state)", "flow.watch()", mend)
    assert "10</b> completed" in shown[2]
    assert "</b> failed" not in shown[2]


def test_every_cell_that_shows_the_flow_has_the_same_picture(tmp_path):
    shown = run(tmp_path, FLOW, "flow", "flow", "print(flow.wait(timeout=30).state)")
    assert "1</b> failed" in shown[1]
    assert shown[1] == shown[2]


def test_the_picture_of_a_flow_that_has_not_ended_says_of_when_it_is(tmp_path):
    shown = run(tmp_path, FLOW.replace(".start()", ""), "flow")
    assert "as of 20" in shown[1]
