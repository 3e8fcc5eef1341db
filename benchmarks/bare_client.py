"""A client that does nothing but batch: the limit beside which flownb is measured.

It keeps BullMQ's stored layout for a parent with children - hashes, lists, sets and events are those that BullMQ writes
- and sends 500 jobs or 100 outcomes a call. It has no failures, retries, renewed leases, delays, priorities, checks of
what is stored, or answers to a call that is sent twice. Told what to do as the other peers are (peer_protocol.py).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import deque
from typing import Any

import msgpack
import redis
from peer_protocol import Answer, fan_out, measured, serve

JOBS_A_CALL = 500
OUTCOMES_A_CALL = 100
CALLS_IN_FLIGHT = 2
LEASE_MS = 30_000

ADD = """
local queue, parent_key, parent = ARGV[1], ARGV[2], ARGV[3]
local opts, now = ARGV[4], ARGV[5]
local ids, keys = {}, {}
for i, job in ipairs(cmsgpack.unpack(ARGV[6])) do
  local id = job[1]
  local key = queue .. ':' .. id
  ids[i], keys[i] = id, key
  redis.call('HSET', key, 'name', job[2], 'data', job[3], 'opts', opts, 'timestamp', now, 'delay', '0',
    'priority', '0', 'parentKey', parent_key, 'parent', parent)
  redis.call('XADD', queue .. ':events', '*', 'event', 'added', 'jobId', id, 'name', job[2])
  redis.call('XADD', queue .. ':events', '*', 'event', 'waiting', 'jobId', id)
end
redis.call('LPUSH', queue .. ':wait', unpack(ids))
redis.call('SADD', parent_key .. ':dependencies', unpack(keys))
redis.call('INCRBY', queue .. ':id', #ids)
redis.call('XTRIM', queue .. ':events', 'MAXLEN', '~', 10000)
"""

FINISH_AND_FETCH = """
local queue, now, token, parent_key = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local events = queue .. ':events'
local done = cmsgpack.unpack(ARGV[5])
local locks, scores, children, values = {}, {}, {}, {}
for i, outcome in ipairs(done) do
  local id, value = outcome[1], outcome[2]
  local key = queue .. ':' .. id
  redis.call('LREM', queue .. ':active', -1, id)
  redis.call('HSET', key, 'returnvalue', value, 'finishedOn', now)
  redis.call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
  locks[i], children[i] = key .. ':lock', key
  scores[#scores + 1], scores[#scores + 2] = now, id
  values[#values + 1], values[#values + 2] = key, value
end
if #done > 0 then
  redis.call('DEL', unpack(locks))
  redis.call('ZADD', queue .. ':completed', unpack(scores))
  redis.call('HSET', parent_key .. ':processed', unpack(values))
  redis.call('SREM', parent_key .. ':dependencies', unpack(children))
  redis.call('XTRIM', events, 'MAXLEN', '~', 10000)
end
local ids = redis.call('LRANGE', queue .. ':wait', -tonumber(ARGV[6]), -1)
if #ids == 0 then return cmsgpack.pack({}) end
redis.call('LTRIM', queue .. ':wait', 0, -#ids - 1)
redis.call('LPUSH', queue .. ':active', unpack(ids))
local jobs = {}
for i, id in ipairs(ids) do
  local key = queue .. ':' .. id
  redis.call('SET', key .. ':lock', token, 'PX', ARGV[7])
  redis.call('HSET', key, 'processedOn', now)
  redis.call('HINCRBY', key, 'ats', 1)
  redis.call('XADD', events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
  local found = redis.call('HMGET', key, 'name', 'data')
  jobs[i] = {id, found[1], found[2]}
end
return cmsgpack.pack(jobs)
"""


def now() -> str:
    return str(round(time.time() * 1000))


class Bare:
    """The measurements; each is asked for by the name of its method."""

    def __init__(self) -> None:
        self.client = redis.Redis(unix_socket_path=os.environ["BENCH_SOCKET"])
        self.add_sha = self.client.script_load(ADD)
        self.finish_sha = self.client.script_load(FINISH_AND_FETCH)
        self.token = str(uuid.uuid4())
        self.root = ""

    def _add(self, tree: dict[str, Any]) -> None:
        root = str(uuid.uuid4())
        self.root = key = f"bull:agg:{root}"
        self.client.hset(
            key,
            mapping={
                "name": tree["name"],
                "data": json.dumps(tree["data"]),
                "opts": "{}",
                "timestamp": now(),
            },
        )
        self.client.zadd("bull:agg:waiting-children", {root: 0})
        parent = json.dumps({"id": root, "queueKey": "bull:agg"})
        opts = json.dumps({"attempts": 0, "parent": {"id": root, "queue": "bull:agg"}})
        dumps = json.JSONEncoder(separators=(",", ":")).encode
        children = tree["children"]
        for start in range(0, len(children), JOBS_A_CALL):
            some = enumerate(children[start : start + JOBS_A_CALL], start)
            jobs = [(f"{root[:8]}-{i}", child["name"], dumps(child["data"])) for i, child in some]
            self.client.evalsha(self.add_sha, 0, "bull:items", key, parent, opts, now(), msgpack.packb(jobs))

    def warm_add(self, n: int) -> Answer:
        self._add(fan_out(n))
        return {}

    def add(self, n: int) -> Answer:
        tree = fan_out(n)

        def work() -> Answer:
            self._add(tree)
            return {}

        return measured(work)

    def start(self, concurrency: int) -> Answer:
        return {}

    def warm_drain(self, n: int) -> Answer:
        self._add(fan_out(n))
        return {"count": self._drain()["count"]}

    def load(self, n: int) -> Answer:
        self._add(fan_out(n))
        return {}

    def drain(self) -> Answer:
        return measured(self._drain)

    def _drain(self) -> Answer:
        """Run all children, with two batches in hand: the server works while this program does. Then the root."""
        connection = self.client.connection_pool.get_connection()
        awaited = 0
        outcomes: deque[list[tuple[str, str]]] = deque([] for _ in range(CALLS_IN_FLIGHT))
        while outcomes or awaited:
            while outcomes:
                connection.send_command(
                    *("EVALSHA", self.finish_sha, 0, "bull:items", now(), self.token, self.root),
                    *(msgpack.packb(outcomes.popleft()), OUTCOMES_A_CALL, LEASE_MS),
                )
                awaited += 1
            jobs = msgpack.unpackb(connection.read_response())
            awaited -= 1
            if jobs:
                outcomes.append([(id, json.dumps(json.loads(data)["index"])) for id, _, data in jobs])
        self.client.connection_pool.release(connection)
        if self.client.scard(f"{self.root}:dependencies"):
            raise RuntimeError("children are left")
        start = time.perf_counter()
        values = self._values()
        ms = (time.perf_counter() - start) * 1000
        return {"count": len(values), "sum": sum(values), "ms": ms}

    def _values(self) -> list[Any]:
        """The children's values in declared order, by the numbers in their ids."""
        found: Any = self.client.hgetall(f"{self.root}:processed")
        loads = json.loads
        return [loads(found[key]) for key in sorted(found, key=lambda key: int(key.rpartition(b"-")[2]))]

    def end(self) -> None:
        self.client.close()


if __name__ == "__main__":
    serve(Bare())
