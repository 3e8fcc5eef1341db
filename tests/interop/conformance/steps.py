"""The words of a scenario: jobs that say what they do, the steps of a history, and what is meant to differ.

A scenario is a list of steps. Each is played with BullMQ and with flownb, from an empty server on; what the steps answer
and what is stored after them must be the same. A job's id is its name; its queue is ``line`` unless it says another.
A job of another queue is ``"items:a"``; the next job of the job scheduler "s" is ``"line:repeat:s"``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

QUEUES = ("line", "items", "middle", "top")  # all that a scenario may use


ATTEMPTS_AGAIN = (
    "A retried job has all its attempts again; BullMQ's `retry` takes `resetAttemptsMade` for that."
)


@dataclass(frozen=True)
class Step:
    """One thing that is done, with its particulars."""

    do: str
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Differs:
    """One thing that flownb answers or stores otherwise, and means to."""

    line: str  # ``where: what BullMQ has | what flownb has``
    why: str


def differs(why: str, *lines: str) -> list[Differs]:
    """List what flownb has otherwise in a scenario, for one reason: ``*differs(...)`` among its steps."""
    return [Differs(line, why) for line in lines]


# ---- jobs ---------------------------------------------------------------------------------------------


def job(
    name: str, *do: tuple[Any, ...], queue: str = "line", children: Any = None, **opts: Any
) -> dict[str, Any]:
    """Describe a job that does these things, one after the other; further words are BullMQ's options.

    `data` replaces what it does; `id` the id, which is the job's name (None: a generated one).
    """
    data = opts.pop("data", {"do": list(do)})
    id = opts.pop("id", name)
    made = {
        "name": name,
        "queueName": queue,
        "data": data,
        "opts": opts | ({} if id is None else {"jobId": id}),
    }
    return made if children is None else made | {"children": list(children)}


def returns(value: Any) -> tuple[Any, ...]:
    return ("return", value)


def fails(why: str = "it broke") -> tuple[Any, ...]:
    return ("raise", why)


def fails_first(times: int) -> tuple[Any, ...]:
    """Fail so many attempts, each with a reason of its own."""
    return ("raise_first", times)


def gives_up(why: str = "no use") -> tuple[Any, ...]:
    return ("give_up", why)


def holds(gate: str = "gate") -> tuple[Any, ...]:
    """Run until a step `opens` the gate."""
    return ("hold", gate)


def naps(milliseconds: int) -> tuple[Any, ...]:
    return ("nap", milliseconds)


def reports(progress: Any) -> tuple[Any, ...]:
    return ("progress", progress)


def logs(row: str) -> tuple[Any, ...]:
    return ("log", row)


def rewrites(data: Any) -> tuple[Any, ...]:
    return ("data", data)


def limits(milliseconds: int) -> tuple[Any, ...]:
    """Hold the queue for so long, the first time only."""
    return ("limit_once", milliseconds)


def grows(*children: dict[str, Any]) -> tuple[Any, ...]:
    """Add children, the first time only, and wait for them."""
    return ("grow", list(children))


VALUES = ("values",)  # of its children, in no order
VALUES_IN_ORDER = ("values_in_order",)
IGNORED = ("ignored",)  # why its optional children failed
COUNTS = ("dependencies",)  # of its children
ATTEMPTS = ("attempts",)  # made before this one
SHOWN = ("shown",)  # what a function sees of its job


# ---- steps --------------------------------------------------------------------------------------------


def add(*jobs: dict[str, Any]) -> Step:
    """Add jobs, each by a call of its own."""
    return Step("add", {"jobs": list(jobs)})


def add_bulk(*jobs: dict[str, Any], queue: str = "line") -> Step:
    return Step("add_bulk", {"queue": queue, "jobs": list(jobs)})


def flow(*trees: dict[str, Any], bulk: bool = False, own: bool = False) -> Step:
    """Add flows: as BullMQ stores them, or with `own` as flownb does, which BullMQ's producer knows nothing of."""
    return Step("flow", {"trees": list(trees), "bulk": bulk, "semantics": "flownb" if own else "bullmq"})


def work(*queues: str, do: tuple[Any, ...] = (), **options: Any) -> Step:
    """Start workers; `do` is what jobs do whose data say nothing, `hears` what their own listeners listen to."""
    return Step("work", {"queues": queues or ("line",), "deeds": list(do), **options})


STOP = Step("stop")  #: close all workers
OVERHEARD = Step("overheard")  #: what workers told their own listeners, in order


def run(*queues: str, do: tuple[Any, ...] = (), **options: Any) -> Step:
    """Have workers until nothing of their queues waits, runs or is delayed; close them."""
    return Step("run", {"queues": queues or ("line",), "deeds": list(do), **options})


def until(state: str, *jobs: str) -> Step:
    return Step("until", {"state": state, "jobs": jobs})


def until_called(*names: str) -> Step:
    """Wait until the functions of these jobs have been called, as often as a name is said."""
    return Step("until_called", {"names": names})


def opens(gate: str = "gate") -> Step:
    return Step("open", {"gate": gate})


def after(milliseconds: int) -> Step:
    """Let time pass, where it is what the scenario is about."""
    return Step("sleep", {"milliseconds": milliseconds})


def lost(job: str) -> Step:
    """Let a worker have taken a waiting job, and be gone: the job is active without a lease."""
    return Step("lost", {"job": job if ":" in job else f"line:{job}"})


def listen(queue: str = "line") -> Step:
    """Hear a queue's events, from the first on."""
    return Step("listen", {"queue": queue})


def heard(job: str | None, queue: str = "line") -> Step:
    """Say what the listener heard of a job, or of the queue itself (None), once it has heard all there is."""
    return Step("heard", {"job": job, "queue": queue})


def tree(job: str, **bounds: int) -> Step:
    """Read a flow from a job down, siblings by their ids."""
    queue, id = job.split(":")
    return Step("tree", {"queue": queue, "id": id, **bounds})


class _Asked:
    """What can be asked of a queue, a job or a worker: ``of("a").get_state()`` is a step."""

    def __init__(self, where: str, name: Any) -> None:
        self._where = where
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Step]:
        def step(*args: Any, **named: Any) -> Step:
            told = {"where": self._where, "name": self._name, "method": method}
            return Step("call", told | {"args": list(args), "named": named})

        return step


def on(queue: str) -> _Asked:
    return _Asked("queue", queue)


def of(job: str) -> _Asked:
    return _Asked("job", job if ":" in job else f"line:{job}")


def worker(number: int = 0) -> _Asked:
    """Ask the worker that was started as the first, or the `number`-th after it."""
    return _Asked("worker", number)


line = on("line")


def read(job: str, *fields: str) -> Step:
    """Read fields of a job as its handle has them, fresh."""
    return Step("read", {"name": job if ":" in job else f"line:{job}", "fields": list(fields)})


RUNS = Step("runs")  #: the names of the jobs in the order in which their functions were called
CALLED = Step("called")  #: the same in no order
