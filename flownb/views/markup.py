"""The one way into HTML: templates from files, every value escaped on its way in."""

from __future__ import annotations

import html
from collections.abc import Iterable
from functools import cache
from importlib import resources
from string import Template

from flownb.views.words import plain


class Markup(str):
    """HTML that is finished: made by `fill` or `escape`, put in as it is."""

    __slots__ = ()


def escape(value: object) -> Markup:
    r"""`value` as HTML text that is also safe in a quoted attribute; control characters spelled out.

    >>> escape('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    >>> escape(Markup("<b>"))
    '<b>'
    """
    if isinstance(value, Markup):
        return value
    lines = str(value).split("\n")
    return Markup("\n".join(html.escape(plain(line), quote=True) for line in lines))


def fill(template: str, **values: object) -> Markup:
    """The file `template` with its ``$names`` replaced by the escaped values."""
    return Markup(_template(template).substitute({name: escape(value) for name, value in values.items()}))


def joined(parts: Iterable[Markup], between: str = "\n") -> Markup:
    """Finished parts, one after the other."""
    return Markup(between.join(parts))


@cache
def _template(name: str) -> Template:
    folder = resources.files("flownb.views") / "templates"
    return Template((folder / name).read_text(encoding="utf-8").strip())
