"""flownb's side of the conformance suite: plays steps by public names; the counterpart of node/conformance.mjs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from redis import Redis

import flownb as fn
from tests.support.event_listeners import listening

_SECONDS = ("lock_duration", "stalled_interval")  # BullMQ's are milliseconds

_DURATIONS = {"change_delay": 0, "clean": 0, "set_global_rate_limit": 1}  # which argument is one


class Refused(Exception):
    """What the library said when it was asked."""


class FlownbSide:
    """Plays the steps of scenarios, each by the name of its method."""

    name = "flownb"

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.workers: list[Any] = []
        self.listeners: list[Any] = []
        self.said: list[Any] = []  # by workers to their own listeners

    def ask(self, what: str, **told: Any) -> Any:
        """Do one thing; raise `Refused` with what the library raised."""
        try:
            return _told(getattr(self, what)(**deepcopy(told)))
        except (fn.FlownbError, TypeError, TimeoutError, AttributeError) as error:
            raise Refused(f"{type(error).__name__}: {error}") from error

    def begin(self) -> None:
        """Forget the scenario before."""
        self.said.clear()

    def add(self, jobs: list[Any]) -> None:
        for job in jobs:
            fn.Queue(job["queueName"]).add(job["name"], job["data"], job["opts"])

    def add_bulk(self, queue: str, jobs: list[Any]) -> int:
        parts = ("name", "data", "opts")
        return len(fn.Queue(queue).add_bulk([{part: job[part] for part in parts} for job in jobs]))

    def flow(self, trees: list[Any], bulk: bool, semantics: str) -> None:
        producer = fn.FlowProducer()
        if bulk:
            producer.add_bulk(trees, semantics=semantics)
        else:
            for tree in trees:
                producer.add(tree, semantics=semantics)

    def work(
        self,
        queues: Iterable[str],
        deeds: list[Any],
        backoff: list[int] | None = None,
        hears: Iterable[str] = (),
        **options: Any,
    ) -> None:
        for name in _SECONDS:
            if name in options:
                options[name] /= 1000
        if backoff:
            options["backoff_strategy"] = lambda attempts, *_: _pause(backoff[attempts - 1])
        for queue in queues:
            worker = fn.Worker(queue, lambda job: self._perform(job, deeds), **options)
            for event in hears:
                worker.on(event, lambda *about, event=event: self.said.append([event, *about]))
            self.workers.append(worker.start())

    def stop(self) -> None:
        while self.workers:
            self.workers.pop().close()

    def end(self) -> None:
        self.stop()
        while self.listeners:
            self.listeners.pop().close()

    def listen(self, queue: str) -> None:
        self.told: list[Any] = []
        self.listeners.append(listening(queue, self.told, last_event_id="0").start())

    def heard(self, queue: str) -> list[dict[str, Any]]:
        told = [self.told.pop(0) for _ in range(len(self.told))]
        return [_event(one) for one in told]

    def tree(self, queue: str, id: str, **bounds: int) -> Any:
        return _tree(fn.FlowProducer().get_flow(queue, id, **bounds))

    def overheard(self) -> list[Any]:
        return list(self.said)

    def call(self, where: str, name: Any, method: str, args: list[Any], named: dict[str, Any]) -> Any:
        if method in _DURATIONS:
            args[_DURATIONS[method]] /= 1000
        return getattr(self._target(where, name), method)(*args, **named)

    def read(self, name: str, fields: list[str]) -> Any:
        job = self._target("job", name)
        return {field: getattr(job, field) for field in fields}

    def _target(self, where: str, name: Any) -> Any:
        if where == "queue":
            return fn.Queue(name)
        if where == "worker":
            return self.workers[name]
        queue, id, *scheduler = name.split(":")
        if scheduler:
            told = fn.Queue(queue).get_job_scheduler(*scheduler)
            id = f"{id}:{scheduler[0]}:{told and told['next']}"
        job = fn.Queue(queue).get_job(id)
        if job is None:
            raise fn.JobMissing(f"there is no job {name}")
        return job

    # ---- what a job does ----------------------------------------------------------------------------

    def _perform(self, job: fn.Job, own_deeds: list[Any]) -> Any:
        self.redis.rpush("test:runs", job.name)
        do = job.data.get("do", own_deeds) if isinstance(job.data, dict) else own_deeds
        value = None
        for deed, *given in do:
            value = getattr(self, f"_{deed}")(job, *given)
        return value

    def _return(self, job: fn.Job, value: Any) -> Any:
        return value

    def _raise(self, job: fn.Job, why: str) -> None:
        raise RuntimeError(why)

    def _give_up(self, job: fn.Job, why: str) -> None:
        raise fn.UnrecoverableError(why)

    def _raise_first(self, job: fn.Job, times: int) -> None:
        if job.attempts_made < times:
            raise RuntimeError(f"attempt {job.attempts_made}")

    def _hold(self, job: fn.Job, gate: str) -> None:
        while not self.redis.exists(f"test:{gate}"):
            time.sleep(0.005)

    def _nap(self, job: fn.Job, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)

    def _progress(self, job: fn.Job, value: Any) -> None:
        job.update_progress(value)

    def _log(self, job: fn.Job, row: str) -> int:
        return job.log(row)

    def _data(self, job: fn.Job, value: Any) -> None:
        job.update_data(value)

    def _values(self, job: fn.Job) -> Any:
        failed = job.get_ignored_children_failures()
        found = [value for key, value in job.get_children_values().items() if key not in failed]
        return sorted(found, key=lambda value: json.dumps(value, sort_keys=True))

    def _values_in_order(self, job: fn.Job) -> Any:
        return list(job.get_children_values().values())

    def _ignored(self, job: fn.Job) -> Any:
        return job.get_ignored_children_failures()

    def _dependencies(self, job: fn.Job) -> Any:
        return dict(sorted(job.get_dependencies_count().items()))

    def _attempts(self, job: fn.Job) -> int:
        return job.attempts_made

    def _shown(self, job: fn.Job) -> Any:
        return {"name": job.name, "data": job.data, "priority": job.opts.get("priority", 0)}

    def _limit_once(self, job: fn.Job, milliseconds: int) -> None:
        if self.redis.set(f"test:limited:{job.id}", 1, nx=True):
            raise fn.RateLimitError(milliseconds / 1000)

    def _grow(self, job: fn.Job, children: list[Any]) -> Any:
        return job.add_children(children)


def _tree(node: Any) -> Any:
    if node is None or "children" not in node:
        return node
    children = sorted(map(_tree, node["children"]), key=lambda child: child["job"].id)
    return {**node, "children": children}


def _pause(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000


def _event(event: Any) -> dict[str, Any]:
    """Return an event as BullMQ's listener is told it."""
    names = {"failed_reason": "failedReason", "attempts_made": "attemptsMade", "progress": "data"}
    found = {names.get(name, name): value for name, value in event.data.items()}
    if "attemptsMade" in found:
        found["attemptsMade"] = str(found["attemptsMade"])
    own = {"jobId": event.job_id, "prev": event.prev, "delay": event.delay and str(event.delay)}
    return {"event": event.name, **{name: value for name, value in own.items() if value is not None}, **found}


def _told(answer: Any) -> Any:
    """Return an answer as JSON has it, jobs by their ids."""
    if isinstance(answer, fn.Job):
        return {"job": answer.id}
    if isinstance(answer, Mapping):
        return {str(key): _told(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [_told(item) for item in answer]
    return answer
