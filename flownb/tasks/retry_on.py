"""Which errors are worth another attempt: `retry_on` of a task, classes of exceptions or a function of the error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from flownb.arguments import items, shown
from flownb.errors import OptionError

Classes: TypeAlias = tuple[type[BaseException], ...]
Judge: TypeAlias = Callable[[BaseException], Any]
#: what a caller may give
RetryOn: TypeAlias = type[BaseException] | Iterable[type[BaseException]] | Judge


def read_retry_on(retry_on: Any, where: str) -> Classes | Judge | None:
    """Return classes as a tuple, and a function as it is; raise `OptionError` for anything else.

    >>> read_retry_on(TimeoutError, "task work"), read_retry_on(None, "task work")
    ((<class 'TimeoutError'>,), None)
    """
    if retry_on is None:
        return None
    if callable(retry_on) and not isinstance(retry_on, type):
        _check_judge(retry_on, where)
        judge: Judge = retry_on
        return judge
    classes = (retry_on,) if isinstance(retry_on, type) else tuple(items(retry_on) or (retry_on,))
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in classes):
        raise OptionError(
            f"{where}.retry_on: classes of exceptions, as in (TimeoutError,), or a function of the error, "
            f"not {shown(retry_on)}"
        )
    return classes


def _check_judge(function: Any, where: str) -> None:
    if inspect.iscoroutinefunction(function):
        raise OptionError(f"{where}.retry_on: a plain function of the error, not an async one")
    try:
        inspect.signature(function).bind(ValueError())
    except TypeError:
        raise OptionError(f"{where}.retry_on: a function that takes the error and nothing else") from None
    except ValueError:
        pass  # one of C, which tells nothing of its parameters
