"""Bull Board, pointed at queues that flownb filled, shows every job in its state, and the tree of a flow.

``FLOWNB_WRITE=1`` stores the picture that docs/compatibility.md shows.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest

import flownb as fn

PICTURE = Path(__file__).parents[2] / "docs" / "bull-board.png"
STATES = {
    "etl-report": {"report": "waiting-children", "collect": "waiting-children"},
    "etl-loads": {"load-monday": "completed", "load-tuesday": "failed", "load-wednesday": "active"},
    "etl-exports": {"export-pdf": "waiting", "export-mail": "prioritized", "export-archive": "delayed"},
}
OPTIONS = {
    "load-tuesday": {"ignoreDependencyOnFailure": True},
    "export-mail": {"priority": 9},
    "export-archive": {"delay": 3_600_000},
}


@pytest.fixture
def flow(connection, until):
    """Give a flow with a job in each of BullMQ's seven states."""
    leaves = {
        queue: [
            {"name": name, "queueName": queue, "data": {"year": 2013}, "opts": OPTIONS.get(name, {})}
            for name in names
        ]
        for queue, names in STATES.items()
    }
    collect = {"name": "collect", "queueName": "etl-report", "children": leaves["etl-loads"]}
    root = {
        "name": "report",
        "queueName": "etl-report",
        "data": {"year": 2013},
        "opts": {"jobId": "report-2013"},
    }
    goes_on = threading.Event()

    def load(job):
        if job.name == "load-tuesday":
            raise ValueError("no flight left on that day")
        if job.name == "load-wednesday":
            goes_on.wait()
        job.log("842 rows")
        return {"rows": 842}

    flow = fn.add(root | {"children": [collect, *leaves["etl-exports"]]})
    with fn.Worker("etl-loads", load, concurrency=3):
        counts = {"completed": 1, "failed": 1, "active": 1}
        until(lambda: counts.items() <= fn.Queue("etl-loads").get_job_counts().items())
        yield flow
        goes_on.set()


@pytest.fixture
def board(start_board):
    """Give the address of a board over the flow's queues."""
    return start_board(*STATES)


def read(address):
    with urlopen(address, timeout=30) as answer:
        return json.load(answer)


def test_it_shows_every_job_in_its_state(flow, board):
    for queue, states in STATES.items():
        told = read(f"{board}/api/queues?activeQueue={queue}&status=latest&page=1&jobsPerPage=20")
        (shown,) = [one for one in told["queues"] if one["name"] == queue]
        ids = {job["name"]: job["id"] for job in shown["jobs"]}
        assert {
            name: read(f"{board}/api/queues/{queue}/{id}")["status"] for name, id in ids.items()
        } == states
        assert Counter({state: n for state, n in shown["counts"].items() if n}) == Counter(states.values())


def test_it_shows_which_queues_have_a_worker(flow, board, until):
    def served():
        told = read(f"{board}/api/queues")["queues"]
        return {one["name"]: one["hasWorkers"] for one in told}

    until(lambda: served() == {"etl-report": False, "etl-loads": True, "etl-exports": False})


def test_it_shows_the_tree_of_the_flow(flow, board):
    def lines(node, depth=0):
        yield depth, node["queueName"], node["name"], node["state"]
        for child in sorted(node["children"], key=lambda child: child["name"]):
            yield from lines(child, depth + 1)

    told = read(f"{board}/api/queues/etl-report/report-2013/flow")

    assert list(lines(told["flowRoot"])) == [
        (0, "etl-report", "report", "waiting-children"),
        (1, "etl-report", "collect", "waiting-children"),
        (2, "etl-loads", "load-monday", "completed"),
        (2, "etl-loads", "load-tuesday", "failed"),
        (2, "etl-loads", "load-wednesday", "active"),
        (1, "etl-exports", "export-archive", "delayed"),
        (1, "etl-exports", "export-mail", "prioritized"),
        (1, "etl-exports", "export-pdf", "waiting"),
    ]


def test_its_page_draws_the_flow(flow, board, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 760})
    page.goto(f"{board}/queue/etl-report/report-2013")
    page.get_by_role("button", name="Expand the flow to fullscreen").click()
    page.get_by_role("button", name="Fit the whole flow").click()
    nodes = page.locator(".react-flow__node")
    nodes.nth(7).wait_for()
    drawn = [text.split("\n") for text in nodes.all_inner_texts()]
    if os.environ.get("FLOWNB_WRITE"):
        page.wait_for_timeout(1500)  # it glides into its place
        page.screenshot(path=PICTURE)
    page.close()

    wanted = {name: state.upper() for states in STATES.values() for name, state in states.items()}
    assert {lines[0]: wanted[lines[0]] for lines in drawn if wanted[lines[0]] in lines} == wanted
