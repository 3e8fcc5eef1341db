"""Plays a scenario on one side and tells what was answered, and what is stored after it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from redis import Redis

from tests.interop.conformance.flownb_side import Refused
from tests.interop.conformance.steps import QUEUES, Differs, Step
from tests.support.peers import golden
from tests.support.peers.process import PeerError

#: What flownb writes in a way of its own in every scenario, and the suite leaves out.
EVERYWHERE = (
    "`ValueError: no such user`: the type of an error stands before its message.",
    "Keys of children are `queue:id` in answers, `prefix:queue:id` where the prefix is another one.",
    "A job that failed because a child did, or because it stalled too often, has no stack trace: no function was called.",
    "`crashed its worker 2 times`: the reason of a job whose workers died too often. A death in which other jobs ran too is not enough.",
    "The event `drained` is told as often as a worker finds nothing to do.",
    "Its own fields of a job, listed on [wire-format.md](wire-format.md).",
    "`get_jobs` lists first what runs next, which is BullMQ's `asc`, and of completed and failed jobs what ended last.",
    "The words of a refusal.",
    "The counter `id` counts ids that flownb does not take from it.",
)
PATIENCE = 30.0  # seconds until a job is where the scenario wants it
_WAITING = ("wait", "active", "prioritized", "delayed")
_STATES = {"waiting": "wait"}
_MAY_BE_REFUSED = ("add", "add_bulk", "flow", "work", "call", "read")
_REFUSED = "refused"  # the words are each library's own
_NOT_CALLED = ("child ", "job stalled")  # so begin the reasons of jobs that failed without a call
_LONG = 10_000  # ms that a limit must hold to be looked at
_OWN_EVENTS = ("drained",)  # of a worker that looks around, as often as it does
_RUN_ID = re.compile(r"\brepeat:(\w+):(\d+)")  # of a job scheduler's job: its name says when it is due
_NEAR = 3 * 86_400_000  # ms from now within which a time was made of now
_SAID_OFFSET = 1000  # the one offset that scenarios give; others are made of the ms of the call


class Side(Protocol):
    """BullMQ in a Node process, or flownb."""

    name: str

    def ask(self, what: str, **told: Any) -> Any: ...


class Play:
    """One scenario on one side."""

    def __init__(self, side: Side, redis: Redis) -> None:
        self.side = side
        self.redis = redis
        self._count = 1  # of the steps
        self.answers: dict[str, Any] = {}
        self.left: dict[str, Any] = {}  # the keys that are stored at the end, and what they mean
        self.refusals: list[str] = []  # in the words of the library, for who reads a failure

    def all(self, steps: Iterable[Step | Differs]) -> dict[str, Any]:
        """Play the steps on an empty server; return what they answered and what they left."""
        self.redis.flushall()
        self.side.ask("begin")
        try:
            for step in steps:
                if isinstance(step, Step):
                    self._one(step)
                    self._count += 1
            self.left = self._stored()
        finally:
            self.redis.set("test:gate", 1)
            self.side.ask("end")
        return _plain({"answers": self.answers, **self.left})

    def _one(self, step: Step) -> None:
        own: Callable[..., Any] | None = getattr(self, f"_{step.do}", None)
        try:
            answer = own(**step.told) if own else self.side.ask(step.do, **step.told)
        except (PeerError, Refused) as error:
            if step.do not in _MAY_BE_REFUSED:
                raise
            self.refusals.append(f"{self.side.name}: {_title(step)}: {error}")
            answer = _REFUSED
        if answer is not None or step.do in ("call", "read", "tree"):
            self.answers[f"{self._count} {_title(step)}"] = _sorted(step, answer)

    # ---- steps that no library sees -----------------------------------------------------------------

    def _run(self, queues: Iterable[str], **options: Any) -> None:
        self.side.ask("work", queues=list(queues), **options)
        self._wait(lambda: all(self._is_quiet(queue) for queue in queues), f"quiet in {queues}")
        self.side.ask("stop")

    def _is_quiet(self, queue: str) -> bool:
        held = self.redis.hexists(f"bull:{queue}:meta", "paused")
        states = ("active",) if held else _WAITING
        return not self.redis.exists(*[f"bull:{queue}:{state}" for state in states])

    def _until(self, state: str, jobs: Iterable[str]) -> None:
        for job in jobs:
            self._wait(lambda job=job: self._state(job) == state, f"{job} {state}")

    def _state(self, job: str) -> str:
        queue, _, id = f"line:{job}".rpartition(":")
        queue = queue.removeprefix("line:") if job.count(":") else "line"
        for state in ("waiting", *_WAITING[1:], "waiting-children", "completed", "failed"):
            key = f"bull:{queue}:{_STATES.get(state, state)}"
            listed = state in ("waiting", "active")
            place = self.redis.lpos(key, id) if listed else self.redis.zscore(key, id)
            if place is not None:
                return state
        return "gone"

    def _until_called(self, names: Iterable[str]) -> None:
        self._wait(lambda: not Counter(names) - Counter(self._names()), f"{names} called")

    def _names(self) -> list[str]:
        return [name.decode() for name in self.redis.lrange("test:runs", 0, -1)]

    def _runs(self) -> list[str]:
        return self._names()

    def _called(self) -> list[str]:
        return sorted(self._names())

    def _open(self, gate: str) -> None:
        self.redis.set(f"test:{gate}", 1)

    def _sleep(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)

    def _lost(self, job: str) -> None:
        base, _, id = f"bull:{job}".rpartition(":")
        self.redis.lrem(f"{base}:wait", 1, id)
        self.redis.lpush(f"{base}:active", id)
        self.redis.hset(f"{base}:{id}", "processedOn", int(time.time() * 1000))
        self.redis.hincrby(f"{base}:{id}", "ats")

    def _heard(self, job: str | None, queue: str) -> list[str]:
        told: list[Any] = []
        self._wait(
            lambda: (
                told.extend(self.side.ask("heard", queue=queue))
                or len(told) >= self.redis.xlen(f"bull:{queue}:events")
            ),
            "all heard",
        )
        return without(
            golden.by_job([golden.plain_event(one) for one in told])["queue" if job is None else job]
        )

    def _wait(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"{self.side.name}: not {what}; {self._stored()}"
            time.sleep(0.004)

    # ---- what is left -------------------------------------------------------------------------------

    def _stored(self) -> dict[str, Any]:
        found = golden.without_own_fields(golden.worked(golden.dump(self.redis, QUEUES)))
        for key, meaning in list(found.items()):
            if isinstance(meaning, dict) and str(meaning.get("failedReason")).startswith(_NOT_CALLED):
                del meaning["stacktrace"]
            if key.endswith(":id") or (key.endswith(":limiter") and self.redis.pttl(f"bull:{key}") < _LONG):
                del found[key]
            if key.endswith(":meta"):
                meaning.pop(
                    "opts.maxLenEvents", None
                )  # BullMQ's Queue writes it at once, flownb with the first job
                if not meaning:
                    del found[key]
            if key.endswith(":events"):
                found[key] = {job: without(events) for job, events in meaning.items() if without(events)}
        return found


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Say in a line each what flownb has otherwise, beyond what it has otherwise everywhere."""
    return sorted(golden.differences(theirs, ours))


