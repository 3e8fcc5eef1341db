"""Golden dumps: one scripted history, and what a server holds after it, without what must differ between two runs."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from redis import Redis

from tests.support.peers.process import ROOT, Peer
from tests.support.peers.stored import Stored

PAGE = ROOT / "docs" / "wire-format.md"
#: queue -> what is added to it alone; worked off one queue after another, one job at a time, so that all order is fixed
QUEUES = ("line", "soon", "retry", "items", "top", "one")
_TIMES = ("timestamp", "processedOn", "finishedOn")
_JSON = ("data", "opts", "parent", "returnvalue", "progress", "stacktrace")
_LEFT_OUT = (":stalled-check", ":stalled", ":lock")  # a worker's own clock


def node(name: str, queue: str, do: str, *children: Any, **opts: Any) -> dict[str, Any]:
    """Describe a job whose id is its name."""
    data = {"do": do, "value": {"of": name, "list": [], "half": 0.5}, "why": "it broke", "times": 1}
    made = {"name": name, "queueName": queue, "data": data, "opts": {"jobId": f"id-{name}", **opts}}
    return made | {"children": list(children)} if children else made


JOBS = [
    node("plain", "line", "value"),
    node("reports", "line", "report", keepLogs=5, sizeLimit=10_000),
    node("first", "line", "value", lifo=True),
    node("rank-2", "line", "value", priority=2),
    node("rank-1", "line", "value", priority=1),
    node("again-rank-1", "line", "value", priority=1),
    node("breaks", "line", "fail"),
    node("gives-up", "line", "give_up", attempts=3, backoff={"type": "fixed", "delay": 10}),
    node("plain", "line", "value"),  # an id that is there
    node("soon", "soon", "value", delay=20),
    node("tomorrow", "later", "value", delay=86_400_000),
    node("mends", "retry", "fail_first", attempts=3, backoff={"type": "exponential", "delay": 10}),
]
FLOWS = [
    node("parent", "top", "gather", node("child-1", "items", "value"), node("child-2", "items", "value")),
    node("urgent", "top", "gather", node("child-3", "items", "value"), priority=3),
    node("patient", "top", "gather", node("child-4", "items", "value"), delay=1),
    node("tree", "one", "gather", node("middle", "one", "gather", node("leaf", "one", "value"))),
    node("hit", "top", "gather", node("fpof", "items", "fail", failParentOnFailure=True)),
    node("unhurt", "top", "gather", node("idof", "items", "fail", ignoreDependencyOnFailure=True)),
    node("unaware", "top", "gather", node("rdof", "items", "fail", removeDependencyOnFailure=True)),
    node("eager", "top", "gather", node("cpof", "items", "fail", continueParentOnFailure=True)),
    node("stuck", "top", "gather", node("no-policy", "items", "fail")),
]


def add_all(peer: Peer, **how: str) -> None:
    """Add the jobs and the flows of the history; the line is held meanwhile."""
    peer.ask("pause", queue="line")
    for job in JOBS:
        peer.ask("add_jobs", queue=job["queueName"], jobs=[job])
    for tree in FLOWS:
        peer.ask("add_flow", tree=tree, **how)
    peer.ask("resume", queue="line")


def work_all(peer: Peer, stored: Stored, until: Any) -> None:
    """Work off each queue after the one before, one job at a time."""
    for queue in QUEUES:
        to_do = [f"bull:{queue}:{state}" for state in ("wait", "active", "prioritized", "delayed")]
        peer.ask("work", queue=queue)
        until(lambda keys=to_do: not stored.redis.exists(*keys))
        peer.ask("stop")


def dump(redis: Redis, queues: Collection[str] = QUEUES) -> dict[str, Any]:
    """Return what every key of BullMQ's means; times are told as the formula they must obey.

    Of these queues alone: other tests' workers on this server keep theirs.
    """
    found = {}
    for key in sorted(key.decode() for key in redis.keys("bull:*")):
        if key.split(":")[1] in queues and not key.endswith(_LEFT_OUT):
            found[key.removeprefix("bull:")] = _meaning(redis, key)
    return found


def worked(found: dict[str, Any]) -> dict[str, Any]:
    """Return a dump with the events of each job for itself, and without what an idle worker has just eaten."""
    kept = {key: value for key, value in found.items() if not key.endswith(":marker")}
    for key in kept:
        if key.endswith(":events"):
            kept[key] = by_job(kept[key])
    return kept


def own_fields() -> list[str]:
    """Return flownb's fields of a job's hash, as docs/wire-format.md lists them."""
    table = PAGE.read_text().split("## Fields of a job's hash")[1].split("## Keys")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def without_own_fields(found: dict[str, Any]) -> dict[str, Any]:
    """Return a dump without flownb's own fields of jobs."""
    own = own_fields()
    return {
        key: {name: value for name, value in meaning.items() if name not in own}
        if isinstance(meaning, dict)
        else meaning
        for key, meaning in found.items()
    }


