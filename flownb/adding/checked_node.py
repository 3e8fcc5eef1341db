"""One node of a tree, checked by itself: the job that it asks for, not yet under its parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flownb.adding.node import Node, listed, read
from flownb.adding.planned_job import PlannedJob
from flownb.errors import FlowError, OptionError
from flownb.options import JobOptions
from flownb.wire import codec, keys

_NO_PARENTS: dict[int, str] = {}  # until it is known under which it stands
_NO_OPTIONS = JobOptions.read(None, "opts")


class NodeChecker:
    """Reads the nodes of one tree. `defaults` are options by queue, under each node's own."""

    def __init__(self, prefix: str, defaults: Mapping[str, Mapping[str, Any]], *, share: bool) -> None:
        self.prefix = prefix
        self.defaults = defaults
        self.share = share
        # Siblings mostly have equal queues and options: each is checked once.
        self._bases: dict[Any, str] = {}
        self._options: dict[Any, JobOptions] = {}

    def check(self, mention: Any) -> tuple[PlannedJob, Mapping[str, Any] | None, Sequence[Any]]:
        """Return the job that a dict or `Node` asks for, what it binds, and its children as the caller wrote them.

        Raises FlowError or OptionError, without the node's path.
        """
        node = read(mention)
        if node.problem and (problem := node.problem()):
            raise FlowError(problem)
        if node.bind and not self.share:
            raise FlowError(
                "a task with nodes or files as arguments is more than BullMQ can store; leave semantics='bullmq' out"
            )
        base = self._base_of(node)
        problem = keys.problem_with_name(node.name)
        if problem:
            raise FlowError(f"name {problem}")
        options = _NO_OPTIONS if node.opts is None and not self.defaults else self._options_of(node)
        data = codec.encode(node.data, "data")
        if options.size_limit is not None:
            _check_size(data, options.size_limit)
        children = node.children
        if type(children) is not list:
            children = _listed(children)
        if options.job_id is not None:
            _check_id(options.job_id)
        name = node.name if type(node.name) is str else str.__str__(node.name)
        job = PlannedJob(name, base, options.job_id or "", data, options, _NO_PARENTS, [])
        if node.weights is not None and self.share:  # BullMQ's own semantics know none
            job.weights = node.weights
        return job, node.bind, children

    def _base_of(self, node: Node) -> str:
        # Names of other types may have no hash.
        if type(node.queue) is str and (node.prefix is None or type(node.prefix) is str):
            known = self._bases.get((node.prefix, node.queue))
            if known is not None:
                return known
        problem = keys.problem_with_queue(node.queue)
        if problem:
            raise FlowError(f"queueName {problem}")
        prefix = self.prefix if node.prefix is None else keys.checked_prefix(node.prefix)
        base = self._bases[node.prefix, node.queue] = keys.base(prefix, str.__str__(node.queue))
        return base

    def _options_of(self, node: Node) -> JobOptions:
        defaults = self.defaults.get(node.queue)
        if node.opts is not None and not isinstance(node.opts, Mapping):
            raise OptionError(f"opts: opts is a dict, not {type(node.opts).__name__}")
        if not node.opts and not defaults:
            return _NO_OPTIONS
        try:
            known = (node.queue if defaults else None, repr(node.opts))
        except Exception:  # of a class of the caller's, or a number of too many digits
            return JobOptions.read({**(defaults or {}), **(node.opts or {})}, "opts")
        options = self._options.get(known)
        if options is None:
            merged = {**(defaults or {}), **(node.opts or {})}
            options = self._options[known] = JobOptions.read(merged, "opts")
        return options


def _check_size(data: str, limit: int) -> None:
    size = len(data.encode())
    if size > limit:
        raise FlowError(f"data: {size:,} bytes, over its sizeLimit of {limit:,}")


def _check_id(given: str) -> None:
    problem = keys.problem_with_id(given)
    if problem:
        raise FlowError(f"opts.jobId {problem}")


def _listed(children: Any) -> Sequence[Any]:
    if type(children) is tuple:
        return children
    return listed(children, "children is")
