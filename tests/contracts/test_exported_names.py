"""The public names: each is documented, each resolves, each says what it does."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import flownb
from flownb.api.children_values import ChildrenValues
from flownb.api.event import Event
from flownb.tasks.task import Task
from flownb.views.dot import Drawing
from flownb.widgets.view import FlowView

ROOT = Path(__file__).resolve().parents[2]
# Users hold these, and never name their classes.
HANDED_OUT = [Task, Event, ChildrenValues, Drawing, FlowView]
PUBLIC = [*(getattr(flownb, name) for name in flownb.__all__), *HANDED_OUT]


def documents() -> str:
    """Return what a user reads: README, docs and tutorials (the changelog tells of names that are gone)."""
    paths = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if path.exists())


def named_in_documents() -> set[str]:
    """Return every name written ``fn.name`` or ``flownb.name``."""
    return set(re.findall(r"\b(?:fn|flownb)\.([A-Za-z]\w*)\b(?!\.(?:py|md)\b)", documents()))


def test_every_public_name_is_documented():
    assert sorted(set(flownb.__all__) - named_in_documents()) == []


def test_every_documented_name_is_public():
    modules = {module.name for module in pkgutil.iter_modules(flownb.__path__)}
    assert sorted(named_in_documents() - set(flownb.__all__) - modules) == []


def test_all_lists_each_name_once_and_dir_shows_them():
    assert len(flownb.__all__) == len(set(flownb.__all__))
    assert set(flownb.__all__) <= set(dir(flownb))
    assert not [name for name in flownb.__all__ if name.startswith("_") and name != "__version__"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        flownb.no_such_name  # noqa: B018


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_every_public_name_says_what_it_does(thing):
    assert written(thing), f"{thing.__name__} has no docstring"
    silent = [name for name, member in members(thing).items() if not inspect.getdoc(member)]
    assert silent == [], f"of {thing.__name__}, these have no docstring"


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_every_public_name_has_an_example(thing):
    """Of errors and records the class; of other classes every method too. tests/test_documents.py runs them."""
    assert ">>>" in (written(thing) or ""), f"{thing.__name__} has no example"
    if dataclasses.is_dataclass(thing):
        return
    bare = [
        name
        for name, member in members(thing).items()
        if callable(member) and ">>>" not in (inspect.getdoc(member) or "")
    ]
    assert bare == [], f"of {thing.__name__}, these have no example"


def members(thing: object) -> dict[str, object]:
    """Return the public methods and properties of a class that flownb wrote, inherited ones too."""
    if not inspect.isclass(thing):
        return {}
    found = {
        name: getattr(thing, name)
        for owner in thing.__mro__
        if owner.__module__.split(".")[0] == "flownb"
        for name in vars(owner)
        if not name.startswith("_")
    }
    kinds = property | functools.cached_property
    return {name: one for name, one in found.items() if callable(one) or isinstance(one, kinds)}


def written(thing: object) -> str | None:
    """Return a docstring somebody wrote: not inherited, not a dataclass's signature."""
    doc = getattr(thing, "__doc__", None)
    return None if doc and doc.startswith(f"{getattr(thing, '__name__', '')}(") else doc
