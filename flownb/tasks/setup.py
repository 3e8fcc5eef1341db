"""`setup`: what a task needs once a process, such as a model or a client: loaded when it is first needed, then shared.

A value belongs to the workers whose rows have used it, and is closed with the last of them; one that only plain calls
have used, with the process. It also goes when no task is left for which it was loaded.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import logging
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from flownb.arguments import shown
from flownb.errors import FlownbError, OptionError
from flownb.tasks.code import code_of
from flownb.tasks.fixed_function import fixed

log = logging.getLogger("flownb.worker")

CLOSE_SECONDS = 5.0  # that an async value has to close

#: the worker whose row or call this is, by its identity; empty: nobody's
user: ContextVar[str] = ContextVar("who uses what setup has loaded", default="")


class SetupFailed(FlownbError):
    """What a task needs could not be loaded: that is no fault of a row."""

    error: BaseException | None = None  #: what the function has raised

    @classmethod
    def by(cls, task: str, name: str, error: BaseException) -> SetupFailed:
        """Return what a function's error is called."""
        made = cls(f"the setup {name!r} of task {task} failed: {type(error).__name__}: {error}")
        made.error = error
        return made


class _Definition:
    """One function given in one ``setup=``; its copies, here and in other processes, share what was loaded."""

    __slots__ = ("__weakref__", "id")

    def __init__(self, id: str) -> None:
        self.id = id
        _definitions[id] = self

    def __reduce__(self) -> Any:
        return _definition_of, (self.id,)


_definitions: weakref.WeakValueDictionary[str, _Definition] = weakref.WeakValueDictionary()
_by_function: weakref.WeakKeyDictionary[Any, _Definition] = weakref.WeakKeyDictionary()


def _definition_of(id: str) -> _Definition:
    return _definitions.get(id) or _Definition(id)


def _definition_for(load: Any) -> _Definition:
    """The definition of a function: of the same function the same."""
    try:
        return _by_function.setdefault(load, _Definition(secrets.token_hex(8)))
    except TypeError:  # neither hashed nor referred to weakly
        return _Definition(secrets.token_hex(8))


@dataclass(frozen=True)
class Setup:
    """What fills one parameter of a task."""

    name: str  #: of the parameter
    load: Callable[[], Any]
    definition: _Definition
    code: str = ""  #: of a copy that stays as it is: what tells it from what the function does at other times

    def as_it_is_now(self) -> Setup:
        """Return a copy that loads what this one loads now, whatever cells run later."""
        return self if self.code else replace(self, load=fixed(self.load), code=code_of(self.load))


def read_setup(setup: Any, parameters: Iterable[str], *, takes_any: bool, where: str) -> tuple[Setup, ...]:
    """Check a caller's ``setup=``; raise `OptionError`."""
    if setup is None:
        return ()
    if not isinstance(setup, Mapping) or not all(isinstance(name, str) for name in setup):
        raise OptionError(
            f'{where}.setup: functions by the parameters that they fill, as in {{"model": load_model}}, '
            f"not {shown(setup)}"
        )
    known = list(parameters)
    for name, load in setup.items():
        if name == "job" or (name not in known and not takes_any):
            raise OptionError(
                f"{where}.setup: the function has no parameter {name!r} to fill with what it loads"
            )
        _check_function(load, f"{where}.setup[{name!r}]")
    return tuple(Setup(str(name), load, _definition_for(load)) for name, load in setup.items())


def _check_function(load: Any, what: str) -> None:
    if not callable(load):
        raise OptionError(f"{what}: a function without arguments that loads it, not {shown(load)}")
    try:
        inspect.signature(load).bind()
    except TypeError:
        raise OptionError(f"{what}: a function without arguments; functools.partial fills them") from None
    except ValueError:
        pass  # one of C, which tells nothing of its parameters


