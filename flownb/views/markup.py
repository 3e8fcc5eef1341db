"""The one way into HTML: templates from files, every value escaped on its way in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from string import Template

import markupsafe
from markupsafe import Markup

from flownb.errors import printable

__all__ = ["Markup", "escape", "fill", "joined"]


def escape(value: object) -> Markup:
    r"""`value` as HTML text that is also safe in a quoted attribute; control characters spelled out.

    >>> escape('<b a="1">')
    Markup('&lt;b a=&#34;1&#34;&gt;')
    >>> escape(Markup("<b>"))
    Markup('<b>')
    """
    if isinstance(value, Markup):
        return value
    return markupsafe.escape(printable(str(value), kept="\n"))


def fill(template: str, **values: object) -> Markup:
    """The file `template` with its ``$names`` replaced by the escaped values."""
    return Markup(_template(template).substitute({name: escape(value) for name, value in values.items()}))


def joined(parts: Iterable[Markup], between: str = "\n") -> Markup:
    """Finished parts, one after the other."""
    return Markup(between).join(parts)


@cache
def _template(name: str) -> Template:
    folder = resources.files("flownb.views") / "templates"
    return Template((folder / name).read_text(encoding="utf-8").strip())
