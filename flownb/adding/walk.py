"""Walking a tree, level by level: each job is visited once, however often it is mentioned.

A job is mentioned again by the same object under another parent, and by a node with the same queue and ``jobId``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flownb.adding.checked_node import NodeChecker
from flownb.adding.node import Node
from flownb.adding.planned_job import PlannedJob
from flownb.errors import FlowError, OptionError

_ABOVE_ROOT = -1  # the position of the root's parent


class Visited(NamedTuple):
    """A job of the tree, and where it was mentioned first. Its position is its index in `Walk.visited`."""

    job: PlannedJob  #: its parents and children, by position
    bind: Mapping[str, Any] | None  #: the node's: a task's parameters that are filled from children
    mention: Any  #: what the caller wrote; kept alive, so that its id() stays its own
    parent: int  #: the position of its first parent
    nth: int  #: among that parent's children


class Walk:
    """One walk over a tree. Without `share` each mention is a job of its own, as in BullMQ."""

    def __init__(self, checker: NodeChecker, *, share: bool) -> None:
        self.visited: list[Visited] = []
        self.shared: dict[int, None] = {}  #: positions of jobs with several parents, as they were found
        self.position_of: dict[int, int] = {}  #: by the id() of what the caller wrote
        self._checker = checker
        self._share = share
        self._by_given_id: dict[tuple[str, str], int] = {}  # (queue, jobId) -> position
        self._with_children: set[int] = set()  # positions, also of those whose children are not visited yet
        self._under: dict[tuple[int, str], dict[int, str]] = {}  # what siblings share; never written to

    def visit(self, tree: Any) -> None:
        """Visit the whole tree; raise FlowError or OptionError, with the path, at the first bad node."""
        ahead: deque[tuple[Any, int, int]] = deque([(tree, _ABOVE_ROOT, 0)])
        while ahead:
            mention, parent, nth = ahead.popleft()
            if id(mention) in self.position_of:
                known = self._same_object(mention, parent)
                if known is not None:
                    self._put_under(parent, known)
                    continue
            position, children = self._visit_one(mention, parent, nth)
            for i, child in enumerate(children):
                ahead.append((child, position, i))

    def path(self, position: int) -> str:
        """Return where the job was mentioned first: ``root/children[3]``."""
        visited = self.visited[position]
        return self._path_under(visited.parent, visited.nth)

    def _path_under(self, parent: int, nth: int) -> str:
        steps = []
        while parent != _ABOVE_ROOT:
            steps.append(f"children[{nth}]")
            _, _, _, parent, nth = self.visited[parent]
        return "/".join(["root", *reversed(steps)])

    # ---- first mentions -----------------------------------------------------------------------------

    def _visit_one(self, mention: Any, parent: int, nth: int) -> tuple[int, Sequence[Any]]:
        """Return the position of the job that is mentioned, and those of its children that were not visited."""
        try:
            job, bind, children = self._checker.check(mention)
        except (FlowError, OptionError) as error:
            problem = str(error).removeprefix(": ").removeprefix(".")
            raise type(error)(f"{self._path_under(parent, nth)}: {problem}") from None
        position = self._by_given_id.get((job.base, job.id)) if job.id else None
        if position is None:
            position = len(self.visited)
            self._add(Visited(job, bind, mention, parent, nth))
        else:
            self._visit_again(position, job, parent, nth)
        if not children or position in self._with_children:
            return position, ()  # mentioned twice with children, it has those of the first time
        self._with_children.add(position)
        return position, children

    def _add(self, visited: Visited) -> None:
        job, _, mention, parent, _ = visited
        position = len(self.visited)
        if parent != _ABOVE_ROOT:
            policy = (job.options.policy or "fpof") if self._share else (job.options.bullmq_policy or "")
            under = self._under.get((parent, policy))
            job.parents = under or self._under.setdefault((parent, policy), {parent: policy})
            self.visited[parent].job.children.append(position)
        self.visited.append(visited)
        self.position_of[id(mention)] = position
        if job.id:
            self._by_given_id[job.base, job.id] = position

    # ---- further mentions ---------------------------------------------------------------------------

    def _same_object(self, mention: Any, parent: int) -> int | None:
        """The same object again: one job with two parents. Equal dicts side by side are several jobs."""
        known = self.position_of[id(mention)]
        if self._share and (isinstance(mention, Node) or parent not in self.visited[known].job.parents):
            return known
        above = parent
        while above != _ABOVE_ROOT:  # a node that holds itself would go on for ever
            if self.visited[above].mention is mention:
                return above
            above = self.visited[above].parent
        return None

    def _visit_again(self, known: int, again: PlannedJob, parent: int, nth: int) -> None:
        """The same queue and ``jobId`` again: one job, if its name and data are the same."""
        job, path = self.visited[known].job, self._path_under(parent, nth)
        if not self._share:
            raise FlowError(
                f"{path}: opts.jobId {job.id!r} is also that of {self.path(known)}, and BullMQ gives a job one parent: "
                "the second would wait for ever; leave semantics='bullmq' out to share the job, or give another jobId"
            )
        if again.name != job.name or again.data not in ("{}", job.data):
            raise FlowError(
                f"{path}: the id {job.id!r} is also that of {self.path(known)}, with another name or other data; give "
                "one of them another jobId"
            )
        self._put_under(parent, known, again.options.policy)

    def _put_under(self, parent: int, child: int, policy: str | None = None) -> None:
        """Make a job the child of one more parent."""
        job = self.visited[child].job
        if parent == _ABOVE_ROOT or parent in job.parents:
            return
        job.parents = {**job.parents, parent: policy or job.options.policy or "fpof"}
        self.visited[parent].job.children.append(child)
        if len(job.parents) > 1:
            self.shared[child] = None

    def merge(self, position: int, into: int) -> None:
        """Make a job that was visited on its own a further mention of another."""
        job, _, mention, _, _ = self.visited[position]
        for parent in job.parents:
            siblings = self.visited[parent].job.children
            siblings[siblings.index(position)] = into
        named = self.visited[into].job
        named.parents = {**named.parents, **job.parents}
        self.position_of[id(mention)] = into
        self.shared[into] = None
