"""`RowErrors`: what a task that takes many rows at a time raises where some of them are bad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb.errors import FlownbError, OptionError


class RowErrors(FlownbError):
    """Raise it in a task with `batch_size`: these rows of the call fail, each with its own error; the others go on.

    `errors` holds exceptions by the rows' labels. Each is to its row what raising it is to a task that takes one row:
    there may be another attempt, for that row alone. The function is called again with the other rows, unless `values`
    has what they return, in any form that the function may return.

    >>> @task(batch_size=32)
    ... def half(n):
    ...     odd = {label: ValueError("odd") for label, value in n.items() if value % 2}
    ...     if odd:
    ...         raise RowErrors(odd, values=n.drop(list(odd)) // 2)
    ...     return n // 2
    >>> fan_out([2, 3, 4], half).results(timeout=30)
       half
    0     1
    1  <NA>
    2     2
    """

    def __init__(self, errors: Mapping[Any, BaseException], values: Any = None) -> None:
        if not _are_errors(errors):
            raise OptionError("RowErrors: exceptions by the rows' labels, as in {label: ValueError('empty')}")
        super().__init__(errors, values)
        self.errors = dict(errors)  #: exceptions by label
        self.values = values  #: of the other rows; None: the function is called again for them

    def __str__(self) -> str:
        return f"{len(self.errors)} of the rows of a call failed"


def _are_errors(given: Any) -> bool:
    is_some = isinstance(given, Mapping) and len(given) > 0
    return is_some and all(isinstance(one, BaseException) for one in given.values())
