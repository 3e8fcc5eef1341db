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
    nb.see(".fn-whole .fn-node.fn-has-failed", "108 completed, 12 failed")
    nb.page.locator(".fn-whole .fn-node", has_text="row-* × 120").click()
    nb.page.locator(".fn-whole .fn-node", has=nb.page.get_by_text("row-3", exact=True)).click()
    nb.see(".fn-details .fn-state", "failed")
    nb.see(".fn-details pre", "no tax for this country")
    nb.see(".fn-details pre", '"n": 3')
    nb.see(".fn-details pre", "row 3 begins")
    nb.see(".fn-details summary", "failed runs")
    nb.see(".fn-details dd", "in 2 runs")
    nb.page.get_by_role("button", name="Fold the opened groups again").click()
    nb.see(".fn-whole .fn-node", "row-* × 120")

    nb.see("[role=tab][aria-selected=true]", "Failures (12)")  # they have opened by themselves
    nb.page.get_by_role("tab", name="Jobs").click()
    nb.see("[aria-label=Jobs] tbody tr >> nth=0 >> text=failed")
    assert nb.page.locator("[aria-label=Jobs] tbody tr").count() == 50
    nb.see(".fn-bar-of-tools", "1 to 50 of 121 jobs")
    nb.page.get_by_role("button", name="Next").click()
    nb.see(".fn-bar-of-tools", "51 to 100 of 121 jobs")
    nb.page.get_by_role("button", name="Previous").click()
    nb.page.get_by_label("State").select_option("failed")
    nb.see(".fn-bar-of-tools", "1 to 12 of 12 jobs")
    nb.page.get_by_role("tab", name="Failures (12)").click()
    nb.see(".fn-whole .fn-failures li", "12 ×")
    nb.page.get_by_role("tab", name="Timeline").click()
    nb.see(".fn-whole .fn-tabs svg text", "rows")
    nb.page.get_by_label("Find a job").fill("row-1")
    nb.see(".fn-find [role=status]", "3 jobs")  # of those that failed
    nb.see(".fn-bar-of-tools", "1 to 3 of 3 jobs")
    assert nb.errors == []


HOLD_WHAT_THE_TABLE_ASKS_UNTIL_IT_ASKS_AGAIN = """() => {
    const send = WebSocket.prototype.send;
    let held = null;
    WebSocket.prototype.send = function (data) {
        const text = typeof data === "string" ? data : new TextDecoder().decode(data);
        if (!text.includes('"ask":"jobs"')) return send.call(this, data);
        if (!held) return void (held = data);
        send.call(this, data);
        send.call(this, held);
        WebSocket.prototype.send = send;
    };
}"""


