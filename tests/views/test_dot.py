"""The drawing: its DOT text, its picture, with and without an engine."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import graphviz
import pytest
from PIL import Image, ImageColor

from flownb.views import engine, paint, palette, sanitize, tree_layout
from flownb.views.dot import Drawing, digraph, escaped
from flownb.views.scene import scene_of
from flownb.wire.records import STATES, Snapshot
from tests.support import example_snapshots as scenes

GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(snapshot: Snapshot) -> ET.Element:
    return ET.fromstring(digraph(snapshot).svg())


def nodes_and_edges(picture: ET.Element) -> tuple[list[str], set[str]]:
    groups = list(picture.iter(f"{SVG}g"))
    nodes = [group.get("data-node", "") for group in groups if group.get("data-node")]
    edges = {group.get("data-edge", "") for group in groups if group.get("data-edge")}
    return nodes, edges


@pytest.mark.parametrize("name", ["small", "diamond", "wide", "failing"])
def test_the_dot_text_is_as_written_down(name):
    assert digraph(scenes.ALL[name]()).source == (GOLDEN / f"{name}.gv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", scenes.ALL)
def test_the_same_flow_gives_the_same_bytes(name, drawn_with):
    first, second = digraph(scenes.ALL[name]()), digraph(scenes.ALL[name]())
    assert first.source == second.source
    engine.run.cache_clear()
    one = first.svg()
    engine.run.cache_clear()
    assert one == second.svg()
    assert repr(first) == repr(second)


def test_the_text_is_the_same_whatever_the_hash_seed():
    code = (
        "from tests.support import example_snapshots as s; from flownb.views.dot import digraph;"
        "d = digraph(s.wide()); print(d.source, d.svg())"
    )
    root = Path(__file__).parents[2]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert b"process-item" in outputs[0]


@pytest.mark.parametrize("name", scenes.ALL)
def test_every_node_and_every_edge_is_drawn_once(name, drawn_with):
    snapshot = scenes.ALL[name]()
    nodes, edges = nodes_and_edges(drawn(snapshot))
    scene = scene_of(snapshot)
    assert nodes == [box.id for box in scene.boxes]
    assert edges == {f"{arrow.child} {arrow.parent}" for arrow in scene.arrows}


def test_a_shared_job_is_one_node_with_an_arrow_to_each_parent(drawn_with):
    nodes, edges = nodes_and_edges(drawn(scenes.diamond()))
    assert len(nodes) == 7
    assert {"n4 n2", "n4 n3"} <= edges


def test_the_parent_stands_above_its_children(drawn_with):
    layout = {}
    for group in drawn(scenes.diamond()).iter(f"{SVG}g"):
        box = group.find(f"{SVG}rect")
        if group.get("data-node") and box is not None:
            layout[group.get("data-node")] = float(box.get("y", "nan"))
    for arrow in scene_of(scenes.diamond()).arrows:
        assert layout[arrow.parent] < layout[arrow.child]


@pytest.mark.parametrize("name", scenes.ALL)
def test_the_built_in_layout_lets_no_boxes_overlap(name):
    layout = tree_layout.geometry_of(scene_of(scenes.ALL[name]()))
    rects = list(layout.rects.values())
    for number, a in enumerate(rects):
        assert a.x >= 0
        assert a.x + a.width <= layout.width
        assert a.y + a.height <= layout.height
        for b in rects[number + 1 :]:
            beside = a.x + a.width <= b.x or b.x + b.width <= a.x
            assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y


def test_the_built_in_layout_ends_on_a_circle():
    circle = scenes.flow(
        "o", "active", scenes.job("a", "a", children="b"), scenes.job("b", "b", children="a")
    )
    assert len(tree_layout.geometry_of(scene_of(circle)).rects) == 2


def test_children_stand_in_declared_order(drawn_with):
    xs = {}
    for group in drawn(scenes.every_state()).iter(f"{SVG}g"):
        if group.get("data-node"):
            xs[group.get("data-node")] = float(group.find(f"{SVG}rect").get("x"))
    children = [xs[f"n{number}"] for number in range(1, 9)]
    assert children == sorted(children)


def test_every_state_has_its_own_colour_word_and_sign():
    assert len({palette.PALETTE[state] for state in STATES}) == len(STATES)
    badges = {
        re.sub(r"#\w+", "", ET.tostring(paint.badge(state, 0, 0), encoding="unicode")) for state in STATES
    }
    assert len(badges) == len(STATES)  # told apart without colour
    text = digraph(scenes.every_state()).svg()
    assert all(state in text for state in STATES)


def test_a_folded_node_says_how_many_are_where(drawn_with):
    text = "".join(drawn(scenes.wide()).itertext())
    assert "process-item-* × 1,000" in text
    assert "742 completed, 12 active, 3 failed" in text
    assert "12 more jobs are not drawn" in text


def test_an_optional_childs_arrow_is_dashed(drawn_with):
    dashed = [
        group for group in drawn(scenes.wide()).iter(f"{SVG}g") if "fn-optional" in group.get("class", "")
    ]
    assert [group.get("data-edge") for group in dashed] == ["n3 n1"]
    assert dashed[0].find(f"{SVG}path").get("stroke-dasharray")


def test_the_picture_shows_itself_without_dot_on_path(monkeypatch):
    monkeypatch.setenv("PATH", "")
    drawing = digraph(scenes.small())
    assert isinstance(drawing, graphviz.Digraph)
    shown = drawing._repr_mimebundle_()
    assert set(shown) == {"image/svg+xml", "image/png", "text/plain"}
    assert shown["image/svg+xml"].startswith("<svg")
    assert shown["text/plain"] == "<Drawing of 'report': 3 nodes, 2 edges>"
    assert set(drawing._repr_mimebundle_(exclude=["image/svg+xml"])) == {"image/png", "text/plain"}
    assert drawing._repr_mimebundle_(include=[]) == {}


@pytest.mark.parametrize(
    "script", ["exit 1", "echo no picture", "echo '<svg><g'", "echo '<svg viewBox=\"0 0 1 1\"/>'"]
)
def test_a_broken_engine_is_replaced_by_the_built_in_layout(tmp_path, monkeypatch, script):
    broken = tmp_path / "dot"
    broken.write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setenv("FLOWNB_DOT", str(broken))
    text = digraph(scenes.small()).svg()
    monkeypatch.setenv("FLOWNB_DOT", "builtin")
    assert text == digraph(scenes.small()).svg()


def test_an_engine_that_hangs_is_given_up(tmp_path, monkeypatch):
    slow = tmp_path / "dot"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(engine, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(engine.EngineFailed):
        engine.run(str(slow), "digraph { hangs }")


def test_the_engine_is_looked_for_in_order(tmp_path, monkeypatch):
    scripts, path = tmp_path / "scripts", tmp_path / "path"
    for folder, command in ((scripts, "graphviz-pure"), (path, "dot")):
        folder.mkdir()
        (folder / command).write_text("#!/bin/sh\n")
        (folder / command).chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(scripts))
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("FLOWNB_DOT", "dot")
    assert engine.find() == str(path / "dot")
    monkeypatch.delenv("FLOWNB_DOT")
    assert engine.find() == str(scripts / "graphviz-pure")
    (scripts / "graphviz-pure").unlink()
    assert engine.find() == str(path / "dot")
    (path / "dot").unlink()
    assert engine.find() is None
    monkeypatch.setenv("FLOWNB_DOT", "no-such-command")
    with pytest.warns(UserWarning, match="no-such-command"):
        assert engine.find() is None


def test_what_the_user_adds_is_shown():
    if engine.find() is None:
        pytest.skip("no Graphviz engine here")
    drawing = digraph(scenes.small())
    drawing.node("mine", label="my own node", URL="javascript:alert(1)", tooltip="t")
    picture = ET.fromstring(drawing.svg())
    assert "my own node" in "".join(picture.itertext())
    assert {element.tag for element in picture.iter()} <= {SVG + tag for tag in sanitize.KEPT}
    assert "javascript" not in drawing.svg()
    assert isinstance(drawing.copy(), Drawing)
    assert drawing.copy().svg() == drawing.svg()


@pytest.mark.parametrize(
    "name",
    ['say "hi"', "back\\N slash\\", "<<b>x</b>>", "&lt;b&gt;", "a:b", "node", "", "日本語", "{a|b}", "];"],
)
def test_an_engine_shows_a_label_exactly_as_it_is(name):
    command = engine.find()
    if command is None:
        pytest.skip("no Graphviz engine here")
    source = digraph(scenes.flow("f", "active", scenes.job("x", name, queue=name))).source
    picture = ET.fromstring(engine.run(command, source))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts[0] == (name or "(no name)")


def test_an_escaped_label_holds_no_escape_of_dot():
    assert escaped(r"\N & \n") == r"\\N &amp; \\n"


def test_a_wide_picture_scrolls_on_a_page_but_not_as_an_image(monkeypatch):
    from flownb.views.dot import picture

    monkeypatch.setenv("FLOWNB_DOT", "builtin")
    assert "min-width" in picture(scenes.bushy())
    assert "min-width" not in digraph(scenes.bushy()).svg()
    assert "min-width" not in picture(scenes.empty())


def test_an_engine_lays_a_wide_picture_on_its_side_for_a_page():
    from flownb.views.dot import picture

    if engine.find() is None:
        pytest.skip("no Graphviz engine here")
    wide, high = (
        float(re.search(rf'{way}="(\d+)', picture(scenes.bushy()))[1]) for way in ("width", "height")
    )
    assert wide < 800 < high


# ---- pictures in files, without Graphviz's `dot` on the machine ----------------------------------------


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    """A machine without any Graphviz, and an empty folder to work in."""
    monkeypatch.setenv("FLOWNB_DOT", engine.BUILT_IN)
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def colours_of(png: bytes) -> set[tuple[int, ...]]:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    assert picture.width > 200
    return {colour for _, colour in picture.getcolors(1 << 20)}


@pytest.mark.parametrize("write", [
    lambda drawing: drawing.save("flow.png"),
    lambda drawing: drawing.render("flow", format="png"),
    lambda drawing: drawing.save("flow.PNG", "pictures"),
    lambda drawing: drawing.copy().save("flow.png"),
])  # fmt: skip
def test_a_png_is_written_without_dot_and_nothing_beside_it(no_dot, write):
    path = write(digraph(scenes.failing()))
    assert [file for file in no_dot.rglob("*") if file.is_file()] == [no_dot / path]
    assert ImageColor.getrgb(palette.PALETTE["failed"].line) in colours_of((no_dot / path).read_bytes())


def test_an_svg_and_the_dot_text_are_written_without_dot(no_dot):
    drawing = digraph(scenes.small())
    assert Path(drawing.save("flow.svg")).read_text(encoding="utf-8") == drawing.svg()
    assert Path(drawing.render("again", format="svg")).read_text(encoding="utf-8") == drawing.svg()
    assert Path(drawing.save("flow.gv")).read_text(encoding="utf-8") == drawing.source
    with pytest.raises(graphviz.ExecutableNotFound):
        drawing.render("flow", format="pdf")


def test_a_page_that_shows_no_svg_has_the_picture_as_a_png(no_dot):
    shown = digraph(scenes.small())._repr_mimebundle_()["image/png"]
    assert ImageColor.getrgb(palette.PALETTE["completed"].line) in colours_of(base64.b64decode(shown))
