"""The public names: each is documented, each resolves, each says what it does."""

from __future__ import annotations

import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import flownb

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize("name", sorted(flownb.__all__))
def test_every_public_callable_says_what_it_does(name):
    thing = getattr(flownb, name)
    if not callable(thing):
        return
    assert written(thing), f"{name} has no docstring"
    if inspect.isclass(thing):
        silent = [
            attribute
            for owner in thing.__mro__
            if owner.__module__.split(".")[0] == "flownb"
            for attribute, value in vars(owner).items()
            if not attribute.startswith("_")
            and (inspect.isroutine(value) or isinstance(value, classmethod | staticmethod))
            and not inspect.getdoc(getattr(owner, attribute))
        ]
        assert silent == [], f"of {name}, these have no docstring"


def written(thing: object) -> str | None:
    """Return a docstring somebody wrote: not inherited, not a dataclass's signature."""
    doc = getattr(thing, "__doc__", None)
    return None if doc and doc.startswith(f"{getattr(thing, '__name__', '')}(") else doc
