"""What the next step of a row sees: the row's columns, those that earlier steps returned, and the steps' values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flownb.errors import UnrecoverableError
from flownb.tasks.task import Task

RESULT = "_result"  #: behind the name of a returned column, where the row has one of that name


class RowValues:
    """A row and what its steps have returned so far.

    >>> row = RowValues({"text": "a"})
    >>> row.add("fetch", {"text": "b", "status": 200})
    >>> row.add("length", 1)
    >>> row.columns()
    {'text': 'a', 'text_result': 'b', 'status': 200, 'length': 1}
    """

    __slots__ = ("_returned", "_row", "_values")

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row
        self._returned: dict[str, Any] = {}  # columns
        self._values: dict[str, Any] = {}  # by step

    def add(self, step: str, value: Any) -> None:
        """A step has returned a value: the keys of a dict are columns, anything else is one named after the step."""
        self._values[step] = value
        if type(value) is dict:
            self._returned.update(value)

    def fill(self, arguments: dict[str, Any], name: str) -> bool:
        """Fill one argument; say whether there is something of that name."""
        for known in (self._row, self._returned, self._values):
            if name in known:
                arguments[name] = known[name]
                return True
        if name.endswith(RESULT):
            inner = name.removesuffix(RESULT)
            for known in (self._returned, self._values):
                if inner in known:
                    arguments[name] = known[inner]
                    return True
        return False

    def columns(self) -> dict[str, Any]:
        """Return all columns by the names that `Batch.table` gives them."""
        found = dict(self._row)
        for step, value in self._values.items():
            for name, cell in value.items() if type(value) is dict else ((step, value),):
                found[f"{name}{RESULT}" if name in self._row else name] = cell
        return found


@dataclass(frozen=True)
class StepParameters:
    """What a step's function takes; made once for many calls."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    takes_row: bool  #: its one parameter is ``row``, which gets all columns as a dict
    takes_any: bool  #: ``**others`` gets the columns that no parameter names
    takes_job: bool

    @classmethod
    def of(cls, task: Task) -> StepParameters:
        return cls(
            task.name,
            tuple(task.required),
            tuple(task.optional),
            takes_row=task.whole_row is not None,
            takes_any=task.takes_any,
            takes_job=task.takes_job,
        )

    def filled(self, row: RowValues) -> dict[str, Any]:
        """Return the arguments of a call for a row, without ``job``; raise `UnrecoverableError` for a missing one."""
        if self.takes_row:
            return {"row": row.columns()}
        arguments = row.columns() if self.takes_any else {}
        for name in self.required:
            if not row.fill(arguments, name):
                has = ", ".join(map(repr, row.columns())) or "nothing"
                raise UnrecoverableError(
                    f"task {self.name}: nothing fills its parameter {name!r}: it is no column of the rows, and no "
                    f"earlier step returned it or has this name; the row has {has}"
                )
        for name in self.optional:
            row.fill(arguments, name)
        if self.takes_job:
            arguments.pop("job", None)
        return arguments
