"""Names, queues, errors and values are data: no view lets them become markup, commands or control characters."""

from __future__ import annotations

import base64
import html
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser

import pandas as pd
import pytest

from flownb.views.dot import digraph
from flownb.views.html import flow_html, report
from flownb.views.text import summary, tree
from flownb.views.timeline import timeline_svg
from flownb.wire.records import FAILED, WAITING, Snapshot
from tests.support import example_snapshots as scenes

HARMLESS = "a name"
CORPUS = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "attribute": "\"><script>alert(1)</script>'><b",
    "handler": 'x" onload="alert(1)" \'',
    "entity": "&amp;&lt;b&gt;&#60;i&#62;",
    "url": "javascript:alert(1)",
    "end of style": "</style><script>alert(1)</script>",
    "end of title": "</title></svg><script>alert(1)</script>",
    "comment": "--><!--<b>",
    "cdata": "]]><![CDATA[<b>",
    "template": "$name ${style} $$ %s {0}",
    "backslash": "\\N \\G \\",
    "html label": "<<b>x</b>>",
    "dot": '"]; n9 [label="x',
    "port": "a:b:c",
    "newline": "first\nsecond\r\nthird\rfourth",
    "override": "safe\u202egpj.exe",
    "zero": "a\x00b\x08\x0b\x0c\x7f\x85\u2028\ufffe",
    "surrogate": "half \ud83d",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "long": "x" * 10_000,
    "empty": "",
    "blank": "   ",
}


def flow_of(text: str) -> Snapshot:
    """A flow in which everything a user or a job can choose is `text`."""
    stack = json.dumps([text])
    failed = scenes.record(text, FAILED, text, failed_reason=text, stacktrace=stack, timestamp=scenes.START)
    more = {"failed_reason": text, "progress": text}
    return scenes.flow(
        text,
        "failing",
        scenes.job("r", text, "active", ("a", "m"), queue=text, **more),
        scenes.job("a", text, FAILED, queue=text, **more),
        scenes.many("m", text + "*", {WAITING: 5, FAILED: 1}, queue=text + "2"),
        failures=(failed,),
    )


def timeline_of(text: str, count: int = 3) -> str:
    rows = [
        scenes.record(text, FAILED, text, processed_on=scenes.START + 5, finished_on=scenes.START + 9 + n)
        for n in range(count)
    ]
    return timeline_svg(rows, now=scenes.START + 20)


def whole_report(text: str) -> str:
    # Objects: pandas' own text dtype, kept by pyarrow where that is installed, takes no lone surrogates.
    frame = pd.DataFrame([[text], [text]], dtype=object)
    frame.columns = pd.Index([text], dtype=object)
    frame.index = pd.Index([text, "b"], name=text, dtype=object)
    return report(flow_of(text), table_html=frame, timelines=[timeline_of(text)], title=text)


class Shape(HTMLParser):
    """What a browser would build: elements, attributes, links; without the text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag, tuple(name for name, _ in attrs)] += 1

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.found["comment", ()] += 1

    def unknown_decl(self, data: str) -> None:
        self.found["declaration", ()] += 1


def assert_clean(text: str) -> None:
    """No control character, no direction override; what is written can be written to a file."""
    text.encode("utf-8")
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\ufffe]", text)


def opened(page: str) -> str:
    """The page with its image as the SVG that it is, beside an element with the image's attributes."""
    image = re.compile(
        r'<img class="fn-picture" (alt="[^"]*" aria-label="[^"]*" style="[^"]+") '
        r'src="data:image/svg\+xml;base64,([\w+/=]+)">'
    )
    made, count = image.subn(lambda found: f"<b {found[1]}></b>{base64.b64decode(found[2]).decode()}", page)
    assert count == 1
    return made


PAGES = {
    "flow": lambda text: opened(flow_html(flow_of(text))),
    "report": whole_report,
    "timeline": timeline_of,
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", CORPUS)
def test_no_element_or_attribute_comes_from_data(kind, page, drawn_with):
    made = PAGES[page](CORPUS[kind])
    elements = set(Shape(made).found)
    assert elements <= set(Shape(PAGES[page](HARMLESS)).found)
    assert {tag for tag, _ in elements}.isdisjoint({"script", "img", "iframe", "a", "link", "comment"})
    assert not [
        name for _, names in elements for name in names if name.startswith("on") or name in ("href", "src")
    ]
    assert_clean(made)


@pytest.mark.parametrize("kind", CORPUS)
def test_a_drawing_of_hostile_names_has_the_shape_of_a_harmless_one(kind, drawn_with):
    def shape(text: str) -> list[tuple[str, list[str]]]:
        picture = ET.fromstring(digraph(flow_of(text)).svg())
        return [
            (element.tag, sorted(element.attrib)) for element in picture.iter() if "text" not in element.tag
        ]

    assert shape(CORPUS[kind]) == shape(HARMLESS)
    assert_clean(digraph(flow_of(CORPUS[kind])).svg())


@pytest.mark.parametrize("kind", CORPUS)
def test_dot_text_of_hostile_names_has_the_lines_of_a_harmless_one(kind):
    def lines(text: str) -> list[str]:
        quoted = re.compile(r'"(?:[^"\\]|\\.)*"')
        source = digraph(flow_of(text)).source
        return re.sub(r"label=[^ \]]+", "label", quoted.sub('""', source)).splitlines()

    assert lines(CORPUS[kind]) == lines(HARMLESS)
    assert_clean(digraph(flow_of(CORPUS[kind])).source.replace("\t", ""))


@pytest.mark.parametrize("kind", CORPUS)
def test_text_for_terminals_is_printable_and_of_one_line_a_node(kind):
    text = tree(flow_of(CORPUS[kind]))
    assert len(text.split("\n")) == 4
    assert all(line.isprintable() for line in text.split("\n"))
    assert max(len(line) for line in text.split("\n")) < 200
    assert summary(flow_of(CORPUS[kind])).isprintable()


def test_long_names_are_cut_and_marked():
    made = digraph(flow_of(CORPUS["long"]))
    assert "…" in made.source
    assert "x" * 61 not in made.source
    assert "…" in summary(flow_of(CORPUS["long"]))
    assert len(flow_html(flow_of(CORPUS["long"]))) < 40_000


def test_a_name_is_shown_and_not_lost():
    name = CORPUS["script"]
    assert html.escape(name) in flow_html(flow_of(name))
    assert name in "".join(Shape(whole_report(name)).text)
    assert name in "".join(ET.fromstring(digraph(flow_of(name)).svg()).itertext())


def test_a_report_asks_for_nothing_from_elsewhere():
    page = whole_report(HARMLESS).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import|<script|<link|src=|href=", page)


def test_the_folded_timeline_escapes_too():
    page = timeline_of(CORPUS["script"], count=60)
    assert "<script" not in page
    ET.fromstring(page)
