"""`@task`: a Python function that can be a job and still is a plain function; and its nodes."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, Unpack, overload

from flownb.adding.node import Node, check_names
from flownb.arguments import is_whole, items, read_limiter, seconds, shown, whole
from flownb.errors import FlowError, OptionError
from flownb.options import CUSTOM, JobOptions
from flownb.tasks import registry
from flownb.tasks.code import changes, code_of, in_brackets, is_edited, version_name
from flownb.tasks.fixed_function import fixed
from flownb.typed import Limiter, Parameters, Returned, TaskOptions

_Awaited = TypeVar("_Awaited")
_Async: TypeAlias = Coroutine[Any, Any, _Awaited]
_Errors: TypeAlias = type[BaseException] | Iterable[type[BaseException]]

_IN_SECONDS = ("timeout", "delay")  # Python arguments say seconds where a tree's options say milliseconds


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
        retry_on: _Errors | None,
        limiter: Any,
        logs: bool,
        options: Mapping[str, Any],
    ) -> None:
        self.parameters = _parameters(function)
        #: does it take arguments of any name? Asked at every call
        self.takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self.parameters)
        functools.update_wrapper(self, function)
        self.function = function
        self.name: str = function.__name__
        where = f"task {self.name}"
        self.queue = self.name if queue is None else queue
        self.version = _version(version, where)
        self.retry_on = None if retry_on is None else _classes(retry_on, where)
        self.limiter = read_limiter(limiter, f"{where}.limiter")
        if not isinstance(logs, bool):
            raise OptionError(f"{where}.logs: True or False, not {shown(logs)}")
        self.keeps_logs = logs
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

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        return self.function(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Go to another process by name where it can be imported there, else as a copy, code and all."""
        if not self.is_importable:
            return super().__reduce_ex__(protocol)
        return self.name if self._origin is None else (_task_of, (self.__module__, self.name))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_origin": None}

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
        made._origin, made._code = self._origin or self, code or code_of(self.function)
        made._version_name = None
        return made

    @property
    def code(self) -> str:
        """What tells its function from others of the name: see `code_of`. Read once."""
        if self._code is None:
            self._code = code_of(self.function)
        return self._code

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
        return [p.name for p in self._fillable() if p.default is inspect.Parameter.empty]

    @property
    def optional(self) -> list[str]:
        """Names of the parameters that have a default."""
        return [p.name for p in self._fillable() if p.default is not inspect.Parameter.empty]

    @property
    def takes_job(self) -> bool:
        """Has it a parameter `job`, which receives the Job?"""
        return any(p.name == "job" for p in self.parameters)

    @property
    def needs_its_own_job(self) -> bool:
        """Must each call be a job of its own: it asks for the job, is limited, or waits better side by side?"""
        return self.takes_job or self.limiter is not None or inspect.iscoroutinefunction(self.function)

    def _fillable(self) -> list[inspect.Parameter]:
        return [p for p in self.parameters if p.name != "job" and p.kind is not inspect.Parameter.VAR_KEYWORD]

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
        time. `after` waits for other nodes without taking their values. `opts` override the task's options,
        as in a tree.

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
        bound = {name: value for name, value in given.items() if _holds_nodes(value, name, self.name)}
        data = {name: value for name, value in given.items() if name not in bound}
        children = [node for value in bound.values() for node in _nodes(value)]
        node: Node = Node(self.name, self.queue, data, self._merged(opts), [*children, *after])
        node.bind = {"values": bound} if bound else None
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
    retry_on: _Errors | None = None,
    limiter: Limiter = None,
    logs: bool = True,
    **options: Unpack[TaskOptions],
) -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    queue: str | None = None,
    version: str | int = "1",
    retry_on: _Errors | None = None,
    limiter: Limiter = None,
    logs: bool = True,
    **options: Any,
) -> Any:
    """Make a function a task: ``@task`` or ``@task(attempts=3, backoff="exponential 1s", timeout="30s")``.

    `queue` is where its jobs wait (default: the function's name). Options are a job's, in snake_case;
    durations that are bare numbers are seconds. `retry_on`: only these exceptions (a class, or several) are
    worth another attempt; flownb's own, such as a `JobTimeout`, are in any case. `backoff` may be a function
    too: called with the attempts made and the error, it returns how long to wait, None for no further attempt.
    `limiter` (``"5/s"``) binds all workers of the queue that know the task, retries included; of several tasks
    of a queue the strictest counts. `version` (text or a number): another one makes batches run their rows
    again. What the function prints and logs is kept with its job, see `Batch.logs`; with ``logs=False`` it goes
    where a plain call's would. Defining a task again replaces it.

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
            logs=logs,
            options=options,
        )
        registry.register(made)
        return made

    return decorate if function is None else decorate(function)


class _Decorator(Protocol):
    def __call__(self, function: Callable[Parameters, Returned], /) -> Task[Parameters, Returned]: ...


def read_task_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check options given as Python arguments and return them as a tree's: in milliseconds."""
    in_ms = dict(options)
    for name in _IN_SECONDS:
        if in_ms.get(name) is not None:
            in_ms[name] = round(seconds(in_ms[name], f"{where}.{name}") * 1000)
    if "job_id" in in_ms or "jobId" in in_ms:
        raise OptionError(f"{where}: a task has no jobId; give it to one node: opts={{'jobId': ...}}")
    JobOptions.read(in_ms, where)
    return in_ms


