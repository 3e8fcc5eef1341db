"""`FlowProducer` and `add`: the doors through which trees of jobs go in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from flownb import connection as connections
from flownb import hooks
from flownb.adding.bullmq import store_as_bullmq
from flownb.adding.node import Node
from flownb.adding.plan import plan as plan_tree
from flownb.adding.plan import refuse_other_prefix
from flownb.adding.planned_job import Plan
from flownb.adding.send import SAME_CALL_AGAIN, CutShort, fields_of, saying, store_plan, taken
from flownb.api import cut_short
from flownb.api.attach import flow_around, flow_handle
from flownb.api.flow import Flow
from flownb.api.if_exists import CHOICES, Known, flow_to_reuse, refuse_stored, remove_stored
from flownb.api.job import store_of
from flownb.api.job_tree import read_tree
from flownb.arguments import is_unicode, items, one_of, shown, text, whole
from flownb.connection import Connection
from flownb.errors import FlowError, JobExists, OptionError, ServerError
from flownb.options import MOST_AT_A_TIME
from flownb.state.stored_flow import StoredFlow
from flownb.typed import Value
from flownb.wire import keys
from flownb.wire.store import Store

_T = TypeVar("_T")
MOST_LEVELS, MOST_CHILDREN = 1000, 100_000  # that `get_flow` reads; of each kind
_DEFAULT_OPTIONS = ("defaultJobOptions", "default_job_options")


class FlowProducer:
    """Adds flows: trees of jobs, in which a parent runs when its children are done.

    >>> producer = FlowProducer()
    >>> flow = producer.add({"name": "report", "queueName": "doc-reports",
    ...                      "children": [{"name": "load", "queueName": "doc-loads", "data": {"day": 1}}]})
    >>> flow
    Flow('report': 2 jobs)
    """

    def __init__(self, *, connection: Connection | None = None) -> None:
        self._connection = connection

    def add(
        self,
        tree: Node[Value] | Mapping[str, Any],
        *,
        name: str | None = None,
        queues_options: Mapping[str, Mapping[str, Any]] | None = None,
        semantics: str = "flownb",
        if_exists: str = "reuse",
        on_failure: str | None = None,
        concurrency: int | None = None,
    ) -> Flow[Value]:
        """Store a tree of dicts or `Node`s and return its `Flow`.

        `name` is what `flownb.attach` finds it by. `queues_options` are BullMQ's: by queue,
        ``{"defaultJobOptions": {...}}``. Raises `FlowError` or `OptionError` with the node's path before
        anything is written. `ServerError` when the server cannot take it: what was stored of a large tree is then taken
        back or, where the server is lost, stored to its end by the same call again; the message says which.

        `if_exists` says what a ``jobId`` means that is there already. ``"reuse"``: that job is used as it is, its
        value or failure included; with the root's id, the flow that is there is returned. ``"rerun"``: what is there
        is removed and all runs anew; refused while it runs or a flow that has not ended waits for it. ``"error"``:
        refused.

        `on_failure` says what becomes of jobs that have not run yet when a failure makes the job above them fail:
        ``"cancel"`` (the default) ends them with the reason ``cancelled``, ``"finish"`` runs them all the same. Jobs
        that something else needs run in any case.

        `concurrency` is how many jobs of this flow run at a time, on all of flownb's workers together; other flows of
        the same queues go on beside it. BullMQ's workers know nothing of it.

        ``semantics="bullmq"`` writes the tree as BullMQ's producer would and nothing more: no job is shared,
        a failed child without a policy leaves its parent waiting, ``removeOnComplete`` acts at once. The `Flow` is
        like that of a tree which a Node service added.

        >>> tree = {"name": "total", "queueName": "doc-raw", "opts": {"jobId": "november"}}
        >>> FlowProducer().add(tree, semantics="bullmq").job.opts
        {'attempts': 0, 'jobId': 'november'}
        >>> FlowProducer().add(tree, if_exists="error")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        flownb.errors.FlowError: root: opts.jobId 'november' is there already in queue 'doc-raw' (waiting); ...
        """
        adding = _Adding(self._connection, queues_options, semantics, if_exists, on_failure, concurrency)
        if semantics == "bullmq" and name is not None:
            raise OptionError("name: BullMQ's flows have none; leave it out, or leave semantics='bullmq' out")
        name = keys.checked_name(name)
        plan = adding.read(tree, name)
        return adding.store(plan, name, adding.check(plan))

    def add_bulk(
        self,
        trees: Iterable[Any],
        *,
        queues_options: Any = None,
        semantics: str = "flownb",
        if_exists: str = "reuse",
        on_failure: str | None = None,
        concurrency: int | None = None,
    ) -> list[Flow]:
        """Store several trees; all of them are checked before the first is written. See `add`.

        >>> FlowProducer().add_bulk({"name": f"day-{n}", "queueName": "doc-days"} for n in (1, 2))
        [Flow('day-1': 1 job), Flow('day-2': 1 job)]
        """
        adding = _Adding(self._connection, queues_options, semantics, if_exists, on_failure, concurrency)
        given = None if isinstance(trees, Mapping) else items(trees)
        if given is None:
            raise FlowError(f"add_bulk takes a list of trees, not {shown(trees)}; add(tree) adds one")
        plans = [_for_tree(i, adding.read, tree) for i, tree in enumerate(given)]
        for i, plan in enumerate(plans):
            _for_tree(i, adding.check, plan)
        flows: list[Flow] = []
        try:
            for i, plan in enumerate(plans):
                flows.append(_for_tree(i, adding.store, plan, None))
        except (ServerError, KeyboardInterrupt) as error:
            done = f"the {len(flows)} trees before trees[{len(flows)}] are stored: add those from it on"
            raise saying(error, 1, lambda _: done) from None
        return flows

    def get_flow(
        self, queue: str, id: str, *, depth: int = 10, max_children: int = 20
    ) -> dict[str, Any] | None:
        """Return a job and what is below it as ``{"job": Job, "children": [...]}``; None where it is gone.

        `depth` is how many levels are read, the job's own among them. Of each parent up to `max_children` that
        completed, and as many that are pending, that failed it and that it ignores. ``attach("queue:id")`` is a handle
        of the whole tree.

        >>> load = {"name": "load", "queueName": "doc-loads"}
        >>> flow = FlowProducer().add({"name": "sum", "queueName": "doc-sums", "children": [load]})
        >>> FlowProducer().get_flow("doc-sums", flow.job.id)["children"]
        [{'job': Job('load' in 'doc-loads')}]
        """
        name, named = keys.checked_queue(queue), text("id", id)
        levels, most = (
            whole("depth", depth, 1, MOST_LEVELS),
            whole("max_children", max_children, 1, MOST_CHILDREN),
        )
        connection, store = store_of(self._connection)
        if not is_unicode(named):
            return None
        return read_tree(store, connection, keys.job(connection.prefix, name, named), levels, most)


class _Adding:
    """One call of `add` or `add_bulk`: how its trees are read, and what ids mean that are there already."""

    def __init__(
        self,
        connection: Connection | None,
        queues_options: Any,
        semantics: str,
        if_exists: str,
        on_failure: str | None,
        concurrency: Any,
    ) -> None:
        one_of("semantics", semantics, ("flownb", "bullmq"))
        one_of("if_exists", if_exists, CHOICES)
        if on_failure is not None:
            one_of("on_failure", on_failure, ("cancel", "finish"))
            if semantics == "bullmq":
                raise OptionError("on_failure: BullMQ's flows have none; leave it out, or semantics='bullmq'")
        if concurrency is not None:
            concurrency = whole("concurrency", concurrency, 1, MOST_AT_A_TIME)
            if semantics == "bullmq":
                raise OptionError(
                    "concurrency: BullMQ's flows have none; leave it out, or semantics='bullmq'"
                )
        self.concurrency: int | None = concurrency
        self.connection = connections.current(connection)
        self.queues_options = queues_options
        self.as_bullmq = semantics == "bullmq"
        self.if_exists = if_exists
        self.on_failure = on_failure or "cancel"

    def read(self, tree: Any, name: str | None = None) -> Plan:
        """Plan a tree; nothing is written."""
        prefix, defaults = self.connection.prefix, defaults_of(self.queues_options)
        plan = plan_tree(tree, prefix=prefix, defaults=defaults, share=not self.as_bullmq)
        if not self.as_bullmq:
            refuse_other_prefix(plan)
        cut_short.resume(plan, name, self.connection)
        return plan

    def check(self, plan: Plan) -> Known:
        """Refuse or remove what is stored under the plan's ids, as the caller asked; return the flow that is there."""
        self.connection.ensure_writable()
        if self.if_exists == "error":
            refuse_stored(self._store, plan)
        elif self.if_exists == "rerun":
            remove_stored(self._store, plan)
        elif not self.as_bullmq:
            return flow_to_reuse(self._store, plan)
        return None, False

    def store(self, plan: Plan, name: str | None, known: Known | None = None) -> Flow:
        """Store a plan, unless the flow of this root is there; return its handle.

        `known` is what `check` has just found; None where more was stored since.
        """
        queues = {keys.queue_of_base(job.base) for job in plan.jobs}
        hooks.kernel_workers.register_code(self.connection, queues)
        if self.as_bullmq:
            store_as_bullmq(self._store, plan, lambda _: cut_short.leave(plan, name, self.connection))
            stored = None
        else:
            stored = self._store_or_reuse(plan, name, known)
        hooks.kernel_workers.start_kernel_worker(self.connection)
        if stored is not None:
            if self.concurrency is not None:
                hooks.kernel_workers.widen(self.connection, stored.id, queues, self.concurrency)
            return Flow(stored, connection=self.connection)
        return flow_handle(flow_around(self._store, plan.root.key, name=plan.root.name), self.connection)

    def _store_or_reuse(self, plan: Plan, name: str | None, found: Known | None) -> StoredFlow:
        """Return the flow, which may be stored already, as a whole or in part."""
        if found is None:
            found = (None, False) if self.if_exists == "error" else flow_to_reuse(self._store, plan)
        known, is_whole = found
        if known is not None and is_whole:
            if self.concurrency is not None:
                self._store.flows.bound(known, self.concurrency)
            return StoredFlow.own(self._store, known)
        if known is not None:  # begun by a producer that died meanwhile
            plan.rename(known)
        for announcement in plan.shared:
            print(announcement)
        about = {"on_failure": self.on_failure}
        if self.concurrency is not None:
            about["concurrency"] = str(self.concurrency)

        def when_cut_short(error: CutShort) -> str:
            if plan.root.options.job_id is not None and self.if_exists == "reuse":
                return SAME_CALL_AGAIN
            return cut_short.take_back(self._store, plan, name, self.connection, error)

        fresh = len(plan.jobs) if self.if_exists == "error" else 1
        try:
            store_plan(self._store, plan, name, about, fresh=fresh, when_cut_short=when_cut_short)
        except JobExists as error:  # since somebody looked
            if self.if_exists == "error":
                raise taken(plan, str(error)) from None
            return self._store_or_reuse(plan, name, None)
        if known is not None:
            return StoredFlow.own(self._store, plan.flow)
        return StoredFlow.just_stored(self._store, plan.flow, fields_of(plan, name, about))

    @cached_property
    def _store(self) -> Store:
        return Store(self.connection.client(), self.connection.prefix)


