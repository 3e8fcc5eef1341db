"""Bull Board's buttons, pressed in a real browser on flownb's flows: what the flows' handles say is right afterwards."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

import flownb as fn

QUEUES = ("etl-report", "etl-loads")


class Board:
    """The page of Bull Board, as a person uses it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address

    def open(self, queue: str, status: str) -> None:
        """Open the tab of a state."""
        self.page.goto(f"{self.address}/queue/{queue}?status={status}")

    def press_on(self, job: str, name: str) -> None:
        """Press a button on the card of a job: an icon, which only its tooltip names; and confirm."""
        head = self.page.locator(f'a[href*="/{job}?"]').locator("xpath=../..")
        head.wait_for()
        for place in head.locator("li:has(button)").all():
            place.get_by_role("button").hover()
            place.locator("[data-popup-open]").wait_for()
            if self.page.locator("[data-base-ui-portal] div[data-open][tabindex]").last.inner_text() == name:
                place.get_by_role("button").click()
                return self.confirm()
        raise AssertionError(f"there is no button {name} on the card of {job}")

    def press(self, name: str) -> None:
        """Press a button of the page, and confirm."""
        self.page.get_by_role("button", name=name).click()
        self.confirm()

    def choose(self, name: str) -> None:
        """Choose what the menu of the queue has."""
        self.page.locator("[aria-haspopup=menu]").last.click()
        self.page.get_by_role("menuitem", name=name).click()

    def confirm(self) -> None:
        self.page.get_by_role("button", name="Confirm").click()


@pytest.fixture(scope="module")
def address(start_board):
    """Give the address of a board over the queues of these tests."""
    return start_board(*QUEUES)


@pytest.fixture
def board(address, browser):
    """Give a page of it."""
    page = browser.new_page(viewport={"width": 1300, "height": 800})
    yield Board(page, address)
    page.close()


def load(name, **opts):
    return {"name": name, "queueName": "etl-loads", "data": {"rows": 2}, "opts": {"jobId": name, **opts}}


def report(*loads):
    return fn.add(
        {"name": "report", "queueName": "etl-report", "opts": {"jobId": "report"}, "children": list(loads)}
    )


def rows(job):
    if job.queue_name == "etl-report":
        return sum(value for value in job.get_children_values().values() if value)
    if job.data.get("broken"):
        raise ValueError("no flight left on that day")
    return job.data["rows"]


def working():
    return fn.Worker(QUEUES, rows)


def right(flow, told):
    """Expect these counts of the flow, and nothing out of order but stored counts, which handles do not go by then."""
    assert repr(flow) == f"Flow('report': {told})"
    assert fn.flows().loc[0, "state"] == flow.state
    found = fn.doctor(fix=True)
    assert found["what"].str.contains("its counts say").all()
    assert fn.doctor().empty
    assert repr(flow) == f"Flow('report': {told})"


def test_promote_lets_a_delayed_child_run(board, connection):
    flow = report(load("monday"), load("later", delay=3_600_000))
    with working():
        board.open("etl-loads", "delayed")
        board.press_on("later", "Promote")

        assert flow.result(timeout=30) == 4
    right(flow, "3 jobs, 3 completed")


def test_promote_all_lets_delayed_children_run(board, connection):
    flow = report(load("monday", delay=3_600_000), load("later", delay=3_600_000))
    with working():
        board.open("etl-loads", "delayed")
        board.press("Promote all")

        assert flow.result(timeout=30) == 4
    right(flow, "3 jobs, 3 completed")


def failed_flow():
    """A flow that has failed with a child, whose data are put right then."""
    flow = report(load("monday"), {**load("bad"), "data": {"rows": 5, "broken": True}})
    with working():
        assert flow.wait(timeout=30).state == "failed"
    fn.Queue("etl-loads").get_job("bad").update_data({"rows": 5})
    return flow


def test_retry_of_a_child_and_then_of_the_root_completes_a_failed_flow(board, connection, until):
    flow = failed_flow()
    with working():
        board.open("etl-loads", "failed")
        board.press_on("bad", "Retry")
        until(lambda: fn.Queue("etl-loads").get_job("bad").get_state() == "completed")
        assert flow.state == "failed"

        board.open("etl-report", "failed")
        board.press_on("report", "Retry")

        until(lambda: flow.state == "completed")
        assert flow.result(timeout=30) == 7
    right(flow, "3 jobs, 3 completed")


