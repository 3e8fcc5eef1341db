"""The page's JavaScript and CSS, put together from the files of static/.

The files are modules that import each other. A widget has one script, so they are joined here: each file after
those that it imports, without the lines that import and export.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from flownb.views import html

_MAIN = "flow.js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|class|function|async)", re.MULTILINE)


@cache
def script() -> str:
    """The script of a live view: one module, whose names are all different."""
    modules: dict[str, str] = {}
    _collect(_MAIN, modules)
    return "\n".join(modules.values())


def _collect(name: str, modules: dict[str, str]) -> None:
    """Add a file below those that it imports."""
    text = _read(name)
    for imported in _IMPORT.findall(text):
        if imported not in modules:
            _collect(imported, modules)
    modules[name] = _EXPORT.sub("", _IMPORT.sub("", text))


@cache
def style() -> str:
    """The style of a live view: that of a picture, and its own."""
    return f"{html.live_style()}\n{_read('flow.css')}"


def _read(name: str) -> str:
    return (resources.files("flownb.widgets") / "static" / name).read_text(encoding="utf-8")
