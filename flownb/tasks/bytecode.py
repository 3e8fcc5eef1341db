"""What compiled code does, by its steps: a hash of them, and the names outside it that it reads and writes."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from flownb.tasks.plain_values import digest_of

_READS_A_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}
_READS_A_CELL = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_READS_AN_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_WRITES_A_GLOBAL = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_WRITES_A_NAME = _WRITES_A_GLOBAL | {"STORE_DEREF", "DELETE_DEREF"}
_WRITES_INTO = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "STORE_ATTR", "DELETE_ATTR"}
_METHODS_THAT_WRITE = {
    "append",
    "appendleft",
    "add",
    "update",
    "extend",
    "insert",
    "setdefault",
    "sort",
    "reverse",
}
_METHODS_THAT_WRITE |= {"pop", "popitem", "popleft", "clear", "remove", "discard"}
_HOW_IT_IS_CALLED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_COROUTINE


@dataclass(frozen=True)
class Steps:
    """What the steps of a function do, those of the functions inside it included."""

    digest: str
    #: names that it reads, with the attributes that are read of each: ``config.rates`` is ``("config", "rates")``
    global_names: tuple[tuple[str, ...], ...]
    cell_names: tuple[tuple[str, ...], ...]
    writes: frozenset[str]  #: names that it assigns, or into whose value it visibly writes
    assigned: frozenset[str]  #: globals that it assigns


@functools.lru_cache(maxsize=1024)
def steps_of(code: CodeType) -> Steps:
    """Read compiled code once."""
    reader = _Reader()
    digest = digest_of(reader.read(code))
    of_globals, of_cells = (tuple(dict.fromkeys(names)) for names in (reader.global_names, reader.cell_names))
    return Steps(digest, of_globals, of_cells, frozenset(reader.writes), frozenset(reader.assigned))


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the names outside it that compiled code may mean, those of attributes too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


class _Reader:
    def __init__(self) -> None:
        self.global_names: list[tuple[str, ...]] = []
        self.cell_names: list[tuple[str, ...]] = []
        self.writes: set[str] = set()
        self.assigned: set[str] = set()

    def read(self, code: CodeType) -> list[Any]:
        """Return what the steps are, and note the names."""
        steps = []
        names: list[tuple[str, ...]] | None = None  # the last of them may go on with an attribute
        begun: dict[Any, str] = {}  # where the text of an expression begins -> the name that it begins with
        written: set[Any] = set()
        for step in dis.get_instructions(code):
            steps.append((step.opname, self._lasting(step.argval)))
            if step.opname in _READS_AN_ATTRIBUTE and names:
                names[-1] = (*names[-1], step.argval)
            else:
                names = self._names_of(step.opname)
                if names is not None:
                    names.append((step.argval,))
            self._note_writes(step, begun, written)
        self.writes.update(name for where, name in begun.items() if where in written)
        called = code.co_argcount, code.co_kwonlyargcount, code.co_flags & _HOW_IT_IS_CALLED
        return [called, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], steps]

    def _names_of(self, operation: str) -> list[tuple[str, ...]] | None:
        if operation in _READS_A_GLOBAL:
            return self.global_names
        return self.cell_names if operation in _READS_A_CELL else None

    def _note_writes(self, step: dis.Instruction, begun: dict[Any, str], written: set[Any]) -> None:
        at = step.positions and (step.positions.lineno, step.positions.col_offset)
        if step.opname in _READS_A_GLOBAL or step.opname in _READS_A_CELL:
            begun[at] = step.argval
        elif step.opname in _WRITES_A_NAME:
            self.writes.add(step.argval)
            if step.opname in _WRITES_A_GLOBAL:
                self.assigned.add(step.argval)
        elif step.opname in _WRITES_INTO or (
            step.opname in _READS_AN_ATTRIBUTE and step.argval in _METHODS_THAT_WRITE
        ):
            written.add(at)

    def _lasting(self, value: Any) -> Any:
        """What of a constant is the same in every process."""
        if isinstance(value, CodeType):
            return self.read(value)
        if isinstance(value, tuple):
            return [self._lasting(item) for item in value]
        if isinstance(value, frozenset):
            return sorted(map(repr, value))
        if isinstance(value, (str, bytes, int, float, complex, type(None), type(...))):
            return repr(value)
        return type(value).__qualname__  # its text may hold an address
