"""The live view outside JupyterLab: in Notebook 7, and on a page that Voila makes of a notebook."""

from __future__ import annotations

import pytest

import flownb as fn
from tests.support.jupyter import NOTEBOOK_7

ADD = """
import flownb as fn
flow = fn.add(
    {"name": "total", "queueName": "totals", "children": [
        {"name": f"row-{n}", "queueName": "rows", "data": {"n": n}, "opts": {"ignoreDependencyOnFailure": True}}
        for n in range(40)
    ]}, name="november")
flow.watch()"""
NODE = ".fn-whole .fn-node[aria-label^='row-']"


def run_rows(nb):
    def run(job):
        if job.data["n"] % 10 == 3:
            raise ValueError("no tax for this country")
        return job.data["n"]

    return fn.Worker("rows", run, connection=nb.connection)


def use_the_view(nb, page, until):
    """See the flow wait and run, look into a job, and press a button."""
    nb.see(f"{NODE}.fn-waiting", "40 waiting", page=page)
    with run_rows(nb):
        nb.see(f"{NODE}.fn-has-failed", "36 completed, 4 failed", page=page)
    page.get_by_role("tab", name="Jobs").click()  # instead of the failures, which open by themselves
    nb.see(".fn-jobs tbody tr >> nth=0 >> text=failed", page=page)  # the table is read once a second
    page.locator(".fn-jobs .fn-link").first.click()
    nb.see(".fn-details pre", "no tax for this country", page=page)
    page.get_by_role("button", name="Retry failed").click()
    until(lambda: fn.attach("november", connection=nb.connection).progress().failed == 0, seconds=30)


@pytest.mark.timeout(180)
def test_notebook_7_shows_the_view_and_keeps_its_picture(notebook, until):
    nb = notebook(ADD, front=NOTEBOOK_7)
    nb.run(0)
    use_the_view(nb, nb.page, until)
    nb.save()
    nb.restart()
    nb.page.reload()
    nb.wait_for_kernel()
    nb.see(".fn-flow:not(.fn-live) .fn-picture")


@pytest.mark.timeout(180)
def test_a_page_of_voila_shows_the_view(notebook, until):
    nb = notebook(ADD)
    page = nb.context.new_page()
    page.goto(nb.address("voila/render"), wait_until="commit")  # it asks a distant host for its fonts
    use_the_view(nb, page, until)
