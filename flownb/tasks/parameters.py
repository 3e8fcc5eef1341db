"""The parameters of a function that is to be a task: each has a name, by which its argument travels."""

from __future__ import annotations

import inspect
from typing import Any

from flownb.errors import OptionError


def parameters_of(function: Any) -> list[inspect.Parameter]:
    """Return a function's parameters; raise OptionError for one that can be no task."""
    is_named = inspect.isroutine(function) or (callable(function) and hasattr(function, "__name__"))
    if not is_named or inspect.isclass(function):
        raise OptionError(f"a task is a named function, not {type(function).__name__}")
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            raise OptionError(
                f"task {function.__name__}: the arguments travel by name, so {parameter} cannot be filled; "
                "name each parameter"
            )
    return parameters
