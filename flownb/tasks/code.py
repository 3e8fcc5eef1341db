"""What tells a function from an edited one of the same name: a hash of its code, not of its text."""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any


def code_of(function: Callable[..., Any]) -> str:
    """Return a short text that another body, other defaults or another way to call make another.

    Comments, layout and the docstring make none, and neither do functions that it calls. It begins with Python's
    version, since another Python makes other code of the same text.

    >>> code_of(lambda x: x + 1) == code_of(lambda x: x + 1), code_of(lambda x: x + 1) == code_of(lambda x: x + 2)
    (True, False)
    """
    inner: Any = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    defaults = getattr(inner, "__defaults__", None), getattr(inner, "__kwdefaults__", None)
    essence = [_essence(code) if code else inner.__qualname__, _lasting(defaults)]
    digest = hashlib.blake2b(repr(essence).encode("utf-8", "backslashreplace"), digest_size=6).hexdigest()
    return f"{_PYTHON}{digest}"


def is_edited(before: str | None, now: str | None) -> bool:
    """Say whether two functions surely differ: hashes of different Pythons cannot tell.

    >>> is_edited(code_of(lambda: 1), code_of(lambda: 2)), is_edited("2.7-0123", code_of(lambda: 2))
    (True, False)
    """
    return bool(before and now and before != now and before.startswith(_PYTHON) and now.startswith(_PYTHON))


_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}-"


def _essence(code: CodeType) -> list[Any]:
    arguments = code.co_argcount, code.co_kwonlyargcount, code.co_flags & _HOW_IT_IS_CALLED
    steps = [(step.opname, _lasting(step.argval)) for step in dis.get_instructions(code)]
    return [arguments, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], steps]


_HOW_IT_IS_CALLED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_COROUTINE


def _lasting(value: Any) -> Any:
    """What of a value is the same in every process."""
    if isinstance(value, CodeType):
        return _essence(value)
    if isinstance(value, (tuple, list)):
        return [_lasting(item) for item in value]
    if isinstance(value, dict):
        return {name: _lasting(item) for name, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, (str, bytes, int, float, complex, type(None), type(...))):
        return repr(value)
    return type(value).__qualname__  # its text may hold an address
