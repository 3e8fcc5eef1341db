"""What a live view's model holds and answers, without a page: flows on a real server, moved job by job."""

from __future__ import annotations

import json
import re
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.widgets import job_table
from flownb.widgets.view import FlowView, view_of
from tests.support.stuck_flows import row


def view_on(flow):
    """Make a view whose answers are kept instead of sent."""
    view = FlowView(flow, whole=True)
    view.said = []
    view.send = view.said.append
    return view


def ask(view, question, **more):
    view._on_page_message(None, {"ask": question, "number": "1", **more}, None)
    return view.said[-1]


def box_of(view, name):
    return next(box for box in view.frame["nodes"] if box["name"] == name)


def test_the_frame_stays_the_same_while_jobs_run(stage):
    flow = stage.add(*(row(f"row-{n}") for n in range(30)), row("other"))
    view = view_on(flow)
    frame, nodes = view.frame, view.nodes
    (taken, *_) = stage.take("rows", 3)
    stage.fail(taken, reason="ValueError: a text that is far longer than the box it stands in is cut")
    assert view.poll()
    assert view.frame is frame
    assert view.nodes != nodes
    assert view.nodes["n0"][0] == "failed"
    assert dict(view.head["counts"])["failed"] == 2  # the row, and the parent that it fails


def test_nothing_is_sent_while_nothing_changes(stage):
    view = view_on(stage.add(row()))
    beat = view.beat
    assert not view.poll()
    assert view.beat == beat


def test_a_running_job_tells_since_when(stage):
    view = view_on(stage.add(row()))
    assert view.head["oldest"] is None
    (taken,) = stage.take("rows")
    view.poll()
    started = stage.store.jobs.read([taken.record.key])[0].processed_on
    assert view.head["oldest"] == started


def test_the_oldest_running_job_of_another_flow_does_not_count(stage):
    first, second = stage.add(row()), stage.add(row())
    stage.take("rows")
    assert view_on(first).head["oldest"] is not None
    assert view_on(second).head["oldest"] is None


def test_a_job_is_told_whole(stage):
    view = view_on(stage.add(row("load", data={"day": 7, "text": "‮<script>\x00"})))
    (taken,) = stage.take("rows")
    stage.store.jobs.update(taken.base, taken.record.id, "log", "half way")
    stage.fail(taken, stacktrace=json.dumps(["first", "Traceback: second"]))
    told = ask(view, "job", key=box_of(view, "load")["key"])
    assert told["state"] == "failed"
    assert '"day": 7' in told["data"]
    assert "‮" not in told["data"]
    assert (told["error"], told["traceback"], told["log"]) == (
        "ValueError: no",
        "Traceback: second",
        ["half way"],
    )


def test_the_table_and_the_panel_say_how_long_all_runs_of_a_job_took(connection, until):
    ends = []

    def run(job):
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.1)
        ends.append(time.monotonic())
        if len(ends) < 3:
            raise ValueError("no tax for this country")

    with fn.Worker("rows", run, connection=connection):
        tree = {"name": "load", "queueName": "rows", "opts": {"attempts": 3}}
        flow = fn.add(tree, connection=connection)
        flow.wait(timeout=60)
    view = view_on(flow)
    [line] = ask(view, "jobs")["rows"]
    panel = ask(view, "job", key=line[0])
    waited, ran = line[5:7]
    assert ran >= 300
    assert (panel["waited"], panel["ran"]) == (waited, ran)
    assert waited + ran == panel["ended"] - panel["created"]
    assert flow.jobs()["run_s"].tolist() == [ran / 1000]


def test_a_huge_text_is_cut_and_says_so(stage):
    view = view_on(stage.add(row("load", data={"text": "x" * 100_000})))
    told = ask(view, "job", key=box_of(view, "load")["key"])
    assert len(json.dumps(told)) < 20_000
    assert "more characters" in told["data"]


def test_an_opened_group_shows_its_failed_jobs_first_and_folds_again(stage):
    flow = stage.add(*(row(f"row-{n}", opts={"ignoreDependencyOnFailure": True}) for n in range(30)))
    *_, last = stage.take("rows", 20)
    stage.fail(last)
    view = view_on(flow)
    group = box_of(view, "row-* × 30")
    ask(view, "open", key=group["key"], parent=group["parent"])
    names = [box["name"] for box in view.frame["nodes"]]
    assert names[1] == "row-19"
    assert names[2:5] == ["row-0", "row-1", "row-2"]
    assert names[-1] == "row-* × 19"
    assert dict(view.nodes[view.frame["nodes"][-1]["id"]][2]) == {"active": 9, "waiting": 10}
    assert sum(count for _, count in view.head["counts"]) == 31

    ask(view, "fold")
    assert [box["name"] for box in view.frame["nodes"]] == ["total", "row-* × 30"]


def test_a_small_group_opens_whole(stage):
    view = view_on(stage.add(*(row(f"row-{n}") for n in range(7))))
    group = box_of(view, "row-* × 7")
    ask(view, "open", key=group["key"], parent=group["parent"])
    assert len(view.frame["nodes"]) == 8


