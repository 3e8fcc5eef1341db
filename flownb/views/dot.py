"""A flow as a `graphviz.Digraph` that a cell shows, with or without Graphviz on this machine."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import graphviz

from flownb.views import engine, raster, strip_layout, tree_layout
from flownb.views.box_parts import size_of
from flownb.views.engine_layout import POINTS_PER_INCH, read_geometry
from flownb.views.geometry import Geometry
from flownb.views.paint import paint
from flownb.views.palette import EDGE, INK, PALETTE
from flownb.views.sanitize import sanitized
from flownb.views.scene import Box, Scene, scene_of
from flownb.views.words import SYMBOLS
from flownb.wire.records import FAILED, Snapshot

# The parent on top and its children below in declared order; arrows go up, the way the values go.
_GRAPH = {"rankdir": "BT", "bgcolor": "transparent", "nodesep": "0.3", "ranksep": "0.5", "pad": "0.25"}
_SIDEWAYS = {"rankdir": "RL", "nodesep": "0.18", "ranksep": "0.6"}
_PAGE_PIXELS = 1300.0  # what a notebook shows at a readable size
_MANY_CHILDREN = 6  # of more, the arrows of the outer ones would run almost level
_NODE = {
    "shape": "box",
    "style": "rounded,filled",
    "fontname": "Helvetica",
    "fontsize": "13",
    "fontcolor": INK,
    "margin": "0.36,0.1",
}
# What a broken engine or its answer raises: a drawing never fails for want of an engine.
_NO_PICTURE = (engine.EngineFailed, SyntaxError, LookupError, ValueError, TypeError, AttributeError)
_EDGE = {"color": EDGE, "arrowsize": "0.7"}
_FORMS = ("png", "svg")  # that are written without `dot`


class Drawing(graphviz.Digraph):  # type: ignore[misc]
    """A flow's picture: a `graphviz.Digraph` to read, change and save; the last line of a cell shows it.

    It is laid out by the Graphviz engine that flownb finds, and without one by flownb itself. What you add
    to it (nodes, attributes) is shown as the engine draws it.

    >>> picture = draw({"name": "total", "queueName": "sums"})
    >>> picture.node("note", "once a month")
    >>> "once a month" in picture.source
    True
    """

    def __init__(self, *args: Any, scene: Scene | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scene = scene or Scene(name=self.name or "", boxes=(), arrows=())
        self._built = self.source if scene is None else ""
        self._geometry: Geometry | None = None  # where it is known without an engine

    def svg(self) -> str:
        """The picture as SVG text, without an XML prolog. The same flow gives the same text.

        >>> draw({"name": "total", "queueName": "sums"}).svg()
        '<svg ...</svg>'
        """
        return self._picture(scroll=False)

    def png(self) -> bytes:
        """The same picture as a PNG, at twice its size: for pages and documents that take no SVG.

        >>> draw({"name": "total", "queueName": "sums"}).png()[1:4]
        b'PNG'
        """
        return raster.png_of(self.svg())

    def save(self, filename: Any = None, directory: Any = None, **options: Any) -> str:
        """Write the picture to a file that ends in ``.png`` or ``.svg``, to any other the DOT text; return its path.

        >>> draw({"name": "total", "queueName": "sums"}).save("flow.png")
        'flow.png'
        """
        form = Path(filename).suffix[1:].lower() if filename is not None else ""
        if form not in _FORMS:
            return str(super().save(filename, directory=directory, **options))
        return self._write(form, Path(directory or ".", filename))

    def render(self, filename: Any = None, *, format: str | None = None, **options: Any) -> str:
        """Write the picture as ``<filename>.png`` or ``.svg``; return its path. Other formats need Graphviz's ``dot``.

        >>> draw({"name": "total", "queueName": "sums"}).render("flow", format="svg")
        'flow.svg'
        """
        form = format or self.format
        if form not in _FORMS or options.keys() - {"directory"}:
            return str(super().render(filename, format=format, **options))
        return self._write(form, Path(options.get("directory") or ".", f"{filename or self.filename}.{form}"))

    def _write(self, form: str, path: Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.png() if form == "png" else self.svg().encode())
        return str(path)

    def layout(self) -> Geometry:
        """Where the engine puts the boxes and arrows; without an engine, where flownb does.

        >>> tree = {"name": "total", "queueName": "sums", "children": [{"name": "load", "queueName": "loads"}]}
        >>> layout = draw(tree).layout()
        >>> len(layout.rects), len(layout.routes)
        (2, 1)
        """
        if self._geometry is not None:
            return self._geometry
        command = engine.find()
        if command is not None:
            with suppress(*_NO_PICTURE):
                upright = self.graph_attr.get("rankdir") == _GRAPH["rankdir"]
                found = read_geometry(engine.run(command, self._with_room(), "json"), upright=upright)
                if found.covers(self._scene):
                    return found
        return tree_layout.geometry_of(self._scene)

    def _with_room(self) -> str:
        """The DOT text with boxes wide enough for any font: an engine knows other fonts than a page may have."""
        least = [f"\t{box.id} [width={size_of(box)[0] / POINTS_PER_INCH:.2f}]\n" for box in self._scene.boxes]
        return f"{self._built.rstrip().removesuffix('}')}{''.join(least)}}}\n"

    def _picture(self, *, scroll: bool) -> str:
        command = engine.find()
        if command is not None and self.source != self._built:
            with suppress(*_NO_PICTURE):
                return sanitized(engine.run(command, self.source), f"Flow {self._scene.name}")
        return paint(self._scene, self.layout(), scroll=scroll)

    def copy(self) -> Drawing:
        """An independent copy, as of any `graphviz.Digraph`.

        >>> picture = draw({"name": "total", "queueName": "sums"})
        >>> picture.copy().node("note")
        >>> "note" in picture.source
        False
        """
        copied: Drawing = super().copy()
        copied._scene, copied._built, copied._geometry = self._scene, self._built, self._geometry
        return copied

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None, **_: Any
    ) -> dict[str, str]:
        # The PNG is for pages that show no SVG of a notebook that they do not trust.
        makers = {"image/svg+xml": self.svg, "image/png": self._png_text, "text/plain": self.__repr__}
        wanted = (makers.keys() if include is None else set(include)) - set(exclude or ())
        return {kind: make() for kind, make in makers.items() if kind in wanted}

    def _png_text(self) -> str:
        return base64.b64encode(self.png()).decode("ascii")

    def _repr_image_svg_xml(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        boxes, arrows = len(self._scene.boxes), len(self._scene.arrows)
        return f"<Drawing of {self._scene.name!r}: {_counted(boxes, 'node')}, {_counted(arrows, 'edge')}>"


def digraph(snapshot: Snapshot) -> Drawing:
    """The picture of a flow.

    >>> from flownb.wire.records import FlowCounts, Node, Snapshot
    >>> nodes = (Node(id="a", name="sum", queue="sum", states={"completed": 1}),)
    >>> counts = FlowCounts(by_stage={"sum": {"completed": 1}})
    >>> digraph(Snapshot(name="f", state="completed", nodes=nodes, counts=counts, created=0))
    <Drawing of 'f': 1 node, 0 edges>
    """
    return drawing(scene_of(snapshot))


def drawing(scene: Scene, *, sideways: bool = False) -> Drawing:
    """The picture of a scene; `sideways` puts the parent to the left and its children below each other."""
    attributes = _graph_attributes(scene) | (_SIDEWAYS if sideways else {})
    made = Drawing("flow", scene=scene, graph_attr=attributes, node_attr=_NODE, edge_attr=_EDGE)
    for box in scene.boxes:
        made.node(box.id, label=_label(box), **_attributes_of(box))
    for arrow in scene.arrows:
        made.edge(arrow.child, arrow.parent, **({"style": "dashed"} if arrow.optional else {}))
    made._built = made.source
    return made


def fitting(scene: Scene) -> Drawing:
    """The picture of a scene, on its side where it would be wider than a page."""
    upright = drawing(scene)
    if strip_layout.fits(scene):
        upright._geometry = strip_layout.geometry_of(scene)
    width = upright.layout().width
    if width <= _PAGE_PIXELS or engine.find() is None:
        return upright
    sideways = drawing(scene, sideways=True)
    return sideways if sideways.layout().width < width else upright


def picture(snapshot: Snapshot) -> str:
    """The SVG of a flow for a page that lets wide pictures scroll."""
    return fitting(scene_of(snapshot))._picture(scroll=True)


def _graph_attributes(scene: Scene) -> dict[str, str]:
    attributes = dict(_GRAPH)
    children = [arrow.child for arrow in scene.arrows]
    child_counts = Counter(arrow.parent for arrow in scene.arrows)
    if max(child_counts.values(), default=0) > _MANY_CHILDREN:
        attributes["ranksep"] = "0.9"
    if len(set(children)) == len(children):
        # Keeps children in their declared order; with shared jobs it would force crossings.
        attributes["ordering"] = "in"
    if scene.note:
        attributes |= {
            "label": escaped(scene.note),
            "labelloc": "b",
            "fontname": "Helvetica",
            "fontsize": "12",
        }
    return attributes


def _attributes_of(box: Box) -> dict[str, str]:
    colours = PALETTE[box.tone]
    attributes = {"fillcolor": colours.fill, "color": colours.line, "class": f"fn-{box.tone}"}
    if box.folded:
        attributes |= {"shape": "box3d", "style": "filled", "margin": "0.38,0.17"}  # room for the bar
    if box.tone == FAILED:
        attributes["penwidth"] = "2"
    return attributes


def _label(box: Box) -> str:
    lines = [box.name, *box.notes]
    if box.shares or box.folded:
        first_note = min(1, len(lines) - 1)
        lines[first_note] = f"{SYMBOLS[box.badge]} {lines[first_note]}"
    # nohtml: graphviz takes any text from `<` to `>` for markup unless told so.
    label: str = graphviz.nohtml(r"\n".join(escaped(line) for line in lines))
    return label


def escaped(text: str) -> str:
    r"""`text` as a DOT label that shows exactly this text: no ``\N``, no ``&lt;``, no markup.

    >>> escaped("a\\N & b")
    'a\\\\N &amp; b'
    """
    label: str = graphviz.escape(text.replace("&", "&amp;"))
    return label


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
