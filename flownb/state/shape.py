"""The tree of a stored flow: which jobs are whose children, as flownb's producer declared it, or as it is found.

A parent's children come as groups of like siblings (one queue, one template of names), as a picture folds them
and as they can be counted; a child's key is looked up where a single job matters.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from flownb.state.child_search import ChildSearch
from flownb.wire import codec, keys
from flownb.wire.folding import MOST_SINGLE, group_siblings
from flownb.wire.records import OPTIONAL
from flownb.wire.store import Store
from flownb.wire.store.limits import FEW_JOBS, in_pieces

REMOVED_NAME = "(removed)"  #: the name of a job that is gone, and with it its name

Group = dict[str, Any]
"""base name count first optional leaf (docs/wire-format.md); if found also forgotten: what fails is kept nowhere."""


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

    def children_in_pieces(self, parent: str) -> Iterator[Sequence[str]]:
        """Yield what `children` returns, in no order; of a million some thousand at a time, as that takes its time."""
        yield self.children(parent)

    def explore(self, patience: float | None = None) -> None:
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

    def upwards(self) -> list[str]:
        """Return the key of every job, each once: first the jobs without children, then the parents, the root last."""
        parents = [parent for parent, groups in self.branches() if groups]
        above = set(parents)
        return [*(key for key in self.jobs() if key not in above), *reversed(parents)]


class Declared(Shape):
    """The tree as flownb stored it."""

    def groups(self, parents: Sequence[str]) -> list[list[Group] | None]:
        return self.store.declared.read_groups(parents)

    def children(self, parent: str) -> list[str]:
        return self.store.declared.read_keys(parent)

    def children_in_pieces(self, parent: str) -> Iterator[Sequence[str]]:
        return self.store.declared.read_keys_in_pieces(parent)


class LinkedShape(Shape):
    """The tree as BullMQ's own keys have it, whoever added its jobs: walked once, a piece at a time, and kept.

    Of a `flow` that flownb stored the children it declared come first, in their order.
    """

    def __init__(self, store: Store, root: str, flow: str | None = None) -> None:
        super().__init__(store, root)
        self.complete = False
        self._is_declared = flow is not None
        # What was found so far; written by who holds `_exploring`.
        self._groups: dict[str, list[Group]] = {}
        self._names: dict[str, dict[str, str]] = {}  # parent -> child -> name, in order
        self._above: dict[str, str] = {}  # child -> a parent of it
        self._branches: set[str] = set()  # jobs that have children
        self._seal = keys.seal(store.prefix, flow or keys.split(root)[2])
        self._kept: dict[str, int] = {}  # parent -> children that its own keys name, of a large flow
        self._search = ChildSearch(store, self.children_in_pieces)
        self._bases = {keys.base_of(root)}
        self._walk = self._steps([root])
        # A live view's reader and a cell may share a handle; held by who walks:
        self._exploring = threading.Lock()

    def groups(self, parents: Sequence[str]) -> list[list[Group] | None]:
        return [self._groups.get(parent) or None for parent in parents]

    def children(self, parent: str) -> list[str]:
        return list(self._names.get(parent, ()))

    def explore(self, patience: float | None = None) -> None:
        """Go on with the walk; once all was walked, walk below parents that have got more children since."""
        with self._exploring:
            self._explore(patience)

    def _explore(self, patience: float | None) -> None:
        ends = None if patience is None else time.monotonic() + patience
        if self.complete:
            grown = [*dict.fromkeys([*self._with_new_children(), *self._new_parents()])]
            if not grown:
                return
            self.complete, self._walk = False, self._steps(grown)
        for _ in self._walk:
            if ends is not None and time.monotonic() > ends:
                return
        self.complete = True

    def _with_new_children(self) -> list[str]:
        """Jobs that keep children which were not found."""
        parents = [parent for parent, _ in self.branches()]
        counts = dict(zip(parents, map(sum, self.store.children.counts(parents)), strict=True))
        if sum(counts.values()) > FEW_JOBS:
            return [*self._with_more_children(counts), *self._search.look(parents)]
        kept = zip(parents, self.store.children.read_few(parents), strict=True)
        return [parent for parent, children in kept if not children <= self._names.get(parent, {}).keys()]

    def _with_more_children(self, counts: Mapping[str, int]) -> list[str]:
        """Jobs that keep more children than the last time."""
        before = {parent: self._kept.get(parent, len(self._names.get(parent, ()))) for parent in counts}
        self._kept = dict(counts)
        more = {parent: n - before[parent] for parent, n in counts.items() if n > before[parent]}
        # The seal is among the children.
        sealed = set(self.store.children.read_sealed(list(more), self._seal))
        return [parent for parent, n in more.items() if n > (parent in sealed)]

    def _new_parents(self) -> list[str]:
        """Jobs that had no children when they were found and wait for some now: among the newest of their queues."""
        found: list[str] = []
        for base in self._bases:
            for jobs in self.store.queues.pages_of_parents(base):
                fresh = [job for job in jobs if job in self._above and job not in self._branches]
                found += fresh
                if not fresh:
                    break
        self._branches.update(found)
        for parent in {self._above[job] for job in found}:
            self._group(parent)
        return found

    def _steps(self, parents: Sequence[str]) -> Iterator[None]:
        """Walk down from `parents`; a step is one piece of one parent's children."""
        line = dict.fromkeys(parents)
        while line:
            parent = next(iter(line))
            declared = self._declared_children(parent)
            names: dict[str, str] = {}
            branches: set[str] = set()
            for piece in chain(in_pieces(declared), self.store.children.pages(parent)):
                self._read_piece(piece, names, branches)
                yield
            known = self._names.get(parent, {}) | names
            self._names[parent] = {key: known[key] for key in dict.fromkeys([*declared, *sorted(known)])}
            self._above.update(dict.fromkeys(names, parent))
            self._branches |= branches
            self._group(parent)
            del line[parent]
            line |= dict.fromkeys(key for key in sorted(branches) if key not in self._groups)

    def _read_piece(self, piece: Sequence[str], names: dict[str, str], branches: set[str]) -> None:
        """Add those children of a piece that are not in `names` yet, and to `branches` those with children."""
        fresh = [key for key in dict.fromkeys(piece) if key not in names]
        for key, job in zip(fresh, self.store.children.read_names(fresh), strict=True):
            names[key] = job.name if job else REMOVED_NAME
            if job and job.has_children:
                branches.add(key)

    def _declared_children(self, parent: str) -> list[str]:
        return self.store.declared.read_keys(parent) if self._is_declared else []

    def _group(self, parent: str) -> None:
        """Fold like siblings into groups."""
        names = self._names[parent]
        jobs = list(names)
        groups: list[Group] = []
        for base, name, positions in group_siblings((keys.base_of(job), names[job]) for job in jobs):
            members = [jobs[position] for position in positions]
            leaf = self._branches.isdisjoint(members)
            first = members[:MOST_SINGLE]
            groups.append({"base": base, "name": name, "count": len(members), "first": first, "leaf": leaf})
        self._read_optional(groups)
        self._bases.update(group["base"] for group in groups)
        self._groups[parent] = groups

    def _read_optional(self, groups: Sequence[Group]) -> None:
        """Note of each group, by its first job, whether the parent goes on without it, and keeps nothing of it then."""
        firsts = self.store.jobs.read([group["first"][0] for group in groups], ("parent",))
        for group, child in zip(groups, firsts, strict=True):
            link = codec.decode_object(child.parent or "{}") if child else {}
            group["optional"] = any(link.get(policy) for policy in OPTIONAL)
            group["forgotten"] = bool(link.get("rdof"))


def levels_below(store: Store, tops: Sequence[str]) -> Iterator[list[str]]:
    """Yield the keys of all jobs below these, level by level, each once."""
    parents, seen = list(tops), set(tops)
    while parents:
        level: list[str] = []
        below: list[str] = []
        for parent, groups in zip(parents, store.declared.read_groups(parents), strict=True):
            if groups is None:
                continue
            fresh = [key for key in store.declared.read_keys(parent) if key not in seen]
            seen.update(fresh)
            level += fresh
            if not all(group["leaf"] for group in groups):
                below += fresh
        yield level
        parents = below