def _version(version: Any, where: str) -> str:
    if not isinstance(version, str) and not is_whole(version):
        raise OptionError(f"{where}.version: text or a whole number, not {shown(version)}")
    if isinstance(version, str):
        return str.__str__(version)
    return str(whole(f"{where}.version", version, -(2**53), 2**53))


def _classes(retry_on: Any, where: str) -> tuple[type[BaseException], ...]:
    classes = (retry_on,) if isinstance(retry_on, type) else tuple(items(retry_on) or (retry_on,))
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in classes):
        raise OptionError(
            f"{where}.retry_on: classes of exceptions, as in (TimeoutError,), not {shown(retry_on)}"
        )
    return classes


def _parameters(function: Any) -> list[inspect.Parameter]:
    is_named = inspect.isroutine(function) or (callable(function) and hasattr(function, "__name__"))
    if not is_named or inspect.isclass(function):
        raise OptionError(f"a task is a named function, not {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise OptionError(f"task {function.__name__}: a generator has no one value; return a list")
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            raise OptionError(
                f"task {function.__name__}: the arguments travel by name, so {parameter} cannot be filled; "
                "name each parameter"
            )
    return parameters


def _holds_nodes(value: Any, name: str, task_name: str) -> bool:
    if isinstance(value, Node):
        return True
    if isinstance(value, (list, tuple, Mapping)) and value:
        items = list(value.values()) if isinstance(value, Mapping) else list(value)
        nodes = sum(isinstance(item, Node) for item in items)
        if nodes and nodes < len(items):
            raise OptionError(
                f"{task_name}.node(): {name!r} mixes nodes and values; pass them as two arguments"
            )
        return nodes > 0
    return False


def _nodes(value: Any) -> list[Node]:
    if isinstance(value, Node):
        return [value]
    return list(value.values() if isinstance(value, Mapping) else value)


def problem_with(task: Task, given: Container[str]) -> str | None:
    """Say why a node of this task cannot be stored.

    It lacks an argument, which `chain` may still fill; or the function that made this task has made another of the same
    name since, with other values in its closure.
    """
    missing = [name for name in task.required if name not in given]
    if missing:
        return f"task {task.name}: its argument {missing[0]!r} is missing"
    now = registry.find(task.queue, task.name)
    if now is None or now is task or now.bytecode is not task.bytecode:
        return None
    if not is_edited(task.code, now.code):
        return None
    return (
        f"task {task.name!r}: queue {task.queue!r} has another task of this name by now"
        f"{in_brackets(changes(task.code, now.code))}, and a job finds its function by its name: give each a queue of "
        f'its own, @fn.task(queue=f"{task.name}-{{...}}")'
    )


def _task_of(module: str, name: str) -> Task:
    found: Task = getattr(importlib.import_module(module), name)
    return found