def test_retry_all_puts_back_what_failed(board, connection, until):
    flow = failed_flow()
    with working():
        for queue in reversed(QUEUES):
            board.open(queue, "failed")
            board.press("Retry all")
            until(lambda queue=queue: not fn.Queue(queue).get_job_counts()["failed"])

        until(lambda: flow.state == "completed")
        assert flow.result(timeout=30) == 7
    right(flow, "3 jobs, 3 completed")


def test_clean_of_a_waiting_child_lets_the_flow_go_on_without_it(board, connection):
    flow = report(load("monday"), load("tuesday"))
    board.open("etl-loads", "waiting")
    board.press_on("tuesday", "Clean")
    with working(), pytest.warns(UserWarning, match="another program removed"):
        assert flow.result(timeout=30) == 2
    right(flow, "2 jobs, 2 completed")


def test_clean_of_the_root_takes_the_flow_away(board, connection, until):
    flow = report(load("monday"), load("tuesday"))
    board.open("etl-report", "waiting-children")
    board.press_on("report", "Clean")

    until(lambda: fn.Queue("etl-report").get_job("report") is None)
    with pytest.raises(fn.FlowStuck, match="report: it was removed"):
        flow.wait(timeout=30)
    flow.remove()
    assert fn.flows().empty
    assert fn.doctor().empty


def test_clean_all_of_completed_children_keeps_their_values(board, connection, redis, until):
    flow = report(load("monday"), load("later", delay=3_600_000))
    with working():
        until(lambda: flow.progress().completed == 1)
        redis.zincrby("bull:etl-loads:completed", -10_000, "monday")  # the button spares what ended just now
        board.open("etl-loads", "completed")
        board.press("Clean all")
        until(lambda: fn.Queue("etl-loads").get_job("monday") is None)
        fn.Queue("etl-loads").get_job("later").promote()

        assert flow.result(timeout=30) == 4
    right(flow, "3 jobs, 3 completed")


def test_empty_takes_the_waiting_children_and_the_flow_ends_without_them(board, connection, until):
    flow = report(load("monday"), load("tuesday"))
    board.open("etl-loads", "waiting")
    board.choose("Empty")
    board.confirm()
    until(lambda: not fn.Queue("etl-loads").get_job_counts()["waiting"])
    with working(), pytest.warns(UserWarning, match="another program removed"):
        assert flow.result(timeout=30) == 0
    right(flow, "1 job, 1 completed")
    assert (
        flow.explain()["why"].str.contains("completed without 2 children: another program removed them").any()
    )


def test_pause_holds_a_flow_and_resume_lets_it_go_on(board, connection, until):
    board.open("etl-loads", "latest")
    board.choose("Pause")
    board.confirm()
    until(fn.Queue("etl-loads").is_paused)
    flow = report(load("monday"))
    with working():
        assert "paused" in flow.explain()["why"].str.cat()
        with pytest.raises(TimeoutError):
            flow.wait(timeout=0.2)

        board.open("etl-loads", "latest")
        board.choose("Resume")
        board.confirm()

        assert flow.result(timeout=30) == 2
    right(flow, "2 jobs, 2 completed")


def test_a_job_that_is_added_there_runs_here(board, connection, until):
    board.open("etl-loads", "latest")
    board.choose("Add job")
    form = board.page.get_by_role("dialog")
    form.get_by_label("Job name").fill("by-hand")
    form.get_by_role("button", name="Add").click()
    until(lambda: fn.Queue("etl-loads").get_job_counts()["waiting"])
    with fn.Worker("etl-loads", lambda job: [job.name, job.data]):
        until(lambda: fn.Queue("etl-loads").get_jobs("completed"))
    (job,) = fn.Queue("etl-loads").get_jobs("completed")
    assert job.returnvalue == ["by-hand", {}]


def test_obliterate_takes_a_queue_away(board, connection, until):
    flow = report(load("monday"))
    fn.Queue("etl-loads").pause()
    board.open("etl-loads", "latest")
    board.choose("Obliterate")
    board.confirm()
    until(lambda: fn.Queue("etl-loads").get_job("monday") is None)
    with working(), pytest.warns(UserWarning, match="another program removed"):
        assert flow.result(timeout=30) == 0
    right(flow, "1 job, 1 completed")
