"""Cells that have no exact form in JSON: what is wrong with one, where inside it, and in which row."""

from __future__ import annotations


class Unfit(ValueError):
    """A value without a JSON form: what is wrong, the remedy, and where inside the cell it is."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy
        self.path: list[str] = []

    def inside(self, step: object) -> Unfit:
        self.path.insert(0, f"[{step!r}]")
        return self

    def __str__(self) -> str:
        where = "".join(self.path[:5]) + ("…" if len(self.path) > 5 else "")
        return (f"at {where}: " if where else "") + f"{self.args[0]}; {self.remedy}"


class Refused(Exception):
    """A column's value cannot travel; `position` is its row's."""

    def __init__(self, position: int, why: object) -> None:
        super().__init__(str(why))
        self.position = position
