"""The tree of a stored flow: who stands below whom. As flownb's producer declared it, or as it is found.

A parent's children come as groups of like siblings (one queue, one template of names), as a picture folds them
and as they can be counted; a child's key is looked up where a single job matters.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from flownb.flows.plan import OPTIONAL
from flownb.wire.folding import MOST_SINGLE, group_siblings
from flownb.wire.store import Store

REMOVED = "(removed)"  #: the name of a job that is gone, and with it its name

Group = dict[str, Any]  #: base name count first optional leaf; see docs/wire-format.md


class Shape(ABC):
    """A flow's tree below its root."""

    def __init__(self, store: Store, root: str) -> None:
        self.store = store
        self.root = root

    complete = True  #: every job was found

    @abstractmethod
    def groups(self, parents: Sequence[str]) -> list[list[Group] | None]:
        """Return each parent's children in groups; None for a job that has none."""

    @abstractmethod
    def children(self, parent: str) -> list[str]:
        """Return the keys of a parent's children, in declared order, else in key order."""

    def look(self, patience: float | None = None) -> None:
        """Find more of the tree: all of it, or what `patience` seconds allow. What is declared needs no search."""
        return

    def branches(self) -> Iterator[tuple[str, list[Group]]]:
        """Yield every job that may have children, with their groups: the root first, level by level, each once."""
        level, seen = [self.root], {self.root}
        while level:
            below: list[str] = []
            for parent, groups in zip(level, self.groups(level), strict=True):
                yield parent, groups or []
                if groups and not all(group["leaf"] for group in groups):
                    below += [key for key in self.children(parent) if key not in seen]
                    seen.update(below)
            level = below

    def jobs(self) -> Iterator[str]:
        """Yield the key of every job, the root first, each once."""
        seen = {self.root}
        yield self.root
        for parent, groups in self.branches():
            if groups:
                fresh = [key for key in dict.fromkeys(self.children(parent)) if key not in seen]
                seen.update(fresh)
                yield from fresh


class Declared(Shape):
    """The tree as flownb stored it."""

    def groups(self, parents: Sequence[str]) -> list[list[Group] | None]:
        return self.store.read_groups(parents)

    def children(self, parent: str) -> list[str]:
        return [key for piece in self.store.read_children(parent) for key in piece.keys]


class Found(Shape):
    """The tree of another program's flow: gone through once, a piece at a time, and kept."""

    def __init__(self, store: Store, root: str) -> None:
        super().__init__(store, root)
        self.complete = False
        self._groups: dict[str, list[Group]] = {}
        self._names: dict[str, dict[str, str]] = {}  # parent -> child -> name, in key order
        self._walk = self._steps([root])

    def groups(self, parents: Sequence[str]) -> list[list[Group] | None]:
        return [self._groups.get(parent) for parent in parents]

    def children(self, parent: str) -> list[str]:
        return list(self._names.get(parent, ()))

    def look(self, patience: float | None = None) -> None:
        """Go on with the walk; once it is through, look again at parents that have got more children."""
        ends = None if patience is None else time.monotonic() + patience
        if self.complete:
            grown = self._grown()
            if not grown:
                return
            self.complete, self._walk = False, self._steps(grown)
        for _ in self._walk:
            if ends is not None and time.monotonic() > ends:
                return
        self.complete = True

    def _grown(self) -> list[str]:
        """Jobs that keep more children than were found."""
        parents = [parent for parent, _ in self.branches()]
        families = self.store.read_families(parents)
        known = [len(self._names.get(parent, ())) for parent in parents]
        return [p for p, family, n in zip(parents, families, known, strict=True) if sum(family) > n]

    def _steps(self, parents: Sequence[str]) -> Iterator[None]:
        """Walk down from `parents`; a step is one piece of one parent's children."""
        line = dict.fromkeys(parents)
        while line:
            parent = next(iter(line))
            names: dict[str, str] = {}
            branches: set[str] = set()
            for piece in self.store.children_in_pieces(parent):
                fresh = [key for key in dict.fromkeys(piece) if key not in names]
                for key, kin in zip(fresh, self.store.read_kin(fresh), strict=True):
                    names[key] = kin.name if kin else REMOVED
                    if kin and kin.has_children:
                        branches.add(key)
                yield
            if names:
                self._keep(parent, names, branches)
            del line[parent]
            line |= dict.fromkeys(key for key in sorted(branches) if key not in self._groups)

    def _keep(self, parent: str, names: dict[str, str], branches: set[str]) -> None:
        names = dict(sorted({**self._names.get(parent, {}), **names}.items()))
        keys = list(names)
        groups: list[Group] = []
        for base, name, places in group_siblings((key.rsplit(":", 1)[0], names[key]) for key in keys):
            members = [keys[place] for place in places]
            leaf = branches.isdisjoint(members)
            first = members[:MOST_SINGLE]
            groups.append({"base": base, "name": name, "count": len(members), "first": first, "leaf": leaf})
        firsts = self.store.read_jobs([group["first"][0] for group in groups], ("parent",))
        for group, child in zip(groups, firsts, strict=True):
            link = json.loads(child.parent or "{}") if child else {}
            group["optional"] = any(link.get(policy) for policy in OPTIONAL)
        self._groups[parent], self._names[parent] = groups, names
