"""Calls of every public name with hostile values, against a real server, and the judgement of each.

A call may return, or raise one of flownb's own exceptions: with a printable line of at most 500 characters, without
a secret, in bounded time, and with nothing written. Left out is what a caller asks for and gets: an iterator without an
end, a function of the caller's that raises or hangs, a server of the caller's that is elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import flownb as fn
from flownb.api import spending
from flownb.cli import main as command_line
from tests.input import hostile_values
from tests.input.hostile_values import SECRET, value

if TYPE_CHECKING:
    from redis import Redis

MOST_SECONDS = 20.0  # of one call, on a loaded machine; a wait is asked to last no time
CALLS_A_WORLD = 300  # after which the server is emptied and all handles are made anew
Kwargs = dict[str, Any]


def _spent_in_a_job(**amounts: Any) -> None:
    """Spend as a job does; nobody is told."""
    token = spending.current.set(spending.Account())
    try:
        fn.spend(**amounts)
    finally:
        spending.current.reset(token)


def name_of_row(x: Any = 1) -> Any:
    """The function of the fuzz's task."""
    return x


class World:
    """What there is to call on: a flow, a batch, a job, a queue and a task on an emptied server."""

    def __init__(self, url: str, server: Redis) -> None:
        self.url, self.server = url, server
        self.open()

    def open(self) -> None:
        """Connect, and make all anew."""
        self.connection = fn.connect(self.url)
        self.renew()

    def renew(self) -> None:
        """Empty the server and make all handles anew."""
        self.server.flushall()
        self.task = fn.task(queue="tasks")(name_of_row)
        self.flow = fn.add(
            {"name": "n", "queueName": "q", "children": [{"name": "c", "queueName": "q"}]}, name="a flow"
        )
        self.batch = fn.fan_out([1, 2], self.task, name="a batch")
        self.queue = fn.Queue("q")
        self.job = self.queue.add("n", {"x": 1})
        self.ended = self.queue.add("n")
        self.ended.cancel()
        self.later = self.queue.add("n", opts={"delay": 1_000_000})
        self.producer = fn.FlowProducer()

    def changes(self) -> int:
        """How many writes the server has seen; a refusal leaves it as it was."""
        return int(self.server.info("persistence")["rdb_changes_since_last_save"])


@dataclass(frozen=True)
class Target:
    """One public name, arguments that fit, and what makes hostile ones where a plain value is not what to try."""

    name: str
    call: Callable[[World, Kwargs], Any]
    fits: Callable[[World], Kwargs]
    special: dict[str, Callable[[random.Random], Any]] = field(default_factory=dict)
    never: tuple[str, ...] = ()  # arguments that stay as they fit


def method(name: str, on: str, /, never: tuple[str, ...] = (), special: Any = None, **fits: Any) -> Target:
    """A method of one of the world's handles."""
    return Target(
        name,
        lambda world, kwargs: getattr(getattr(world, on), name.rpartition(".")[2])(**kwargs),
        lambda world: dict(fits),
        special or {},
        never,
    )


def function(
    name: str, made: Callable[..., Any], /, never: tuple[str, ...] = (), special: Any = None, **fits: Any
) -> Target:
    """A function or class, whose arguments go by name."""
    return Target(name, lambda world, kwargs: made(**kwargs), lambda world: dict(fits), special or {}, never)


def closed(made: Any) -> Any:
    made.close()
    return made


def first(items: Iterator[Any]) -> Any:
    return next(iter(items), None)


def _heard(world: World, kwargs: Kwargs) -> None:
    with contextlib.closing(fn.QueueEvents("q")) as events:
        events.on(**kwargs)


def _begun(world: World, kwargs: Kwargs) -> None:
    fn.Worker("nobody", print).close(**kwargs)


TREE = {"name": "n", "queueName": "q"}
OPTIONS_OF_TASKS = dict.fromkeys(("attempts", "backoff", "priority", "delay", "lifo", "timeout", "keep_logs"))
ADDING: dict[str, Any] = {
    "queues_options": None,
    "semantics": "flownb",
    "if_exists": "reuse",
    "on_failure": None,
    "concurrency": None,
}
trees = {"tree": hostile_values.tree}
bulk = {"trees": lambda rng: [hostile_values.tree(rng) for _ in range(rng.randrange(3))]}
bulk_jobs = {
    "jobs": lambda rng: [hostile_values.tree(rng) if rng.random() < 0.7 else value(rng) for _ in range(2)]
}
options = {
    "opts": lambda rng: {rng.choice(hostile_values.OPTIONS): value(rng)} if rng.random() < 0.8 else value(rng)
}
rows = {"rows": hostile_values.rows}
NOT_A_SERVER = tuple(text for text in hostile_values.TEXTS if not text.isidentifier() and "redis" not in text)
nowhere = {
    "url_or_redis_client": lambda rng: rng.choice(NOT_A_SERVER) if rng.random() < 0.5 else _no_client(rng)
}
no_folder = {
    "path": lambda rng: (
        rng.choice(("\0", "\ud800", "x" * 5000, "/dev/null", "/dev/null/a"))
        if rng.random() < 0.5
        else _no_path(rng)
    )
}


