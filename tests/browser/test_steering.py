"""The whole view: each button does on the server what it says, the table and the panels tell what is there."""

from __future__ import annotations

import flownb as fn

ADD = """
import flownb as fn
flow = fn.add(
    {"name": "total", "queueName": "totals", "children": [
        {"name": f"row-{n}", "queueName": "rows", "data": {"n": n}, "opts": {"ignoreDependencyOnFailure": True, "attempts": 2}}
        for n in range(120)
    ]}, name="november")
flow.watch()"""


def fail_every_tenth(job):
    job.log(f"row {job.data['n']} begins")
    if job.data["n"] % 10 == 3:
        raise ValueError("no tax for this country")
    return job.data["n"]


def run_rows(nb, process=fail_every_tenth):
    with fn.Worker("rows", process, concurrency=4, connection=nb.connection):
        flow = fn.attach("november", connection=nb.connection)
        while flow.progress().completed + flow.progress().failed < 120:
            nb.page.wait_for_timeout(50)
    return flow


def button(nb, name):
    return nb.page.locator(".fn-whole .fn-actions").get_by_role("button", name=name, exact=True)


def test_retry_and_remove_do_on_the_server_what_they_say(notebook, until):
    nb = notebook(ADD)
    nb.run(0)
    flow = run_rows(nb)
    button(nb, "Retry failed").click()
    until(lambda: flow.progress().failed == 0, seconds=30)
    flow = run_rows(nb, lambda job: job.data["n"])
    nb.see(".fn-whole .fn-key", "120 completed")

    button(nb, "Remove").click()
    button(nb, "Keep").click()
    assert flow.progress().total == 121
    button(nb, "Remove").click()
    button(nb, "Remove").click()
    nb.see(".fn-whole .fn-head", "removed")
    assert list(nb.connection.client().scan_iter("bull:rows:*-*", _type="hash")) == []


def test_pause_resume_and_cancel_do_on_the_server_what_they_say(notebook, until):
    nb = notebook(ADD)
    nb.run(0)
    flow = fn.attach("november", connection=nb.connection)
    button(nb, "Pause").click()
    until(lambda: "paused" in repr(flow.progress()), seconds=30)
    button(nb, "Resume").click()
    until(lambda: "paused" not in repr(flow.progress()), seconds=30)
    button(nb, "Cancel").click()
    nb.see(".fn-whole .fn-actions", "What has not run will not run")
    assert flow.state == "waiting-children"
    button(nb, "Cancel").click()
    until(lambda: flow.state == "cancelled", seconds=30)
    nb.see(".fn-whole .fn-head", "cancelled")


def test_a_group_opens_a_job_tells_all_and_the_table_is_paged(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.see(".fn-whole .fn-node")
    run_rows(nb)
    nb.see(".fn-whole .fn-node.fn-failed", "108 completed, 12 failed")
    nb.page.locator(".fn-whole .fn-node", has_text="row-* × 120").click()
    nb.page.locator(".fn-whole .fn-node", has=nb.page.get_by_text("row-3", exact=True)).click()
    nb.see(".fn-details .fn-state", "failed")
    nb.see(".fn-details pre", "no tax for this country")
    nb.see(".fn-details pre", '"n": 3')
    nb.see(".fn-details pre", "row 3 begins")
    nb.see(".fn-details summary", "failed runs")
    nb.page.get_by_role("button", name="Fold the opened groups again").click()
    nb.see(".fn-whole .fn-node", "row-* × 120")

    nb.see(".fn-jobs tbody tr >> nth=0 >> text=failed")
    assert nb.page.locator(".fn-jobs tbody tr").count() == 50
    nb.see(".fn-bar-of-tools", "1 to 50 of 121 jobs")
    nb.page.get_by_role("button", name="Next").click()
    nb.see(".fn-bar-of-tools", "51 to 100 of 121 jobs")
    nb.page.get_by_role("button", name="Previous").click()
    nb.page.get_by_label("State").select_option("failed")
    nb.see(".fn-bar-of-tools", "1 to 12 of 12 jobs")
    nb.page.get_by_role("tab", name="Failures").click()
    nb.see(".fn-whole .fn-failures li", "12 ×")
    nb.page.get_by_role("tab", name="Timeline").click()
    nb.see(".fn-whole .fn-tabs svg text", "rows")
    nb.page.get_by_label("Find in the tree").fill("row")
    nb.see(".fn-tools [role=status]", "1 match")
    assert nb.errors == []


def test_the_table_of_a_large_flow_says_what_it_does_not_sort_and_searches_on(notebook):
    nb = notebook(ADD.replace("range(120)", "range(10_500)"))
    nb.run(0)
    nb.see(".fn-bar-of-tools", "1 to 50 of 10,501 jobs")
    nb.see(".fn-limit", "Over 5,000 jobs are not sorted")
    assert nb.page.locator(".fn-jobs th button").count() == 0
    nb.page.get_by_label("State").select_option("active")
    nb.see(".fn-bar-of-tools", "0 found, 10,000 of 10,501 jobs searched; Next searches on")
    nb.page.get_by_role("button", name="Next").click()
    nb.see(".fn-bar-of-tools", "0 found, 10,501 of 10,501 jobs searched")
    nb.page.get_by_label("State").select_option("")
    nb.page.get_by_label("Queue", exact=True).select_option("totals")
    nb.see(".fn-bar-of-tools", "1 to 1 of 1 job")
    nb.see(".fn-jobs th button", "name")
    assert nb.errors == []


def test_the_tree_is_walked_with_the_keyboard(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.see(".fn-whole .fn-node")
    nb.page.locator(".fn-whole .fn-node").first.focus()
    nb.page.keyboard.press("ArrowDown")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert nb.page.evaluate(focused).startswith("row-* × 120, queue rows")
    nb.page.keyboard.press("ArrowUp")
    assert nb.page.evaluate(focused).startswith("total, queue totals")
    nb.page.keyboard.press("Enter")
    nb.see(".fn-details h3", "total")
    unnamed = "[...document.querySelectorAll('.fn-live button, .fn-live input, .fn-live select, .fn-live [role=img]')].filter((e) => !(e.textContent || e.getAttribute('aria-label')))"
    assert nb.page.evaluate(f"{unnamed}.length") == 0
