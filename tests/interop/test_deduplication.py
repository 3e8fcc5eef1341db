"""BullMQ's deduplication ids: flownb's worker frees an id, and lets the job kept behind it follow, as BullMQ's does."""

from __future__ import annotations

import json
from typing import Any

import pytest

UNLIKE = {
    "timestamp",
    "processedOn",
    "finishedOn",
    "failedReason",
    "stacktrace",
    "ft",
}  # times, words, flownb's own

MODES: dict[str, dict[str, Any]] = {
    "simple": {"id": "d"},
    "throttle": {"id": "d", "ttl": 60_000},
    "debounce": {"id": "d", "ttl": 60_000, "extend": True, "replace": True},
    "keep the last": {"id": "d", "keepLastIfActive": True},
}


def job(name: str, how: dict[str, Any], data: dict[str, Any] | None = None, **opts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "data": {"do": "value", "value": name} | (data or {}),
        "opts": {"deduplication": how, **opts},
    }


def stored_of(redis, queue: str) -> dict[str, Any]:
    """What a queue holds, without times and without what only one of the two writes."""
    found: dict[str, Any] = {}
    for key in sorted(key.decode() for key in redis.keys(f"bull:{queue}:*")):
        name = key.removeprefix(f"bull:{queue}:")
        if name in ("meta", "marker", "stalled-check", "events", "pc"):
            continue
        match redis.type(key).decode():
            case "hash":
                fields = {field.decode(): value.decode() for field, value in redis.hgetall(key).items()}
                fields = {field: value for field, value in fields.items() if field not in UNLIKE}
                found[name] = fields | {"opts": json.loads(fields["opts"])}
            case "zset":
                found[name] = sorted(redis.zrange(key, 0, -1))
            case "list":
                found[name] = redis.lrange(key, 0, -1)
            case "string":
                found[name] = redis.get(key), redis.pttl(key) > 0
    return found


def events_of(redis, queue: str) -> list[tuple[str, ...]]:
    found = [event for _, event in redis.xrange(f"bull:{queue}:events")]
    words = (b"event", b"jobId", b"prev", b"deduplicatedJobId", b"name")
    return [tuple(event[word].decode() for word in words if word in event) for event in found]


def played(
    peers, redis, until, worker: str, producer: str, how: dict[str, Any], fails: bool, later: dict[str, Any]
):
    """One job runs while two more of its id are added; when all has ended, one more. Return what is left."""
    redis.flushall()
    queue = f"{worker}-line"
    peers[producer].ask("add_jobs", queue=queue, jobs=[job("first", how, {"do": "hold", "fails": fails})])
    until(lambda: redis.llen("test:runs") == 1)
    for name in ("second", "third"):
        peers[producer].ask("add_jobs", queue=queue, jobs=[job(name, how, **later)])
    redis.set("test:open", 1)

    def has_ended():
        waiting = redis.exists(
            *(f"bull:{queue}:{name}" for name in ("wait", "active", "delayed", "prioritized"))
        )
        return not waiting and redis.exists(f"bull:{queue}:completed", f"bull:{queue}:failed")

    until(has_ended)
    peers[producer].ask("add_jobs", queue=queue, jobs=[job("last", how)])
    until(has_ended)
    runs = [json.loads(run)["name"] for run in redis.lrange("test:runs", 0, -1)]
    return runs, stored_of(redis, queue), events_of(redis, queue)


@pytest.mark.parametrize("producer", ["node6", "node5"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_an_id_is_free_when_its_job_has_ended_as_with_bullmqs_worker(
    peers, redis, until, mode, fails, producer
):
    bullmqs = played(peers, redis, until, producer, producer, MODES[mode], fails, {})
    flownbs = played(peers, redis, until, "flownb", producer, MODES[mode], fails, {})

    assert flownbs[0] == bullmqs[0]
    assert flownbs[1] == bullmqs[1]
    assert flownbs[2] == bullmqs[2]


@pytest.mark.parametrize("later", [{"delay": 60}, {"priority": 5}, {"lifo": True}, {"attempts": 3}])
def test_the_job_that_was_kept_begins_as_its_options_say(peers, redis, until, later):
    bullmqs = played(peers, redis, until, "node6", "node6", MODES["keep the last"], False, later)
    flownbs = played(peers, redis, until, "flownb", "node6", MODES["keep the last"], False, later)

    assert flownbs == bullmqs
    assert flownbs[0] == ["first", "third", "last"]


def test_a_job_that_is_removed_frees_its_id(peers, redis):
    import flownb as fn

    peers["node6"].ask("add_jobs", queue="nobody", jobs=[job("first", MODES["simple"])])
    (one,) = fn.Queue("nobody").get_jobs("waiting")

    one.remove()

    assert redis.keys("bull:nobody:d*") == []