def _no_client(rng: random.Random) -> Any:
    made = value(rng)
    return 5 if isinstance(made, str) or made is None else made


def _no_path(rng: random.Random) -> Any:
    made = value(rng)
    return 5 if isinstance(made, str | hostile_values.pathlib.PurePath | bytes) or made is None else made


TARGETS: tuple[Target, ...] = (
    function("add", fn.add, special=trees, tree=TREE, name=None, connection=None, **ADDING),
    method("FlowProducer.add", "producer", special=trees, tree=TREE, name=None, **ADDING),
    method("FlowProducer.get_flow", "producer", queue="q", id="a", depth=2, max_children=3),
    method("FlowProducer.add_bulk", "producer", special=bulk, trees=[TREE], **ADDING),
    function(
        "FlowProducer", lambda connection: fn.FlowProducer(connection=connection).add(TREE), connection=None
    ),
    Target(
        "Node",
        lambda world, kwargs: (repr(node := fn.Node(**kwargs)), fn.add(node)),
        lambda world: {"name": "n", "queue": "q", "data": None, "opts": None, "children": (), "prefix": None},
        options,
    ),
    function("Queue", fn.Queue, name="q", connection=None),
    method(
        "Queue.add", "queue", special=options, name="n", data=None, opts=None, deduplication=None, parent=None
    ),
    method("Queue.add_bulk", "queue", special=bulk_jobs, jobs=[{"name": "n"}]),
    method("Queue.get_job", "queue", id="1"),
    method("Queue.get_jobs", "queue", state="waiting", start=0, end=9),
    method("Queue.drain", "queue", delayed=False),
    method("Queue.clean", "queue", grace=0, limit=0, state="completed"),
    method("Queue.obliterate", "queue", force=False),
    method("Queue.retry_jobs", "queue", state="failed", timestamp=None),
    method("Queue.upsert_job_scheduler", "queue", id="s", repeat={"every": 60_000}, template=None),
    method("Queue.get_job_scheduler", "queue", id="s"),
    method("Queue.get_job_schedulers", "queue", start=0, end=-1, asc=False),
    method("Queue.remove_job_scheduler", "queue", id="s"),
    method("Queue.set_global_concurrency", "queue", concurrency=4),
    method("Queue.set_global_rate_limit", "queue", max=5, duration="1s"),
    method("Queue.get_rate_limit_ttl", "queue", max_jobs=None),
    method("Queue.get_counts_per_priority", "queue", priorities=[0, 1]),
    method("Queue.remove_deduplication_key", "queue", id="d"),
    function(
        "Worker",
        lambda **kwargs: repr(fn.Worker(**kwargs)),
        queues="q",
        processor=print,
        concurrency=1,
        executor="threads",
        limiter=None,
        backoff_strategy=None,
        lock_duration="15s",
        stalled_interval="5s",
        max_stalled_count=3,
        name=None,
    ),
    Target("Worker.close", _begun, lambda world: {"grace": 1}),
    function(
        "Worker.on",
        lambda **kwargs: fn.Worker("nobody", print).on(**kwargs),
        event="completed",
        function=print,
    ),
    function("Worker.pause", lambda **kwargs: fn.Worker("nobody", print).pause(**kwargs), wait=True),
    function("workers", lambda **kwargs: closed(fn.workers(**kwargs)), concurrency=4, executor="threads"),
    function("QueueEvents", lambda **kwargs: repr(fn.QueueEvents(**kwargs)), queue="q", last_event_id="$"),
    Target("QueueEvents.on", _heard, lambda world: {"event": "completed", "function": print}),
    function(
        "task",
        lambda function, **options: fn.task(**options)(function),
        function=name_of_row,
        queue="tasks",
        version="1",
        retry_on=None,
        limiter=None,
        weight={"tokens": 1},
        batch_size=None,
        setup=None,
        concurrency=None,
        logs=True,
        **OPTIONS_OF_TASKS,
    ),
    method("Task.node", "task", special=options, x=1, opts=None, after=()),
    Target(
        "chain",
        lambda world, kwargs: fn.add(fn.chain(*kwargs.values())),
        lambda world: {"first": world.task, "then": world.task},
    ),
    Target(
        "fan_out",
        lambda world, kwargs: fn.fan_out(**kwargs),
        lambda world: {
            **{
                "rows": [1],
                "task": world.task,
                "name": None,
                "key": None,
                "by": None,
                "into": None,
                "rows_per_job": "auto",
                "pilot": None,
                "budget": {"usd": 5},
                "max_failures": "5%",
                "unique": False,
            },
            **{"if_exists": "reuse", "dry_run": False, "connection": None, **OPTIONS_OF_TASKS},
            **{"limiter": "5 tokens/s", "weight": {"tokens": 1}},
            "concurrency": None,
        },
        rows,
    ),
    Target(
        "fan_out of steps",
        lambda world, kwargs: fn.fan_out(rows=[1], task=[world.task, *kwargs.values()]),
        lambda world: {"then": world.task},
    ),
    Target(
        "fan_out of rows",
        lambda world, kwargs: fn.fan_out(task=world.task, **kwargs),
        lambda world: {"rows": [1]},
        rows,
    ),
    function("spend", _spent_in_a_job, usd=0.25, tokens=7),
    function("attach", fn.attach, name="a flow", connection=None),
    function("flows", fn.flows, queue=None, state=None, limit=5, connection=None),
    function(
        "every",
        lambda **kwargs: repr(fn.every(**kwargs)),
        special=trees,
        when="1d",
        tree=TREE,
        name="nightly",
        tz=None,
        overlap="skip",
        connection=None,
    ),
    function("prune", fn.prune, older_than="365d", state="failed", dry_run=True, never=("dry_run",)),
    Target(
        "prune for real", lambda world, kwargs: fn.prune("365d", **kwargs), lambda world: {"dry_run": True}
    ),
    function("doctor", fn.doctor, queue="q", fix=False, connection=None, never=("fix",)),
    Target("doctor fix", lambda world, kwargs: fn.doctor("nobody", **kwargs), lambda world: {"fix": False}),
    function("draw", lambda tree: (drawn := fn.draw(tree), drawn.source), special=trees, tree=TREE),
    function("Flow", lambda flow: repr(fn.Flow(flow)), flow="x"),
    function("Batch", lambda flow: repr(fn.Batch(flow)), flow="x"),
    method("Flow.jobs", "flow", state=None),
    Target(
        "Flow.remove", lambda world, kwargs: fn.Flow("x").remove(**kwargs), lambda world: {"files": False}
    ),
    method("Flow.wait", "flow", special={"timeout": lambda rng: _brief(rng)}, timeout=0, progress=False),
    method("Flow.result", "flow", special={"timeout": lambda rng: _brief(rng)}, timeout=0),
    method("Flow.to_html", "flow", special=no_folder, path=None),
    method("Flow.export", "flow", special={"folder": no_folder["path"]}, folder="/dev/null"),
    method(
        "Batch.results",
        "batch",
        special={"timeout": lambda rng: _brief(rng)},
        timeout=0,
        failed="missing",
        frame=None,
        partial=False,
    ),
    method("Batch.result", "batch", special={"timeout": lambda rng: _brief(rng)}, timeout=0),
    Target(
        "Batch.as_completed",
        lambda world, kwargs: first(world.batch.as_completed(**kwargs)),
        lambda world: {"timeout": 0},
        {"timeout": lambda rng: _brief(rng)},
    ),
    method("Batch.debug", "batch", label=0),
    method("Batch.row", "batch", label=0),
    method("Batch.logs", "batch", rows=None, grep=None, level=None),
    method("Batch.retry", "batch", error=None, rows=None, step=None),
    method("Batch.resume", "batch", budget={"usd": 5}, max_failures="5%"),
    method("Batch.to_html", "batch", special=no_folder, path=None),
    method("Batch.export", "batch", special={"folder": no_folder["path"]}, folder="/dev/null"),
    method("Job.update_progress", "job", progress=1),
    method("Job.update_data", "job", data=1),
    method("Job.log", "job", row="a"),
    method("Job.get_logs", "job", start=0, end=-1, asc=True),
    method("Job.clear_logs", "job", keep_logs=None),
    method("Job.wait_until_finished", "ended", timeout=0.01),
    method("Job.change_delay", "later", delay=5),
    method("Job.change_priority", "job", priority=1, lifo=False),
    method("Job.add_children", "job", children=[]),
    function(
        "connect",
        lambda **kwargs: closed(fn.Connection(**kwargs)),
        special=nowhere | no_folder,
        never=("path",),
        url_or_redis_client="redis://",
        prefix="bull",
        read_only=False,
    ),
    function(
        "connect to a folder",
        lambda **kwargs: closed(fn.Connection(**kwargs)),
        special=no_folder,
        path="\0",
        prefix="bull",
        read_only=False,
    ),
    Target(
        "Connection of a client",
        lambda world, kwargs: closed(fn.Connection(world.connection.client(), **kwargs)),
        lambda world: {"prefix": "bull", "read_only": False},
    ),
    Target(
        "Connection.on_close",
        lambda world, kwargs: world.connection.on_close(**kwargs)(),
        lambda world: {"callback": print},
    ),
    function("RateLimitError", lambda retry_after: str(fn.RateLimitError(retry_after)), retry_after=1),
    function(
        "RowErrors", lambda **kwargs: str(fn.RowErrors(**kwargs)), errors={"a": ValueError()}, values=None
    ),
    Target(
        "the command line",
        lambda world, kwargs: command(world, list(kwargs.values())),
        lambda world: {"command": "explain", "flow": "a flow"},
        {
            "command": lambda rng: rng.choice(("explain", "ls", "cancel", "retry", "rm", "doctor", "watch")),
            "flow": lambda rng: rng.choice(hostile_values.TEXTS),
        },
    ),
)


