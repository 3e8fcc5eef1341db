"""The live view uses no more of a front end than ipywidgets and anywidget document: what VS Code and Colab have."""

from __future__ import annotations

import re

import pytest

import flownb as fn
from flownb.widgets.view import FlowView, view_of
from tests.support.front_end import FrontEnd, wired

TREE = {
    "name": "total",
    "queueName": "totals",
    "children": [{"name": f"row-{n}", "queueName": "rows", "data": n} for n in range(40)],
}
ROW = ".fn-node[aria-label^='row-*']"


@pytest.fixture
def wire(monkeypatch):
    with wired(monkeypatch) as found:
        yield found


@pytest.fixture
def page(browser, wire):
    """Give a page with this front end; further ones by calling it."""
    opened = []

    def open_page():
        opened.append(FrontEnd(browser, wire))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()


@pytest.fixture
def flow(connection):
    return fn.add(TREE, name="november", connection=connection)


@pytest.fixture
def view(wire, flow):
    """The view whose polls are the test's: nothing happens by itself."""
    made = FlowView(flow, whole=True)
    yield made
    made.close()


def test_the_widget_opens_as_documented(wire, view):
    opened = wire.of(view.model_id)[0]
    assert opened.type == "comm_open"
    assert (opened.more["target_name"], opened.metadata) == ("jupyter.widget", {"version": "2.1.0"})
    assert opened.data["buffer_paths"] == []
    state = opened.data["state"]
    others = {
        message.data["state"]["_model_module"] for message in wire.messages if message.type == "comm_open"
    }
    assert others == {"anywidget", "@jupyter-widgets/base"}  # its layout: every front end has that module
    assert (state["_model_module"], state["_view_module"]) == ("anywidget", "anywidget")
    assert (state["_model_name"], state["_view_name"]) == ("AnyModel", "AnyView")
    assert state["_model_module_version"] == state["_view_module_version"] != ""
    assert (type(state["_esm"]), type(state["_css"])) == (str, str)


def test_a_cell_shows_it_by_the_documented_type(flow, wire, monkeypatch):
    monkeypatch.setattr("flownb.widgets.cell_output.is_live", lambda: True)
    monkeypatch.setattr("flownb.widgets.cell_output._watch", lambda view: None)
    shown = view_of(flow, whole=False)._repr_mimebundle_()[0]
    made = view_of(flow, whole=False)
    assert shown["application/vnd.jupyter.widget-view+json"] == {
        "version_major": 2,
        "version_minor": 0,
        "model_id": made.model_id,
    }
    assert wire.of(made.model_id)
    assert "november" in shown["text/html"]  # for who has no widgets
    made.close()


def test_changes_are_updates_of_what_was_opened_and_answers_are_custom_messages(wire, view, flow):
    flow.cancel()
    view.poll()
    view._on_page_message(None, {"ask": "timeline", "number": "1", "width": 600}, None)
    opened, *rest = wire.of(view.model_id)
    known = opened.data["state"].keys()
    said = [message.data for message in rest]
    assert {data["method"] for data in said} == {"update", "custom"}
    for data in said:
        if data["method"] == "update":
            assert (data["state"].keys() <= known, data["buffer_paths"]) == (True, [])
    view.close()
    assert wire.of(opened.comm_id)[-1].type == "comm_close"


def test_the_script_needs_nothing_else(view):
    script = re.sub(r"//.*", "", view._esm)
    assert re.findall(r"^(?:import|export)\b.*|\bimport\(", script, re.MULTILINE) == [
        "export default { render };"
    ]
    assert (
        re.findall(r"\b(?:require|define|fetch|eval|XMLHttpRequest|WebSocket|Jupyter|google)\b", script) == []
    )
    assert set(re.findall(r"https?://[^\"' ]+", view._esm)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, no address
    assert re.findall(r"@import|url\(", view._css) == []


def use(page):
    """Look into a row, as a person does, and leave it."""
    page.see(ROW, "40 waiting")
    page.page.get_by_role("tab", name="Jobs").click()
    page.see(".fn-jobs tbody .fn-link", "row-0")
    page.page.locator(".fn-jobs tbody .fn-link").first.click()
    page.see(".fn-details h3")


def test_it_works_where_a_page_may_load_nothing(page, view):
    shown = page()
    shown.show(view.model_id)
    use(shown)
    assert (shown.page.evaluate("host.blocked"), shown.errors) == ([], [])
    assert [address for address in shown.requests if not address.startswith("blob:")] == []


def test_a_page_that_comes_late_asks_for_the_state(page, view, flow):
    late = page()
    flow.cancel()
    view.poll()
    late.skip()
    late.say(view.model_id, {"method": "request_state"})
    late.show(view.model_id)
    late.see(".fn-head", "cancelled")
    assert late.errors == []


def test_shown_twice_both_live_and_one_that_goes_leaves_the_other(page, view, flow):
    shown = page()
    shown.show(view.model_id)
    shown.show(view.model_id)
    assert shown.page.locator(".fn-live").count() == 2
    shown.page.locator(".fn-live >> nth=1 >> role=tab[name=/Timeline/]").click()
    shown.see(".fn-live >> nth=1 >> .fn-tabs svg")
    shown.page.evaluate("document.querySelectorAll('.fn-live')[0].parentElement.end()")
    flow.cancel()
    view.poll()
    shown.see(".fn-live .fn-head", "cancelled")
    assert shown.page.locator(".fn-live").count() == 1
    assert shown.errors == []


def test_a_widget_that_is_closed_says_so(page, view):
    shown = page()
    shown.show(view.model_id)
    shown.see(ROW)
    view.close()
    shown.exchange()
    shown.page.locator(".fn-node").first.click()
    shown.page.locator(".fn-details", has_text="The kernel is gone. In a new one: fn.attach(name)").wait_for()