# ---- what was loaded ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Loaded:
    """One value, or why there is none."""

    lock: threading.Lock = field(default_factory=threading.Lock)  # held by the thread that loads
    is_there: bool = False
    value: Any = None
    close: Callable[[], Any] | None = None
    loop: asyncio.AbstractEventLoop | None = None  #: of an async function, in which it was loaded
    loading: asyncio.Future[Any] | None = None  #: in that loop
    error: BaseException | None = None  #: of the last time
    failures: int = 0
    users: set[str] = field(default_factory=set)

    def note_failure(self, error: BaseException) -> None:
        self.error, self.failures = error, self.failures + 1


_Values = dict[tuple[str, int], _Loaded]  # by code, and the loop of an async function
_values: weakref.WeakKeyDictionary[_Definition, _Values] = weakref.WeakKeyDictionary()
_lock = threading.Lock()  # held while entries are made and taken out, not while anything is loaded
_unowned: deque[_Values] = deque()  # of definitions that are gone; closed by whoever comes next


def _entry(setup: Setup, loop: asyncio.AbstractEventLoop | None = None) -> _Loaded:
    with _lock:
        values = _values.get(setup.definition)
        if values is None:
            _values[setup.definition] = values = {}
            weakref.finalize(setup.definition, _unowned.append, values)
        return values.setdefault((setup.code, id(loop) if loop else 0), _Loaded())


def values_of(setups: Iterable[Setup], task: str) -> dict[str, Any]:
    """Return what a task's setup has loaded, by parameter; raise `SetupFailed`."""
    return {setup.name: _value(setup, task) for setup in setups}


def _value(setup: Setup, task: str) -> Any:
    entry = _entry(setup)
    if not entry.is_there:
        failures = entry.failures
        try:
            with entry.lock:
                if entry.error is not None and entry.failures != failures:  # while this thread waited
                    raise entry.error
                if not entry.is_there:
                    _load(setup, entry)
        except (Exception, SystemExit) as error:
            raise SetupFailed.by(task, setup.name, error) from error
    entry.users.add(user.get())
    return entry.value


def _load(setup: Setup, entry: _Loaded) -> None:
    _close_unowned()
    try:
        made = setup.load()
        if is_async(setup.load) or inspect.isawaitable(made):
            entry.loop = _own_loop()
            future = asyncio.run_coroutine_threadsafe(_opened_async(made), entry.loop)
            entry.value, entry.close = future.result()
        else:
            entry.value, entry.close = _opened(made)
    except (Exception, SystemExit) as error:
        entry.note_failure(error)
        raise
    entry.is_there, entry.error = True, None


async def values_later(setups: Iterable[Setup], task: str) -> dict[str, Any]:
    """The same in a loop, which goes on meanwhile: what an async function loads is loaded in that loop, and for it."""
    return {setup.name: await _value_later(setup, task) for setup in setups}


async def _value_later(setup: Setup, task: str) -> Any:
    if not is_async(setup.load):
        entry = _entry(setup)
        return _value(setup, task) if entry.is_there else await asyncio.to_thread(_value, setup, task)
    entry = _entry(setup, asyncio.get_running_loop())
    if not entry.is_there:
        try:
            if entry.loading is None:
                entry.loading = asyncio.ensure_future(_load_in_loop(setup, entry))
            await asyncio.shield(entry.loading)
        except Exception as error:
            raise SetupFailed.by(task, setup.name, error) from error
    entry.users.add(user.get())
    return entry.value


async def _load_in_loop(setup: Setup, entry: _Loaded) -> None:
    try:
        if _unowned:  # of this loop too: it has to go on until they are closed
            await asyncio.to_thread(_close_unowned)
        entry.loop = asyncio.get_running_loop()
        entry.value, entry.close = await _opened_async(setup.load())
        entry.is_there, entry.error = True, None
    except BaseException as error:
        entry.note_failure(error)
        raise
    finally:
        entry.loading = None


def is_async(load: Any) -> bool:
    """Is what a function returns to be awaited, or entered in a loop?"""
    while isinstance(load, functools.partial):
        load = load.func
    return inspect.iscoroutinefunction(load) or inspect.isasyncgenfunction(inspect.unwrap(load))