@pytest.mark.parametrize("most_sorted", [job_table.MAX_SORTED, 5])
def test_the_table_is_paged_failed_jobs_first(stage, monkeypatch, most_sorted):
    monkeypatch.setattr(job_table, "MAX_SORTED", most_sorted)
    flow = stage.add(*(row(f"row-{n}", opts={"ignoreDependencyOnFailure": True}) for n in range(120)))
    for taken in stage.take("rows", 120)[100:103]:
        stage.fail(taken)
    view = view_on(flow)
    first = ask(view, "jobs", start=0)
    assert [line[1] for line in first["rows"][:3]] == ["row-100", "row-101", "row-102"]
    assert first["sortable"] == (most_sorted > 5)
    names, start = [], 0
    while start is not None:
        page = ask(view, "jobs", start=start)
        names += [line[1] for line in page["rows"]]
        start = page["next"]
    assert sorted(names) == sorted(["total", *(f"row-{n}" for n in range(120))])
    assert [line[1] for line in ask(view, "jobs", state="failed")["rows"]] == [
        "row-100",
        "row-101",
        "row-102",
    ]
    assert [line[1] for line in ask(view, "jobs", queue="totals")["rows"]] == ["total"]


def test_of_a_large_flow_the_failed_jobs_and_those_of_one_queue_are_sorted_still(stage, monkeypatch):
    monkeypatch.setattr(job_table, "MAX_SORTED", 5)
    flow = stage.add(*(row(f"row-{n}", opts={"ignoreDependencyOnFailure": True}) for n in range(120)))
    for taken in stage.take("rows", 120)[100:103]:
        stage.fail(taken)
    view = view_on(flow)
    failed = ask(view, "jobs", state="failed", sort="name", descending=True)
    assert [line[1] for line in failed["rows"]] == ["row-102", "row-101", "row-100"]
    assert (failed["sortable"], failed["of"]) == (True, 3)
    assert ask(view, "jobs", queue="totals")["sortable"]
    assert not ask(view, "jobs", queue="rows")["sortable"]


def test_a_search_that_stops_early_says_how_far_it_came_and_goes_on_there(stage, monkeypatch):
    monkeypatch.setattr(job_table, "MAX_SORTED", 5)
    monkeypatch.setattr(job_table, "MAX_SEARCHED", 500)
    flow = stage.add(*(row(f"row-{n}") for n in range(900)))
    view = view_on(flow)
    first = ask(view, "jobs", state="waiting-children")  # the root, then 900 that are not
    assert [line[1] for line in first["rows"]] == ["total"]
    assert (first["of"], first["searched"], first["among"], first["next"]) == (None, 500, 901, 500)
    rest = ask(view, "jobs", state="waiting-children", start=first["next"])
    assert (rest["rows"], rest["searched"], rest["next"]) == ([], 901, None)


def test_the_table_has_jobs_to_which_rows_were_handed_on(connection):
    @fn.task
    def slow(n):
        time.sleep(0.12)  # more than a job of many rows may take

    batch = fn.fan_out(range(60), slow, name="slow-rows")
    view = view_on(batch)
    before = ask(view, "jobs")["of"]
    batch.wait(timeout=100)
    after = ask(view, "jobs")["of"]
    assert before < after == len(batch.jobs())
    assert view.head["rows"] == 60  # the table says why it has fewer lines than there are rows


def test_a_row_is_called_by_its_label_in_the_table_and_in_its_details(connection):
    @fn.task
    def ship(n):
        return n

    frame = pd.DataFrame({"n": [1, 2]}, index=["order-7", "<b>order-8</b>"])
    batch = fn.fan_out(frame, ship, rows_per_job=1).wait(timeout=60)
    view = view_on(batch)
    found = {line[1]: line[0] for line in ask(view, "jobs", queue="ship")["rows"]}
    assert sorted(found) == ["ship <b>order-8</b>", "ship order-7"]
    assert ask(view, "job", key=found["ship order-7"])["name"] == "ship order-7"
    assert ask(view, "jobs", queue="ship", sort="name", descending=True)["rows"][0][1] == "ship order-7"


def test_the_table_is_sorted_by_any_column(stage):
    view = view_on(stage.add(*(row(f"row-{n}") for n in range(3))))
    page = ask(view, "jobs", sort="name", descending=True)
    assert [line[1] for line in page["rows"]] == ["total", "row-2", "row-1", "row-0"]


def test_failures_stand_together_by_message(stage):
    flow = stage.add(*(row(f"row-{n}", opts={"ignoreDependencyOnFailure": True}) for n in range(6)))
    for n, taken in enumerate(stage.take("rows", 6)):
        stage.fail(taken, reason="KeyError: 'tax'" if n else "ValueError: no")
    (often, once) = view_on(flow).failures
    assert (often["message"], often["count"]) == ("KeyError: 'tax'", 5)
    assert [name for _, name in once["jobs"]] == ["row-0"]