def without(events: list[str]) -> list[str]:
    return [event for event in events if not event.startswith(_OWN_EVENTS)]


def _sorted(step: Step, answer: Any) -> Any:
    """Bring what the server keeps in no order into one."""
    if isinstance(answer, dict) and "unprocessed" in answer and isinstance(answer["unprocessed"], list):
        return answer | {"unprocessed": sorted(answer["unprocessed"])}
    if (
        isinstance(answer, list)
        and all(isinstance(id, str) for id in answer)
        and step.told.get("method") == "clean"
    ):
        return sorted(answer)
    return answer


def _title(step: Step) -> str:
    if step.do == "call":
        given = [json.dumps(one) for one in step.told["args"]]
        given += [f"{name}={json.dumps(value)}" for name, value in step.told["named"].items()]
        return f"{step.told['name']} {step.told['method']}({', '.join(given)})"
    return f"{step.do} {step.told['name']}" if "name" in step.told else step.do


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what each writes in a way of its own everywhere: the prefix of keys, the type of an error, times."""
    text = re.sub(rf"bull:({'|'.join(QUEUES)}):", r"\1:", json.dumps(found))
    text = re.sub(r'(?<=")\w+Error: ', "", text)
    return _timeless(json.loads(_numbered(text)))


def _numbered(text: str) -> str:
    """Number the jobs of each job scheduler in their order, where the times in their ids are those of this run."""
    times = defaultdict[str, set[int]](set)
    for scheduler, at in _RUN_ID.findall(text):
        times[scheduler].add(int(at))

    def named(id: re.Match[str]) -> str:
        scheduler, at = id[1], int(id[2])
        return f"repeat:{scheduler}:#{sorted(times[scheduler]).index(at) + 1}" if _is_near(at) else id[0]

    return _RUN_ID.sub(named, text)


def _timeless(found: Any) -> Any:
    if isinstance(found, dict):
        told = {name: _timeless(value) for name, value in found.items()}
        if ("rjk" in told or "repeatJobKey" in told) and "delay" in told:
            told["delay"] = "a time"
        said = (_SAID_OFFSET,) if "every" in told else (_SAID_OFFSET, 0)
        if told.get("offset") is not None and int(told["offset"]) not in said:
            told["offset"] = "made"
        return told
    if isinstance(found, list):
        return [_timeless(one) for one in found]
    is_number = isinstance(found, int | float) or (isinstance(found, str) and found.isdecimal())
    return "a time" if is_number and _is_near(int(found)) else found


def _is_near(at: int) -> bool:
    return abs(at - time.time() * 1000) < _NEAR
