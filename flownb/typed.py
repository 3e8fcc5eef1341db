"""What type checkers are told beyond plain annotations: the type of a value, and the options of a task.

Nothing here is looked at while a program runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, TypeVar  # type checkers bring it along

    Parameters = ParamSpec("Parameters", default=...)  #: of a task's function
    Returned = TypeVar("Returned", covariant=True, default=Any)  #: what a task's function returns
    #: what comes of a node or a flow; a tree of dicts does not say, so anything
    Value = TypeVar("Value", covariant=True, default=Any)
else:
    from typing import ParamSpec, TypeVar  # which know no defaults before Python 3.13

    Parameters = ParamSpec("Parameters")
    Returned = TypeVar("Returned", covariant=True)
    Value = TypeVar("Value", covariant=True)

#: seconds, or text such as ``"30s"``
Duration: TypeAlias = float | str | timedelta
_OneLimit: TypeAlias = str | Mapping[str, int]
#: ``"5/s"``, ``"60000 tokens/min"`` or BullMQ's ``{"max": 5, "duration": 1000}``; or several
Limiter: TypeAlias = _OneLimit | Sequence[_OneLimit] | None
#: what a call weighs by unit: a number, the name of a parameter or column, or a function of such
Weight: TypeAlias = Mapping[str, float | str | Callable[..., float]] | None
#: ``"exponential 1s"``, ``"5s"``, seconds, or BullMQ's ``{"type", "delay", "jitter"}``
Backoff: TypeAlias = Duration | Mapping[str, Any]
#: BullMQ's: remove at once, keep the newest n, or keep by ``age`` (seconds) and ``count``
Removal: TypeAlias = bool | int | Mapping[str, float]


class _SharedOptions(TypedDict, total=False):
    attempts: int
    delay: Duration | None
    fail_parent_on_failure: bool
    continue_parent_on_failure: bool
    ignore_dependency_on_failure: bool
    keep_logs: int | None
    lifo: bool
    priority: int
    remove_dependency_on_failure: bool
    size_limit: int | None
    stack_trace_limit: int
    timeout: Duration | None


class RowOptions(_SharedOptions, total=False):
    """The options that `fan_out` takes for its rows; what each means stands in docs/reference.md."""

    backoff: Backoff | None
    concurrency: int | None
    limiter: Limiter
    weight: Weight


class TaskOptions(_SharedOptions, total=False):
    """The options that `task` takes beside its own parameters."""

    backoff: Backoff | Callable[[int, BaseException], Duration | None] | None
    remove_on_complete: Removal
    remove_on_fail: Removal