def _for_tree(i: int, step: Callable[..., _T], *about: Any) -> _T:
    """Take a step for one tree of several; an error says which."""
    try:
        return step(*about)
    except (FlowError, OptionError) as error:
        raise type(error)(f"trees[{i}]: {error}") from None


def add(
    tree: Node[Value] | Mapping[str, Any],
    *,
    name: str | None = None,
    queues_options: Mapping[str, Mapping[str, Any]] | None = None,
    semantics: str = "flownb",
    if_exists: str = "reuse",
    on_failure: str | None = None,
    concurrency: int | None = None,
    connection: Connection | None = None,
) -> Flow[Value]:
    """Store a tree of dicts, `Node`s or task nodes and return its `Flow`; see `FlowProducer.add`.

    >>> add({"name": "report", "queueName": "doc-reports", "children": [Node("load", "doc-loads", {"day": 1})]})
    Flow('report': 2 jobs)
    """
    return FlowProducer(connection=connection).add(
        tree,
        name=name,
        queues_options=queues_options,
        semantics=semantics,
        if_exists=if_exists,
        on_failure=on_failure,
        concurrency=concurrency,
    )


def defaults_of(queues_options: Any) -> dict[str, Any]:
    """Return BullMQ's ``queuesOptions`` as options by queue."""
    if queues_options is None:
        return {}
    if not isinstance(queues_options, Mapping):
        raise OptionError(f"queues_options: a dict by queue, not {type(queues_options).__name__}")
    return {queue: _default_options(queue, options) for queue, options in queues_options.items()}


def _default_options(queue: str, options: Any) -> Mapping[str, Any]:
    what = f"queues_options[{shown(queue)}]"
    if not isinstance(options, Mapping):
        raise OptionError(f"{what}: {{'defaultJobOptions': {{...}}}}, not {shown(options)}")
    unknown = [key for key in options if key not in _DEFAULT_OPTIONS]
    if unknown:
        raise OptionError(f"{what}: no such part {shown(unknown[0])}; write defaultJobOptions")
    given = [options[key] for key in _DEFAULT_OPTIONS if options.get(key) is not None]
    found: Any = given[0] if given else {}
    if not isinstance(found, Mapping):
        raise OptionError(f"{what}.defaultJobOptions: a dict of options, not {type(found).__name__}")
    return found
