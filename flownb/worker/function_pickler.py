"""Packs functions of cells for another process: cloudpickle, and what functools and typing make of functions there.

What these make is pickled by its name, and the other process has no such name. What refers to itself, as a cached
recursive function does, is made empty there first and filled afterwards.
"""

from __future__ import annotations

import functools
import io
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MappingProxyType
from typing import Any

import cloudpickle

from flownb.tasks.bytecode import names_in

MOST_STEPS = 10  # from a function to the functions that it uses, when what cannot be packed is sought

_CACHED = type(functools.lru_cache(lambda: None))
_DISPATCH_CODE = functools.singledispatch(lambda it: it).__code__  # type: ignore[attr-defined]


def pack_function(value: Any) -> bytes:
    """Return what another process makes the same functions of, whatever they use. Raises what pickling raises."""
    out = io.BytesIO()
    _Pickler(out).dump(value)
    return out.getvalue()


def what_cannot_be_packed(function: Any) -> str | None:
    """Return the name by which a function uses what cannot be packed: ``lock``; None where no name is to blame.

    >>> import threading
    >>> def guarded(lock=threading.Lock()):
    ...     return lock
    >>> what_cannot_be_packed(guarded)
    'lock'
    """
    return _culprit(function, MOST_STEPS, set())


def _culprit(function: Any, steps: int, seen: set[int]) -> str | None:
    inner = getattr(function, "__wrapped__", function)
    seen.add(id(inner))
    if not isinstance(inner, FunctionType) or not steps:
        return None
    for name, value in _used(inner):
        if id(value) in seen or _can_be_packed(value):
            continue
        return _culprit(value, steps - 1, seen) or name
    return None


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names of a function, and what they mean: defaults, cells, globals."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    yield from zip(
        code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True
    )
    yield from (function.__kwdefaults__ or {}).items()
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if cell != types.CellType():
            yield name, cell.cell_contents
    for name in names_in(code):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _can_be_packed(value: Any) -> bool:
    try:
        pack_function(value)
    except Exception:
        return False
    return True


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, value: Any) -> Any:
        reduce = _REDUCERS.get(type(value))
        if type(value) is FunctionType and value.__code__ is _DISPATCH_CODE:
            reduce = _reduced_dispatch
        return super().reducer_override(value) if reduce is None or _is_importable(value) else reduce(value)


def _is_importable(value: Any) -> bool:
    """Say whether another process finds this very object by its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", "")
    return module not in (None, "__main__") and getattr(sys.modules.get(module), name, None) is value


def _reduced_property(value: functools.cached_property[Any]) -> tuple[Any, ...]:
    """Leave out its lock, which it has in older Pythons."""
    return functools.cached_property, (value.func,), {"attrname": value.attrname}


class _Target:
    """Stands for a function that comes later."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _reduced_dispatch(value: Any) -> tuple[Any, ...]:
    return _empty_dispatch, (), (dict(value.registry), _attributes(value)), None, None, _fill_dispatch


def _reduced_cache(value: Any) -> tuple[Any, ...]:
    asked = value.cache_parameters()
    state = value.__wrapped__, _attributes(value)
    return _empty_cache, (asked["maxsize"], asked["typed"]), state, None, None, _fill_cache


def _attributes(value: Any) -> dict[str, Any]:
    """Return what a user has set on a wrapper, beside what the decorator sets."""
    made = {"__wrapped__", "cache_parameters", "registry", "register", "dispatch", "_clear_cache"}
    return {name: held for name, held in vars(value).items() if name not in made}


def _empty_cache(maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize=maxsize, typed=typed)(_Target())


def _fill_cache(made: Any, state: tuple[Callable[..., Any], Mapping[str, Any]]) -> None:
    function, attributes = state
    made.__wrapped__.function = function
    functools.update_wrapper(made, function)
    vars(made).update(attributes)


def _empty_dispatch() -> Any:
    return functools.singledispatch(_Target())


def _fill_dispatch(made: Any, state: tuple[Mapping[type, Callable[..., Any]], Mapping[str, Any]]) -> None:
    registry, attributes = state
    for kind, function in registry.items():
        made.register(kind, function)
    functools.update_wrapper(made, registry[object])
    vars(made).update(attributes)


_REDUCERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    _CACHED: _reduced_cache,
    MappingProxyType: lambda value: (MappingProxyType, (dict(value),)),
    functools.cached_property: _reduced_property,
    typing.NewType: lambda value: (typing.NewType, (value.__name__, value.__supertype__)),
}