def test_the_page_of_the_table_that_was_asked_for_comes_although_a_refresh_comes_first(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.see(".fn-bar-of-tools", "1 to 50 of 121 jobs")
    nb.page.evaluate(HOLD_WHAT_THE_TABLE_ASKS_UNTIL_IT_ASKS_AGAIN)
    nb.page.get_by_role("button", name="Next").click()
    run_rows(nb)
    nb.see(".fn-bar-of-tools", "51 to 100 of 121 jobs")
    nb.page.get_by_role("button", name="Previous").click()
    nb.see(".fn-bar-of-tools", "1 to 50 of 121 jobs")
    assert nb.errors == []


def test_what_was_chosen_and_searched_for_stays_marked_while_states_change(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.page.get_by_label("Find a job").fill("row")
    nb.page.locator(".fn-whole .fn-node", has_text="total").click()
    nb.see(".fn-whole .fn-node.fn-dim.fn-chosen", "waiting for 120 jobs")
    run_rows(nb)
    nb.see(".fn-whole .fn-node.fn-has-failed", "108 completed, 12 failed")
    nb.see(".fn-whole .fn-node.fn-dim.fn-chosen", "total")
    assert nb.errors == []


def test_the_table_of_a_large_flow_says_what_it_does_not_sort_and_searches_on(notebook):
    nb = notebook(ADD.replace("range(120)", "range(10_500)"))
    nb.run(0)
    nb.see(".fn-bar-of-tools", "1 to 50 of 10,501 jobs")
    nb.see(".fn-limit", "Over 5,000 jobs are not sorted")
    assert nb.page.locator("[aria-label=Jobs] th button").count() == 0
    nb.page.get_by_label("State").select_option("active")
    nb.see(".fn-bar-of-tools", "0 found, 10,000 of 10,501 jobs searched; Next searches on")
    nb.page.get_by_role("button", name="Next").click()
    nb.see(".fn-bar-of-tools", "0 found, 10,501 of 10,501 jobs searched")
    nb.page.get_by_label("State").select_option("")
    nb.page.get_by_label("Queue", exact=True).select_option("totals")
    nb.see(".fn-bar-of-tools", "1 to 1 of 1 job")
    nb.see("[aria-label=Jobs] th button", "name")
    assert nb.errors == []


FOCUSED = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"


def test_the_tree_is_walked_with_the_keyboard(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.see(".fn-whole .fn-node")
    press, focused = nb.page.keyboard.press, lambda: nb.page.evaluate(FOCUSED)
    nb.page.locator(".fn-whole .fn-node").first.focus()
    press("ArrowDown")
    assert focused().startswith("row-* × 120, queue rows: 120 waiting")
    press("Enter")  # opens the group; who walks in the tree stays there
    nb.see(".fn-whole .fn-node >> nth=5")
    press("ArrowUp")
    assert focused().startswith("total, queue totals")
    press("Enter")
    nb.see(".fn-details h3", "total")
    nb.page.locator(".fn-details button").first.focus()
    press("Escape")
    nb.page.wait_for_selector(".fn-details", state="hidden")
    assert focused().startswith("total, queue totals")


def test_every_control_is_reached_with_the_tab_key_and_seen_and_named(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.see(".fn-jobs tbody tr >> nth=49")
    nb.page.locator(".fn-whole .fn-actions button").first.focus()
    reached = []
    while nb.page.evaluate("Boolean(document.activeElement.closest('.fn-whole'))"):
        reached.append(nb.page.evaluate(FOCUSED))
        seen = nb.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert (reached[-1], seen) != ("", "none")
        assert seen == "solid", f"nobody sees that {reached[-1]} has the focus"
        nb.page.keyboard.press("Tab")
    assert reached[:7] == ["Pause", "Cancel", "Remove", "Smaller", "Larger", "Show all of it",
                           "total, queue totals: waiting for 120 jobs"]  # fmt: skip
    assert reached[7:] == [
        "Jobs",
        "Find a job",
        "State",
        "Queue",
        "Next",
        *HEADINGS,
        "total",
        *(f"row-{n}" for n in range(49)),
    ]

    button(nb, "Remove").focus()
    for key in (
        "Enter",
        "d",
        "d",
        "Enter",
    ):  # asked; no key of Jupyter's deletes the cell; "Keep" has the focus
        nb.page.keyboard.press(key)
    assert nb.page.evaluate(FOCUSED) == "Remove"
    nb.see(".fn-whole .fn-node")


HEADINGS = ["name", "queue", "state", "attempts", "waited", "ran", "error"]


def test_a_screen_reader_is_told_names_states_and_counts(notebook):
    nb = notebook(ADD)
    nb.run(0)
    nb.see(".fn-jobs tbody tr")
    devtools = nb.context.new_cdp_session(nb.page)
    nodes = devtools.send("Accessibility.getFullAXTree")["nodes"]
    told = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"] and node.get("name")
    }
    for role, name in [
        ("region", "Flow november"),
        ("image", "120 waiting, 1 waiting for children"),
        ("group", "Tree of jobs: arrow keys walk, Enter opens"),
        ("button", "total, queue totals: waiting for 120 jobs"),
        ("button", "row-* × 120, queue rows: 120 waiting"),
        ("tabpanel", "Jobs"),
        ("table", "Jobs"),
        ("combobox", "State"),
    ]:
        assert (role, name) in told
    unnamed = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and not (node.get("name") or {}).get("value")
    ]
    assert not {"button", "combobox", "searchbox", "tab", "tabpanel", "region"} & set(unnamed)

    nb.page.evaluate("""() => { window.told = []; for (const element of document.querySelectorAll('.fn-whole [role=status]'))
        new MutationObserver(() => window.told.push(element.textContent)).observe(element, { childList: true, characterData: true, subtree: true }); }""")
    run_rows(nb)
    with fn.Worker("totals", lambda job: 1, connection=nb.connection):
        nb.see(".fn-whole .fn-head", "completed")
    steps = nb.page.evaluate("window.told")  # the root's states; the counts changed many times
    assert steps[-1] == "completed"
    assert set(steps) <= {"waiting", "active", "completed"}


OUTSIDE = """it => {
    const { left, right } = it.getBoundingClientRect();
    const isOut = (text) => text.getBoundingClientRect().right > right || text.getBoundingClientRect().left < left;
    return [...it.querySelectorAll("text")].filter(isOut).map((text) => text.textContent);
}"""


def test_nothing_that_the_timeline_says_is_clipped(notebook):
    nb = notebook(ADD)
    nb.run(0)
    run_rows(nb, lambda job: [][job.data["n"]])
    nb.page.get_by_role("tab", name="Timeline").click()
    nb.see(".fn-whole [role=tabpanel] svg text", "120 retried, 120 failed")
    assert nb.page.locator(".fn-whole [role=tabpanel] svg").last.evaluate(OUTSIDE) == []