def _brief(rng: random.Random) -> Any:
    """A timeout that is none, or none that lasts."""
    made = value(rng)
    if made is None or fits_as_seconds(made):
        return 0
    return made


def fits_as_seconds(made: Any) -> bool:
    from flownb.arguments import seconds

    try:
        return seconds(made, "timeout") > 0
    except fn.FlownbError:
        return False


def command(world: World, words: list[str]) -> None:
    """Run a command, which prints; it connects by itself, and closes what was connected."""
    with contextlib.redirect_stderr(sys.stdout), contextlib.suppress(SystemExit):
        command_line([word for word in words if word != "watch"] or ["ls"])
    world.open()


class TookTooLong(BaseException):
    """A call that did not come back."""


@dataclass
class Fuzz:
    """So many calls from a seed. `wrong` are those that did what no call should."""

    seed: int
    url: str
    server: Redis  # of a user who may do everything
    calls: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Have calls that do not come back interrupted."""
        signal.signal(signal.SIGALRM, _interrupt)

    def run(self, calls: int) -> None:
        """Make so many calls; what each does depends on the seed and its number alone."""
        self.prepare()
        world = World(self.url, self.server)
        for at in range(calls):
            if at and at % CALLS_A_WORLD == 0:
                world.renew()
            rng, target = random.Random(f"{self.seed}/{at}"), TARGETS[at % len(TARGETS)]
            places = [name for name in target.fits(world) if name not in target.never]
            chosen = rng.sample(places, min(len(places), rng.choice((1, 1, 1, 2, 3))))
            self.call(world, target, {place: target.special.get(place, value)(rng) for place in chosen}, at)

    def call(self, world: World, target: Target, spoiled: Kwargs, at: int) -> None:
        """Call a target with some arguments replaced, and judge what comes of it."""
        self.calls += 1
        kwargs = target.fits(world) | spoiled
        before, began = world.changes(), time.monotonic()
        printed, refused = io.StringIO(), None
        signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
        try:
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.call(world, kwargs)
            end = "returned"
        except (fn.FlownbError, TimeoutError) as error:
            refused, end = error, type(error).__name__
        except TookTooLong:
            end = "hangs"
        except hostile_values.CallersOwn:
            end = "the caller's own"
        except OSError as error:  # a file that cannot be written
            refused, end = (None, "OSError") if target.name.endswith("to_html") else (error, "raises OSError")
        except BaseException as error:
            refused, end = error, f"raises {type(error).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.ends[end] += 1
        problem = self._problem(
            world, target, end, refused, before, time.monotonic() - began, printed.getvalue()
        )
        if problem:
            self.wrong.append(f"call {at} of seed {self.seed}: {target.name}({_told(spoiled)}): {problem}")

    def _problem(
        self,
        world: World,
        target: Target,
        end: str,
        refused: BaseException | None,
        before: int,
        took: float,
        printed: str,
    ) -> str | None:
        if end == "hangs" or took > MOST_SECONDS:
            return f"no end within {MOST_SECONDS} s"
        if printed and not all(c.isprintable() or c == "\n" for c in printed):
            return f"printed a raw control character: {printed[:200]!a}"
        if refused is None:
            return None
        if end.startswith("raises"):
            return f"{end}: {str(refused)[:200]!a}\n{_last_frames(refused)}"
        text = str(refused)
        if len(text) > 500 or not text.isprintable() or not text:
            return f"{end} with {len(text)} characters: {text[:300]!a}"
        if SECRET in text or SECRET in printed:
            return f"{end} shows a secret: {text[:300]!a}"
        if not isinstance(refused, TimeoutError) and world.changes() != before:
            return f"{end} after a write: {text[:300]!a}"
        return None


def _told(spoiled: Kwargs) -> str:
    return ", ".join(f"{place}={_kind(made)}" for place, made in spoiled.items())


def _kind(made: Any) -> str:
    try:
        return f"{type(made).__name__} {made!a:.120}"
    except BaseException:
        return type(made).__name__


def _last_frames(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)[-4:])


def _interrupt(*_: Any) -> None:
    raise TookTooLong
