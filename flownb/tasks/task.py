"""`@task`: a Python function that can be a job and still is a plain function; and its nodes."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, Unpack, overload

from flownb.adding.node import Node, check_names
from flownb.arguments import calls_of, items, read_rates, shown, whole
from flownb.errors import FlowError, OptionError
from flownb.files.references import as_inputs
from flownb.options import CUSTOM
from flownb.tasks import registry, yielding
from flownb.tasks import setup as setups
from flownb.tasks.code import code_of, version_name
from flownb.tasks.fixed_function import fixed
from flownb.tasks.node_arguments import bind_of, holds_nodes, nodes_in, problem_with
from flownb.tasks.parameters import parameters_of
from flownb.tasks.retry_on import RetryOn, read_retry_on
from flownb.tasks.task_options import read_concurrency, read_task_options, read_version
from flownb.tasks.weights import Weights, weights_of_node
from flownb.typed import Limiter, Parameters, Returned, TaskOptions, Weight

_Awaited = TypeVar("_Awaited")
_Async: TypeAlias = Coroutine[Any, Any, _Awaited]

MOST_ROWS_A_CALL = 500  #: as many as a job holds at most


class Task(Generic[Parameters, Returned]):
    """A function with a queue and options. Calling it runs it here, plainly; `node` makes it a job.

    To a type checker the task has the parameters and the value of its function: ``Task[[int], str]``.

    >>> @task(queue="doc-sums")
    ... def double(x):
    ...     return 2 * x
    >>> double(21), double, double.required
    (42, Task('double' on 'doc-sums'), ['x'])
    """

    def __init__(
        self,
        function: Callable[Parameters, Returned],
        *,
        queue: str | None,
        version: str | int,
        retry_on: RetryOn | None,
        limiter: Any,
        weight: Any,
        concurrency: Any,
        logs: bool,
        options: Mapping[str, Any],
        batch_size: int | None = None,
        setup: Any = None,
    ) -> None:
        self.parameters = parameters_of(function)
        #: of all parameters; asked at every call
        self.parameter_names = frozenset(p.name for p in self.parameters)
        #: does it take arguments of any name? Asked at every call
        self.takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self.parameters)
        #: is it a coroutine function, or an async generator? Asked at every run
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        #: does it yield its results, instead of returning one? Asked at every run
        self.yields = yielding.yields(function)
        functools.update_wrapper(self, function)
        self.function = function
        self.name: str = function.__name__
        where = f"task {self.name}"
        self.queue = self.name if queue is None else queue
        self.version = read_version(version, where)
        self.retry_on = read_retry_on(retry_on, where)
        self.rates = read_rates(limiter, f"{where}.limiter")
        self.limiter = calls_of(self.rates)
        self.weights = Weights.read(weight, where)
        self.concurrency = read_concurrency(concurrency, where)
        if not isinstance(logs, bool):
            raise OptionError(f"{where}.logs: True or False, not {shown(logs)}")
        self.keeps_logs = logs
        names = [p.name for p in self.parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        #: what fills parameters that no data fill
        self.setup = setups.read_setup(setup, names, takes_any=self.takes_any, where=where)
        filled = {"job", *(one.name for one in self.setup)}
        variadic = inspect.Parameter.VAR_KEYWORD
        # Asked for every row:
        self._by_data = [p for p in self.parameters if p.name not in filled and p.kind is not variadic]
        self._required = [p.name for p in self._by_data if p.default is inspect.Parameter.empty]
        #: how many rows a call takes at most, as Series; None: each call is for one row, as plain values
        self.batch_size = None if batch_size is None else self._checked_batch_size(batch_size, where)
        backoff = options.get("backoff")
        self.backoff: Callable[[int, BaseException], Any] | None = backoff if callable(backoff) else None
        if self.backoff is not None:
            options = {**options, "backoff": {"type": CUSTOM}}
        self.options = read_task_options(options, where)
        try:
            check_names(self.name, self.queue)
        except FlowError as error:
            raise OptionError(f"task {shown(self.name)}: {error}; give queue=") from None
        self._origin: Task | None = None
        self._code: str | None = None
        self._version_name: str | None = None

    def _checked_batch_size(self, batch_size: Any, where: str) -> int:
        if self.yields:
            raise OptionError(f"{where}.batch_size: a task that yields takes one row at a time; leave it out")
        return whole(f"{where}.batch_size", batch_size, 1, MOST_ROWS_A_CALL)

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        if self.setup:
            return self._call_with_setup(args, kwargs)
        return self.function(*args, **kwargs)

    def _call_with_setup(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Returned:
        """Call the function with what its setup has loaded, where the caller does not say otherwise."""
        given = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
        missing = [one.as_it_is_now() for one in self.setup if one.name not in given]
        try:
            returned: Returned = setups.call(self.function, missing, self.name, kwargs, args)
        except setups.SetupFailed as failed:
            raise failed.error or failed from None
        return returned

    @property
    def runs(self) -> Callable[..., Any]:
        """Its function as workers call it: of one that yields, what returns the list of its items."""
        return yielding.collecting(self.function) if self.yields else self.function

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Go to another process by name where it can be imported there, else as a copy, code and all."""
        if not self.is_importable:
            return super().__reduce_ex__(protocol)
        return self.name if self._origin is None else (_task_of, (self.__module__, self.name))

    def __getstate__(self) -> dict[str, Any]:
        # What a call weighs is told before it travels.
        return {**vars(self), "_origin": None, "weights": None}

    @property
    def is_importable(self) -> bool:
        """Does another process that imports its module find this task there?"""
        found = getattr(sys.modules.get(self.__module__), self.name, None)
        return self.__module__ != "__main__" and found is (self._origin or self)

    @property
    def is_fixed(self) -> bool:
        """Does its function stay as it is, whatever cells run later?"""
        return self._origin is not None

    def as_it_is_now(self, code: str | None = None) -> Task:
        """Return a task whose function does what this one's does now, whatever cells run later; `code` is its code.

        >>> @task
        ... def double(x):
        ...     return 2 * x
        >>> double.as_it_is_now()(21), double.is_fixed, double.as_it_is_now().is_fixed
        (42, False, True)
        """
        made: Task = object.__new__(type(self))
        vars(made).update(vars(self))
        made.function = fixed(self.function)
        made.setup = tuple(one.as_it_is_now() for one in self.setup)
        made._origin, made._code = self._origin or self, code or self.code_by_now()
        made._version_name = None
        return made

    @property
    def code(self) -> str:
        """What tells its function from others of the name: see `code_of`. Read once."""
        if self._code is None:
            self._code = self.code_by_now()
        return self._code

    def code_by_now(self) -> str:
        """The same, read anew: cells that run change what a function uses.

        >>> @task
        ... def double(x):
        ...     return 2 * x
        >>> double.code_by_now() == double.code
        True
        """
        return code_of(self.function, {one.name: one.load for one in self.setup})

    @property
    def bytecode(self) -> Any:
        """What its function was compiled to: what functions that one function makes have in common."""
        return getattr(inspect.unwrap(self.function), "__code__", self.function)

    @property
    def version_name(self) -> str:
        """A short name for its code: `_version` of the rows that it runs."""
        if self._version_name is None:
            self._version_name = version_name(self.code)
        return self._version_name

    def __repr__(self) -> str:
        return f"Task({self.name!r})" if self.queue == self.name else f"Task({self.name!r} on {self.queue!r})"

    @property
    def required(self) -> list[str]:
        """Names of the parameters that must be filled, without `job`."""
        return self._required

    @property
    def optional(self) -> list[str]:
        """Names of the parameters that have a default."""
        return [p.name for p in self._fillable() if p.default is not inspect.Parameter.empty]

    @property
    def fillable(self) -> list[str]:
        """Names of the parameters that data fill."""
        return [p.name for p in self._fillable()]

    @property
    def whole_row(self) -> str | None:
        """The one parameter that receives all columns: `row`, or `rows` of a task that takes many at a time."""
        name = "row" if self.batch_size is None else "rows"
        return name if self.fillable == [name] and not self.takes_any else None

    @property
    def takes_job(self) -> bool:
        """Has it a parameter `job`, which receives the Job?"""
        return any(p.name == "job" for p in self.parameters)

    @property
    def needs_its_own_job(self) -> bool:
        """Must each call be a job of its own: it asks for the job, is limited, or waits better side by side?"""
        return self.takes_job or self.is_async or bool(self.rates) or self.concurrency is not None

    def _fillable(self) -> list[inspect.Parameter]:
        """The parameters that data fill."""
        return self._by_data

    @overload
    def node(
        self: Task[Parameters, _Async[_Awaited]],
        *args: Any,
        opts: Mapping[str, Any] | None = None,
        after: Iterable[Any] = (),
        **kwargs: Any,
    ) -> Node[_Awaited]: ...
    @overload
    def node(
        self, *args: Any, opts: Mapping[str, Any] | None = None, after: Iterable[Any] = (), **kwargs: Any
    ) -> Node[Returned]: ...
    def node(
        self, *args: Any, opts: Mapping[str, Any] | None = None, after: Iterable[Any] = (), **kwargs: Any
    ) -> Node:
        """Return a job-to-be that calls this function with these arguments.

        An argument that is a node (or a list or dict of nodes) is a child: its value is passed in at run
        time. A `File` arrives as one, in a list or dict too. `after` waits for other nodes without taking
        their values. `opts` override the task's options, as in a tree.

        >>> @task
        ... def load(day):
        ...     return 10 * day
        >>> @task
        ... def total(loads):
        ...     return sum(loads)
        >>> add(total.node([load.node(1), load.node(2, opts={"priority": 5})])).result(timeout=30)
        30
        """
        after = self._listed(after)
        given = self._by_name(args, kwargs)
        bound = {name: value for name, value in given.items() if holds_nodes(value, name, self.name)}
        data, has_files = as_inputs({name: value for name, value in given.items() if name not in bound})
        children = [node for value in bound.values() for node in nodes_in(value)]
        node: Node = Node(self.name, self.queue, data, self._merged(opts), [*children, *after])
        node.bind = bind_of(bound, has_files=has_files)
        node.weights = weights_of_node(self, given, bound)
        node.problem = functools.partial(problem_with, self, given)
        return node

    def _listed(self, after: Any) -> list[Any]:
        found = None if isinstance(after, (str, bytes, Mapping, Node)) else items(after)
        if found is None:
            raise OptionError(
                f"{self.name}.node(): after is a list of nodes, as in after=[load.node(1)], not {shown(after)}"
            )
        return found

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = [p.name for p in self._fillable()]
        if len(args) > len(names):
            raise OptionError(f"{self.name}.node() takes {len(names)} arguments, not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in given:
                raise OptionError(f"{self.name}.node() got {name!r} twice")
            if name not in names and not self.takes_any:
                raise OptionError(
                    f"{self.name}.node() has no argument {name!r}; it has {', '.join(names) or 'none'}"
                )
            given[name] = value
        return given

    def _merged(self, opts: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if opts is None:
            return self.options
        if not isinstance(opts, Mapping):
            raise OptionError(f"{self.name}.node(): opts is a dict, not {shown(opts)}")
        return {**self.options, **opts}


@overload
def task(function: Callable[Parameters, Returned], /) -> Task[Parameters, Returned]: ...
@overload
def task(
    *,
    queue: str | None = None,
    version: str | int = "1",
    retry_on: RetryOn | None = None,
    limiter: Limiter = None,
    weight: Weight = None,
    batch_size: int | None = None,
    setup: Mapping[str, Callable[[], Any]] | None = None,
    concurrency: int | None = None,
    logs: bool = True,
    **options: Unpack[TaskOptions],
) -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    queue: str | None = None,
    version: str | int = "1",
    retry_on: RetryOn | None = None,
    limiter: Limiter = None,
    weight: Weight = None,
    batch_size: int | None = None,
    setup: Mapping[str, Callable[[], Any]] | None = None,
    concurrency: int | None = None,
    logs: bool = True,
    **options: Any,
) -> Any:
    """Make a function a task: ``@task`` or ``@task(attempts=3, backoff="exponential 1s", timeout="30s")``.

    `queue` is where its jobs wait (default: the function's name). Options are a job's, in snake_case;
    durations that are bare numbers are seconds. `retry_on`: only these exceptions (a class, or several, or a
    function of the error that says so) are worth another attempt; flownb's own, such as a `JobTimeout`, are in any
    case. `backoff` may be a function too: called with the attempts made and the error, it returns how long to wait,
    None for no further attempt. `limiter` (``"5/s"``, or several: ``("500/min", "60000 tokens/min")``) binds all
    workers of the queue together, retries included; of several tasks of a queue the strictest counts. Of a unit such as
    tokens it counts what `weight` says: ``{"tokens": 12}``, the name of a parameter or column, or a function of such.
    `concurrency` is how many jobs of the queue run at a time, on all workers together; without it a kernel runs `def`
    in 4 threads, and 100 calls of `async def` at a time in one loop. `version` (text or a number, "1" where none is
    given): another one makes batches run their rows again. What the function prints and logs is kept with its job, see
    `Batch.logs`; with ``logs=False`` it goes where a plain call's would. Defining a task again replaces it. A function
    that yields gives a row of a batch several results; elsewhere its value is the list of them.

    >>> @task(attempts=3)
    ... def double(x):
    ...     return 2 * x
    >>> double(21), double
    (42, Task('double'))
    """

    def decorate(function: Callable[Parameters, Returned]) -> Task[Parameters, Returned]:
        made = Task(
            function,
            queue=queue,
            version=version,
            retry_on=retry_on,
            limiter=limiter,
            weight=weight,
            batch_size=batch_size,
            setup=setup,
            concurrency=concurrency,
            logs=logs,
            options=options,
        )
        registry.register(made)
        return made

    return decorate if function is None else decorate(function)


class _Decorator(Protocol):
    def __call__(self, function: Callable[Parameters, Returned], /) -> Task[Parameters, Returned]: ...


def _task_of(module: str, name: str) -> Task:
    found: Task = getattr(importlib.import_module(module), name)
    return found