def _opened(made: Any) -> tuple[Any, Callable[[], Any] | None]:
    """Return the value, and what closes it: of a context manager that has no ``close`` what its block would have."""
    if (close := _close_of(made)) is not None:
        return made, close
    if hasattr(made, "__enter__") and hasattr(made, "__exit__"):
        return made.__enter__(), functools.partial(made.__exit__, None, None, None)
    return made, None


async def _opened_async(made: Any) -> tuple[Any, Callable[[], Any] | None]:
    if inspect.isawaitable(made):
        made = await made
    if _close_of(made) is None and hasattr(made, "__aenter__"):
        return await made.__aenter__(), functools.partial(made.__aexit__, None, None, None)
    return _opened(made)


def _close_of(made: Any) -> Callable[[], Any] | None:
    for name in ("close", "aclose"):
        if not isinstance(made, type) and callable(close := getattr(made, name, None)):
            found: Callable[[], Any] = close
            return found
    return None


# ---- closing -----------------------------------------------------------------------------------------------------


def release(identity: str) -> None:
    """A worker has ended: close what nobody else uses."""
    with _lock:
        unused = []
        for values in list(_values.values()):
            for key, entry in list(values.items()):
                if identity in entry.users:
                    entry.users.discard(identity)
                    if not entry.users:
                        unused.append(values.pop(key))
    for entry in unused:
        _close(entry)
    _close_unowned()


@atexit.register
def close_all() -> None:
    """The process ends: close what is still open."""
    with _lock:
        entries = [entry for values in _values.values() for entry in values.values()]
        _values.clear()
    for entry in entries:
        _close(entry)
    _close_unowned()


def _close_unowned() -> None:
    while _unowned:
        for entry in _unowned.popleft().values():
            _close(entry)


def _close(entry: _Loaded) -> None:
    close, entry.close, entry.value, entry.is_there = entry.close, None, None, False
    if close is None:
        return
    try:
        loop = entry.loop
        if loop is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(_closed(close), loop).result(CLOSE_SECONDS)
            return
        if loop is not None and not loop.is_closed():  # a process's own: it stands still between its rows
            loop.run_until_complete(asyncio.wait_for(_closed(close), CLOSE_SECONDS))
            return
        closing = close()
        if inspect.isawaitable(closing):
            asyncio.run_coroutine_threadsafe(_awaited(closing), _own_loop()).result(CLOSE_SECONDS)
    except Exception as error:
        log.warning("what setup had loaded could not be closed: %s: %s", type(error).__name__, error)


async def _closed(close: Callable[[], Any]) -> None:
    closing = close()
    if inspect.isawaitable(closing):
        await closing


async def _awaited(closing: Awaitable[Any]) -> Any:
    return await closing


_own: list[asyncio.AbstractEventLoop] = []  # one a process, made when it is first needed


def _own_loop() -> asyncio.AbstractEventLoop:
    """A loop for what async functions load for tasks that are not async."""
    with _lock:
        if not _own:
            _own.append(asyncio.new_event_loop())
            threading.Thread(target=_own[0].run_forever, name="flownb-setup", daemon=True).start()
        return _own[0]


# ---- calling -----------------------------------------------------------------------------------------------------


def call(
    function: Callable[..., Any],
    setups: Iterable[Setup],
    task: str,
    arguments: Mapping[str, Any],
    positional: Iterable[Any] = (),
) -> Any:
    """Call a function with these arguments and what its setup has loaded; of an async one return a coroutine."""
    if inspect.iscoroutinefunction(function):
        return _call_later(function, setups, task, arguments, positional)
    return function(*positional, **arguments, **values_of(setups, task))


async def _call_later(
    function: Callable[..., Any],
    setups: Iterable[Setup],
    task: str,
    arguments: Mapping[str, Any],
    positional: Iterable[Any],
) -> Any:
    return await function(*positional, **arguments, **await values_later(setups, task))
