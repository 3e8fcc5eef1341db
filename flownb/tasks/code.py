"""What tells a function from another one of the same name: its code, not its text, and what it uses.

This module says what a task's identity is: the one place for those who keep rows, name batches or share queues.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from flownb.arguments import with_article
from flownb.tasks.bytecode import Steps, steps_of
from flownb.tasks.plain_values import text_of

MOST_USED, MOST_ITEMS = 500, 100  # what is followed; a function that uses more is compared by what came first

MOST_SHOWN = 4  # changes that are named

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}-"


def code_of(function: Callable[..., Any], setup: Mapping[str, Any] | None = None) -> str:
    """Return a text that another body makes another, and another value of what the function uses.

    `setup` holds functions that it uses by the names of its parameters.

    Used are defaults, closures, globals, and the functions and classes of cells and of modules that are not installed,
    with what these use. Small plain values are compared by value, anything else by its type. Comments, layout and the
    docstring do not count, nor does what the function itself writes. The text begins with Python's version, since
    another Python makes other code.

    >>> code_of(lambda x: x + 1) == code_of(lambda x: x + 1), code_of(lambda x: x + 1) == code_of(lambda x: x + 2)
    (True, False)
    """
    used = _Used()
    try:
        digest = used.read(function)
        for name, load in (setup or {}).items():
            used.add(f"setup.{name}", load)
    except Exception:  # an object of the user's that cannot be looked at is no reason not to run
        digest = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{_PYTHON}{digest} {json.dumps(used.texts())}"


def version_name(code: str) -> str:
    """Return a short name for a code, the same in every process.

    >>> len(version_name(code_of(lambda x: x + 1)))
    7
    """
    return hashlib.blake2b(code.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()[:7]


def is_edited(before: str | None, now: str | None) -> bool:
    """Say whether two functions surely differ: hashes of different Pythons cannot tell.

    >>> is_edited(code_of(lambda: 1), code_of(lambda: 2)), is_edited("2.7-0123", code_of(lambda: 2))
    (True, False)
    """
    return has_other_body(before, now) or bool(changes(before, now))


def has_other_body(before: str | None, now: str | None) -> bool:
    """Say whether the function itself was edited, whatever became of what it uses."""
    mine, theirs = (before or "").partition(" ")[0], (now or "").partition(" ")[0]
    return bool(before and now) and mine != theirs and mine.startswith(_PYTHON) and theirs.startswith(_PYTHON)


def changes(before: str | None, now: str | None) -> list[str]:
    """Return what has become of the things that both functions use, as in ``factor: 2 -> 10``."""
    if not before or not now:
        return []
    old, new = _uses(before), _uses(now)
    both = [(name, old[name], new[name]) for name in new if name in old and old[name] != new[name]]
    return [
        f"{name} was edited" if name.endswith("()") else f"{name}: {then} -> {here}"
        for name, then, here in both
        if not name.endswith("()") or has_other_body(then, here)
    ]


def difference(name: str, before: str | None, now: str | None) -> str:
    """Say in words what became of a function: that it was edited, and what else differs.

    >>> difference("scale", '3.12-00 {"factor": "2"}', '3.12-00 {"factor": "10"}')
    'scale has changed (factor: 2 -> 10)'
    """
    words = f"{name} was edited" if has_other_body(before, now) else f"{name} has changed"
    return f"{words}{in_brackets(changes(before, now))}"


def in_brackets(changed: list[str]) -> str:
    """Return the first changes in brackets; nothing where there are none.

    >>> in_brackets(["a: 1 -> 2"]), in_brackets([])
    (' (a: 1 -> 2)', '')
    """
    shown = changed[:MOST_SHOWN] + (
        [f"{len(changed) - MOST_SHOWN} more"] if len(changed) > MOST_SHOWN else []
    )
    return f" ({', '.join(shown)})" if shown else ""


def _uses(code: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(code.partition(" ")[2] or "{}")
    return found


class _Used:
    """What a function uses, and what those things use in turn; each once, so that circles end."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._written: set[str] = set()
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # what was seen lives on, so that no other object gets its number
        self._home: str | None = None

    def texts(self) -> dict[str, str]:
        """Return what was found, by name, without what the functions write themselves."""
        return {
            name: text for name, text in self._texts.items() if name.partition("[")[0] not in self._written
        }

    def read(self, function: Any) -> str:
        """Return the hash of a function's own code, and find what it uses."""
        inner: Any = inspect.unwrap(function)
        self._home = getattr(inner, "__module__", None)
        self._is_new(inner)  # a wrapper's closure holds it
        self._unwrapped("", function)
        if not isinstance(inner, FunctionType):
            return str(inner.__qualname__)
        return self._function("", inner)

    def _unwrapped(self, name: str, function: Any) -> Any:
        """Return what a decorator has wrapped; the wrappers of the user's own are used too."""
        for _ in range(100):
            if "__wrapped__" not in getattr(function, "__dict__", {}):
                break
            if isinstance(function, FunctionType) and is_own(function.__module__):
                self._add_function(f"{name}@{function.__code__.co_name}", function)
            function = function.__wrapped__
        return function

    def _function(self, prefix: str, function: FunctionType) -> str:
        self._is_new(function)
        steps = steps_of(function.__code__)
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        by_name = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        for name, value in {**by_name, **(function.__kwdefaults__ or {})}.items():
            self.add(f"{prefix}{name}=", value)
        self._add_closure(prefix, function, steps)
        if is_own(function.__module__) or function.__module__ not in sys.modules:
            self._add_globals(function, steps)
        return steps.digest

    def _add_closure(self, prefix: str, function: FunctionType, steps: Steps) -> None:
        free = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        self._written.update(f"{prefix}{name}" for name in steps.writes if name in free)
        for name, *path in steps.cell_names:
            if name in free and name != "__class__":
                with contextlib.suppress(ValueError):  # an empty cell
                    self._add_path(f"{prefix}{name}", path, free[name].cell_contents)

    def _add_globals(self, function: FunctionType, steps: Steps) -> None:
        known, module = function.__globals__, function.__module__
        prefix = "" if module == self._home else f"{module}."
        self._written.update(f"{prefix}{name}" for name in steps.writes)
        for name, *path in steps.global_names:
            if name in known:
                self._add_path(f"{prefix}{name}", path, known[name])

    def _add_path(self, name: str, path: list[str], value: Any) -> None:
        """Add what a name means, or what the attributes of a module mean that are read."""
        for attribute in path:
            if not isinstance(value, ModuleType):
                break
            if not is_own(value.__name__) or attribute not in vars(value):
                return
            name, value = f"{name}.{attribute}", vars(value)[attribute]
        if not isinstance(value, ModuleType):
            self.add(name, value)

    def add(self, name: str, value: Any) -> None:
        """Add what a name means."""
        if len(self._texts) < MOST_USED:
            with contextlib.suppress(Exception):  # an object that raises when it is looked at is not compared
                self._follow(name, value)

    def _follow(self, name: str, value: Any) -> None:
        value = self._unwrapped(name, value)
        if isinstance(value, (FunctionType, BuiltinFunctionType)):
            self._add_function(name, value)
        elif isinstance(value, type):
            self._add_class(name, value)
        elif (parts := _parts(value)) is not None:
            for part, held in parts.items():
                self.add(f"{name}{part}", held)
        else:
            self._add_value(name, value)

    def _add_function(self, name: str, function: FunctionType | BuiltinFunctionType) -> None:
        if isinstance(function, BuiltinFunctionType) or not is_own(function.__module__):
            self._texts[name] = f"{function.__module__}.{function.__qualname__}"
        elif self._is_new(function):
            digest = self._function(f"{name}.", function)
            self._texts[f"{name}()"] = f"{_PYTHON}{digest}"

    def _add_class(self, name: str, cls: type) -> None:
        if not is_own(cls.__module__):
            self._texts[name] = f"{cls.__module__}.{cls.__qualname__}"
        elif self._is_new(cls):
            for base in cls.__bases__:
                if base is not object:
                    self.add(base.__qualname__, base)
            for attribute, value in list(vars(cls).items()):
                if isinstance(value, FunctionType) or not (attribute[0] == attribute[-1] == "_"):
                    self.add(f"{name}.{attribute}", value)

    def _add_value(self, name: str, value: Any) -> None:
        kind = type(value)
        try:
            self._texts[name] = text_of(name, value)
        except Exception:  # large, or the user's own text of it fails
            self._texts[name] = with_article(kind.__qualname__)
            if kind in (list, tuple, dict) and len(value) <= MOST_ITEMS and self._is_new(value):
                for key, item in list(value.items() if kind is dict else enumerate(value)):
                    self.add(f"{name}[{key!r}]" if type(key) in (str, int) else name, item)
        if is_own(kind.__module__):
            self._add_class(kind.__qualname__, kind)

    def _is_new(self, value: Any) -> bool:
        """Say whether this is the first look at an object."""
        is_new = id(value) not in self._seen
        self._seen.add(id(value))
        self._kept.append(value)
        return is_new


def _parts(value: Any) -> dict[str, Any] | None:
    """Return what a wrapper of functions holds; None for what is none."""
    if isinstance(value, MethodType):
        return {"": value.__func__, ".__self__": value.__self__}
    if isinstance(value, functools.partial):
        return {".func": value.func, ".args": value.args, ".keywords": value.keywords}
    if isinstance(value, (staticmethod, classmethod)):
        return {"": value.__func__}
    if isinstance(value, property):
        return {f".{part}": held for part in ("fget", "fset") if (held := getattr(value, part))}
    return None


def is_own(module: str | None) -> bool:
    """Is a module's code the user's: of a cell, of a script, of a file that is not installed?"""
    if module in (None, "__main__"):
        return True
    root = str(module).partition(".")[0]
    if root in sys.stdlib_module_names or root == "flownb":
        return False
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    return file is not None and "site-packages" not in file and "dist-packages" not in file