def test_failures_of_a_kind_stand_together_and_what_is_left_out_is_counted(stage):
    words = [
        "no tax",
        "no name",
        "no price",
        "no day",
        "no shop",
        "no tag",
        "no size",
        "no code",
        "no unit",
        "no key",
    ]
    flow = stage.add(*(row(f"row-{n}", opts={"ignoreDependencyOnFailure": True}) for n in range(120)))
    for n, taken in enumerate(stage.take("rows", 120)):
        stage.fail(taken, reason=f"ValueError: {words[max(n - 90, 0) % 10]} in row {n}")
    *groups, rest = view_on(flow).failures
    assert len(groups) == 8
    assert (groups[0]["message"], groups[0]["count"]) == ("ValueError: no tax in row …", 91)
    assert groups[0]["example"] == "ValueError: no tax in row 0"
    assert (rest["jobs"], rest["count"] + sum(group["count"] for group in groups)) == ([], 120)
    page = flow.to_html()
    assert "ValueError: no tax in row …" in page
    assert page.count("<li><b>") == 10
    bundle = flow._repr_mimebundle_()["text/html"]
    assert bundle.count("<li><b>") == 5
    shown = sum(int(count) for count in re.findall(r"<li><b>(\d+) ×", bundle))
    assert f"and {120 - shown} jobs more that failed" in bundle


def test_what_fails_anew_between_two_looks_is_told_with_its_new_message(stage, monkeypatch):
    monkeypatch.setattr("flownb.widgets.view._FAILURES_SECONDS", 0)
    flow = stage.add(row())
    stage.fail(*stage.take("rows"), reason="KeyError: 'tax'")
    view = view_on(flow)
    assert [group["message"] for group in view.failures] == ["KeyError: 'tax'"]
    flow.retry()
    stage.fail(*stage.take("rows"), reason="ValueError: no")
    view.poll()
    assert [group["message"] for group in view.failures] == ["ValueError: no"]


def test_a_button_retries_what_failed(stage):
    flow = stage.add(row())
    (taken,) = stage.take("rows")
    stage.fail(taken)
    view = view_on(flow)
    assert "retry" in view.head["actions"]
    assert ask(view, "do", what="retry")["done"] == "retry"
    assert dict(view.head["counts"]) == {"waiting": 1, "waiting-children": 1}


def test_buttons_pause_resume_and_cancel(stage):
    view = view_on(stage.add(row()))
    assert view.head["actions"] == ["pause", "cancel", "remove"]
    ask(view, "do", what="pause")
    assert (view.head["state"], view.head["actions"][0]) == ("paused", "resume")
    ask(view, "do", what="resume")
    assert (view.head["state"], view.head["actions"][0]) == ("waiting for 1 job", "pause")
    ask(view, "do", what="cancel")
    assert view.head["state"] == "cancelled"
    assert "cancel" not in view.head["actions"]


def test_a_button_removes_the_flow_and_the_view_says_so(stage):
    view = view_on(stage.add(row()))
    ask(view, "do", what="remove")
    assert view.head["state"] == "removed"
    assert stage.store.flows.read(view._flow._stored.id) == {}


def test_what_cannot_be_done_is_said_in_the_view(stage):
    view = view_on(stage.add(row()))
    assert "no such button" in ask(view, "do", what="_store")["error"]
    assert "no such question" in ask(view, "anything")["error"]
    assert (
        ask(view, "job", key="bull:rows:none")["error"]
        == "job rows:none is not on this server: it was removed, or never stored here"
    )


def test_a_server_that_is_gone_is_said_in_the_view(own_server):
    connection = fn.Connection(own_server.url)
    view = view_on(fn.add({"name": "total", "queueName": "totals"}, connection=connection))
    own_server.kill()
    view.poll()
    assert view.head["trouble"]
    own_server.start()
    view.poll()
    assert "trouble" not in view.head
    connection.close()


def test_a_cell_that_runs_twice_makes_no_second_view(stage):
    flow = stage.add(row())
    flow._stored.store.flows.set_name("twice", flow._stored.id)
    first = flow.watch()
    assert fn.attach("twice").watch() is first
    first.close()
    assert view_of(flow, whole=True) is not first


def commands_of_a_poll(redis, view):
    redis.config_resetstat()
    view.poll()
    stats = redis.info("commandstats").items()
    return sum(
        stat["calls"] for name, stat in stats if not name.startswith(("cmdstat_config", "cmdstat_info"))
    )


def test_polling_a_large_flow_costs_little(stage):
    """Messages under 20 kB, and a handful of reads, for 20,000 jobs as for 20."""
    small, large = (
        stage.add(*(row(f"row-{n}") for n in range(count)), name=f"of-{count}") for count in (20, 20_000)
    )
    views = [view_on(flow) for flow in (small, large)]
    for view in views:
        view.poll()  # the scripts are loaded now
        # What is looked up now and then comes on top of some polls.
        assert min(commands_of_a_poll(stage.redis, view) for _ in range(3)) < 40
        assert len(json.dumps([view.frame, view.nodes, view.head, view.failures])) < 20_000
