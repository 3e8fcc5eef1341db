"""What calls weigh in units that their queue limits: told when they are added, and stored with their jobs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flownb.arguments import CALLS, Rate, is_number, shown
from flownb.errors import FlowError, OptionError

if TYPE_CHECKING:
    from flownb.tasks.task import Task

UNKNOWN = "?"  #: the weight of a job whose worker finds it out: a child's value is among its arguments
_MOST = 10**12

Weight = float | str | Callable[..., Any]


@dataclass(frozen=True)
class Weights:
    """What a call weighs, by unit: a number, the value of a parameter or column, or a function of such."""

    by_unit: Mapping[str, Weight]
    names: tuple[str, ...]  #: of the parameters or columns that tell it
    optional: frozenset[str]  #: those that functions have a default for

    @classmethod
    def read(cls, weight: Any, where: str) -> Weights | None:
        """Return what ``weight=`` says; None where it says nothing."""
        if weight is None:
            return None
        if not isinstance(weight, Mapping) or not weight:
            raise OptionError(
                f"{where}.weight: what a call weighs by unit, as in {{'tokens': 12}}, not {shown(weight)}"
            )
        required, optional = dict[str, None](), dict[str, None]()
        for unit, one in weight.items():
            if not isinstance(unit, str) or not unit.isidentifier() or unit == CALLS:
                raise OptionError(
                    f"{where}.weight: a unit is a short name, such as tokens, not {shown(unit)}"
                )
            if isinstance(one, str):
                required[one] = None
            elif callable(one):
                for parameter in _parameters(one, f"{where}.weight: {unit}"):
                    has_default = parameter.default is not inspect.Parameter.empty
                    (optional if has_default else required)[parameter.name] = None
            else:
                _checked(one, f"{where}.weight: {unit}")
        names = (*required, *(name for name in optional if name not in required))
        return cls(dict(weight), names, frozenset(optional.keys() - required.keys()))

    def of(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Return what a call weighs whose parameters, or columns, have these values. Raises OptionError."""
        return {unit: self._of_unit(unit, one, values) for unit, one in self.by_unit.items()}

    def _of_unit(self, unit: str, weight: Weight, values: Mapping[str, Any]) -> float:
        where = f"its weight in {unit}"
        if isinstance(weight, str):
            return _checked(values[weight], where)
        if not callable(weight):
            return weight
        names = [parameter.name for parameter in _parameters(weight, where)]
        try:
            found = weight(**{name: values[name] for name in names if name in values})
        except Exception as error:
            raise OptionError(f"{where} cannot be told: {type(error).__name__}: {error}") from error
        return _checked(found, where)


def text_of(weights: Mapping[str, float]) -> str:
    """Return weights as a job's hash holds them.

    >>> text_of({"tokens": 12, "usd": 0.5})
    'tokens=12 usd=0.5'
    """
    return " ".join(f"{unit}={weight!r}" for unit, weight in weights.items())


def sum_of(texts: Iterable[str]) -> str:
    """Return what calls weigh together.

    >>> sum_of(["tokens=12", "tokens=0.5 usd=1"])
    'tokens=12.5 usd=1'
    """
    total = dict[str, float]()
    for text in texts:
        for part in text.split():
            unit, _, weight = part.partition("=")
            total[unit] = total.get(unit, 0) + (float(weight) if not weight.isdecimal() else int(weight))
    return text_of(total)


def refuse_heavy(weights: Mapping[str, float], rates: Iterable[Rate], queue: str, what: str) -> None:
    """Raise `FlowError` where a call weighs more than a limit lets begin in a whole window; `what` names the call."""
    for rate in rates:
        weight = weights.get(rate.unit, 1)
        if weight > rate.most:
            says = (
                ""
                if rate.unit in weights or rate.unit == CALLS
                else f" (weight={{{rate.unit!r}: ...}} is not given)"
            )
            raise FlowError(
                f"{what} weighs {weight:,.10g} {rate.unit}{says}, more than the limit of queue {queue!r} lets begin: "
                f"{rate}; raise the limit, or make it smaller"
            )


def weights_of_node(task: Task, given: Mapping[str, Any], bound: Mapping[str, Any]) -> str | None:
    """Return what a job of a task weighs that has these arguments; `bound` are those that come of children."""
    weights = task.weights
    if weights is None:
        return None
    values = {parameter.name: parameter.default for parameter in task.parameters} | dict(given)
    missing = [name for name in weights.names if name not in values]
    if set(missing) - weights.optional and not task.takes_any:
        raise OptionError(
            f"{task.name}.node(): its weight needs {missing[0]!r}, and the task has no such parameter"
        )
    unknown = [
        name for name in weights.names if values.get(name, inspect.Parameter.empty) is inspect.Parameter.empty
    ]
    if not bound.keys().isdisjoint(weights.names) or set(unknown) - weights.optional:
        return UNKNOWN  # `chain` may still fill what is missing
    found = weights.of(
        {name: value for name, value in values.items() if value is not inspect.Parameter.empty}
    )
    refuse_heavy(found, task.rates, task.queue, f"{task.name}.node()")
    return text_of(found)


def _parameters(function: Callable[..., Any], where: str) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise OptionError(
            f"{where}: its parameters cannot be read; write a function with named ones"
        ) from None
    for parameter in parameters:
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise OptionError(
                f"{where}: each of its parameters is named like one of the task's, or a column, not {parameter}"
            )
    return parameters


def _checked(weight: Any, where: str) -> float:
    if not is_number(weight) or not math.isfinite(weight) or not 0 <= weight <= _MOST:
        raise OptionError(f"{where}: a number from 0 to {_MOST:,}, not {shown(weight)}")
    return int(weight) if weight == int(weight) else float(weight)
