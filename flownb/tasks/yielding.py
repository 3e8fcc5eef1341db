"""Functions that yield: a job runs one to its end, and its value is the list of its items."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any


class Items(list[Any]):
    """What a call has yielded: kept item by item, where a list that a function returns is kept as a whole."""


def yields(function: Any) -> bool:
    """Has a call of this function several results, one after another?"""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def collecting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls a function that yields and returns its items, a coroutine function where that is `async`.

    >>> def digits(n):
    ...     yield from str(n)
    >>> collecting(digits)(42)
    ['4', '2']
    """

    def collect(*args: Any, **kwargs: Any) -> Items:
        return Items(function(*args, **kwargs))

    async def collect_later(*args: Any, **kwargs: Any) -> Items:
        return await items_of(function(*args, **kwargs))

    return collect_later if inspect.isasyncgenfunction(function) else collect


async def items_of(yielding: AsyncIterator[Any]) -> Items:
    """Return the items of an async generator."""
    return Items([item async for item in yielding])