def by_job(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the events of each job in order, as text; those of the queue under ``queue``."""
    told: dict[str, list[str]] = {}
    for event in events:
        rest = " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(event.items())
                        if name not in ("event", "jobId"))  # fmt: skip
        told.setdefault(event.get("jobId", "queue"), []).append(f"{event['event']} {rest}".strip())
    return told


def differences(theirs: Any, ours: Any, where: str = "") -> Iterator[str]:
    """Say in a line each what one dump has and the other has not."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            path = f"{where} {name}".strip()
            yield from differences(theirs.get(name, "nothing"), ours.get(name, "nothing"), path)
    elif theirs != ours:
        yield f"{where}: {_told(theirs)} | {_told(ours)}"


def _told(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _meaning(redis: Redis, key: str) -> Any:
    kind = redis.type(key).decode()
    if kind == "hash":
        return _hash(key, {name.decode(): value.decode() for name, value in redis.hgetall(key).items()})
    if kind == "zset":
        scores = {member.decode(): score for member, score in redis.zrange(key, 0, -1, withscores=True)}
        return {member: _score(redis, key, member, score) for member, score in scores.items()}
    if kind == "list":
        return [row.decode() for row in redis.lrange(key, 0, -1)]
    if kind == "set":
        return sorted(member.decode() for member in redis.smembers(key))
    if kind == "stream":
        return [_event(fields) for _, fields in redis.xrange(key)]
    return (redis.get(key) or b"a short time").decode()  # what has just run out


def _hash(key: str, fields: dict[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = dict(fields)
    for name in fields:
        if name in _TIMES:
            told[name] = "a time"
        elif name in _JSON:
            told[name] = json.loads(fields[name])
    if "timestamp" in told.get("opts", {}):
        told["opts"]["timestamp"] = "a time"
    if key.endswith(":processed"):
        return {child: json.loads(value) for child, value in fields.items()}
    if "failedReason" in told:
        told["failedReason"] = without_type(told["failedReason"])
    if key.endswith(":failed"):
        return {child: without_type(reason) for child, reason in fields.items()}
    if "stacktrace" in told:  # each language writes its own
        told["stacktrace"] = f"{len(told['stacktrace'])} traces"
    if key.endswith(":meta"):
        told.pop("version", None)  # only BullMQ's Queue writes the version of its package
    return told


def _score(redis: Redis, key: str, member: str, score: float) -> Any:
    queue, _, word = key.rpartition(":")
    job = {name.decode(): int(value) for name, value in redis.hgetall(f"{queue}:{member}").items()
           if name.decode() in (*_TIMES, "delay")}  # fmt: skip
    if word == "unsuccessful":
        return "a time"
    if word in ("completed", "failed"):
        return "finishedOn" if score == job["finishedOn"] else score
    if word == "waiting-children":
        return "timestamp" if score == job["timestamp"] else score
    if word == "delayed":
        due = (job["timestamp"] + job["delay"]) * 4096
        return "due * 4096" if score == due else "due later" if due < score < due + 60_000 * 4096 else score
    if word == "marker" and member == "1":
        (first,) = redis.zrange(f"{queue}:delayed", 0, 0, withscores=True) or [(b"", -1.0)]
        return "due" if score == first[1] / 4096 else "past"
    return score


def _event(fields: dict[bytes, bytes]) -> dict[str, Any]:
    told: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    for name in ("returnvalue", "data"):
        if name in told:
            told[name] = json.loads(told[name])
    return plain_event(told)


def plain_event(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out of an event what differs between two runs."""
    if "delay" in told:
        told["delay"] = "a time"
    if "failedReason" in told:
        told["failedReason"] = without_type(told["failedReason"])
    return told


def without_type(reason: str) -> str:
    """Leave out what flownb says of an error in its own words: its type, and that workers died."""
    reason = re.sub(r"^crashed its worker \d+ times?$", "job stalled more than allowable limit", reason)
    return re.sub(r"^\w+Error: ", "", reason)
