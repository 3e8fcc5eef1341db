"""A function as it is now: cells that run later, and modules that are edited, do not change what it does."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any

from flownb.tasks.bytecode import names_in, steps_of
from flownb.tasks.code import is_own

MOST_FUNCTIONS = 500  # of the user's that one function uses; of one that uses more, all stay as they are

_SEE_ALL_NAMES = {"globals", "exec", "eval", "vars", "locals", "__import__"}


def fixed(function: Any) -> Any:
    """Return a function that does what `function` does now: each global and each function of the user's is today's.

    It is a copy with globals of its own, and so are the functions of cells and edited modules that it calls. Objects
    are shared, not copied: what a function appends to a list stands in the cell's list. What is no plain function (of
    functools, say) and methods of classes see the globals of the moment. So does a function which assigns
    globals, or reads one that does not exist yet, with all those that share its globals.

    >>> import builtins
    >>> fixed(builtins.len) is builtins.len
    True
    """
    if not _can_be_copied(function):
        return function
    return _Copies(_used_by(function)).of(function)


def _can_be_copied(value: Any) -> bool:
    return type(value) is FunctionType and is_own(value.__module__)


def _used_by(function: FunctionType) -> list[FunctionType]:
    """Return the function and all of the user's functions that it uses, and these use."""
    found, left = {id(function): function}, [function]
    while left and len(found) <= MOST_FUNCTIONS:
        for value in _values_used(left.pop()):
            if _can_be_copied(value) and id(value) not in found:
                found[id(value)] = value
                left.append(value)
    return list(found.values()) if len(found) <= MOST_FUNCTIONS else []


def _values_used(function: FunctionType) -> Iterator[Any]:
    yield from (cell.cell_contents for cell in function.__closure__ or () if cell != CellType())
    yield getattr(function, "__wrapped__", None)
    for name in names_in(function.__code__):
        yield function.__globals__.get(name)


class _Copies:
    """Copies of functions that use one another; those of one module share their globals."""

    def __init__(self, functions: list[FunctionType]) -> None:
        self._functions = {id(function): function for function in functions}
        self._made: dict[int, FunctionType] = {}
        live = {id(function.__globals__) for function in functions if _needs_all_globals(function)}
        self._globals: dict[int, dict[str, Any]] = {}
        for function in functions:
            if id(function.__globals__) not in live:
                self._add_globals(function)
        for copied in self._globals.values():
            copied.update({name: self.of(value) for name, value in copied.items()})

    def _add_globals(self, function: FunctionType) -> None:
        known = function.__globals__
        copied = self._globals.setdefault(id(known), {})
        copied.update((name, value) for name, value in list(known.items()) if name[:2] == "__" == name[-2:])
        copied.update((name, known[name]) for name in names_in(function.__code__) if name in known)

    def of(self, value: Any) -> Any:
        """Return the copy of a function; what cannot be copied, as it is."""
        function = self._functions.get(id(value))
        if function is None or id(function.__globals__) not in self._globals:
            return value
        if id(function) not in self._made:
            self._copy(function)
        return self._made[id(function)]

    def _copy(self, function: FunctionType) -> None:
        """Copy a function; its cells are filled afterwards, as it may be in one of them."""
        closure = function.__closure__ or ()
        cells = tuple(CellType() if self._holds_copied(cell) else cell for cell in closure)
        known = self._globals[id(function.__globals__)]
        made = FunctionType(function.__code__, known, function.__name__, function.__defaults__, cells or None)
        self._made[id(function)] = made
        made.__kwdefaults__ = function.__kwdefaults__
        functools.update_wrapper(made, function)
        del made.__wrapped__  # type: ignore[attr-defined]
        if "__wrapped__" in vars(function):
            made.__wrapped__ = self.of(function.__wrapped__)  # type: ignore[attr-defined]
        for cell, original in zip(cells, closure, strict=True):
            if cell is not original:
                cell.cell_contents = self.of(original.cell_contents)

    def _holds_copied(self, cell: CellType) -> bool:
        return cell != CellType() and id(cell.cell_contents) in self._functions


def _needs_all_globals(function: FunctionType) -> bool:
    steps, known = steps_of(function.__code__), function.__globals__
    if steps.assigned or not _SEE_ALL_NAMES.isdisjoint(function.__code__.co_names):
        return True
    return any(name not in known and not hasattr(builtins, name) for name, *_ in steps.global_names)
