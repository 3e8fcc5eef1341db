"""What is stored, read by a plain Redis client: no peer's word is taken for it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis import Redis

# One look at one moment: {job key, word of the key it stands in, its hash as a flat list}, ...
_LOOK = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'bull:*:*')) do
  local queue, word = key:match('^(bull:[^:]+):([^:]+)$')
  local kind = queue and queue ~= 'bull:flownb' and redis.call('TYPE', key).ok
  local ids = {}
  if kind == 'list' then ids = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'zset' and word ~= 'marker' then ids = redis.call('ZRANGE', key, 0, -1) end
  for _, id in ipairs(ids) do
    local job = queue .. ':' .. id
    found[#found + 1] = {job, word, redis.call('HGETALL', job)}
  end
end
return found
"""


@dataclass
class StoredJob:
    """One job's hash, and the state its queue's keys say."""

    key: str
    state: str
    hash: dict[str, str]

    @property
    def value(self) -> Any:
        return json.loads(self.hash["returnvalue"])


class Stored:
    """The jobs under the prefix ``bull``, and the runs that the peers noted."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def ended(self, queue: str) -> int:
        """Return how many jobs of a queue have ended: cheap enough to be asked all the time."""
        return self.redis.zcard(f"bull:{queue}:completed") + self.redis.zcard(f"bull:{queue}:failed")

    def jobs(self) -> dict[str, StoredJob]:
        """Return all jobs by their names, which differ."""
        jobs: dict[str, StoredJob] = {}
        found: Any = self.redis.eval(_LOOK, 0)
        for key, word, flat in found:
            fields = [part.decode() for part in flat]
            stored = dict(zip(fields[::2], fields[1::2], strict=True))
            state = word.decode()
            state = (
                "waiting" if state in ("wait", "paused") else state
            )  # `paused`: BullMQ 5 holds its jobs there
            job = StoredJob(key.decode(), state, stored)
            assert stored.get("name"), f"{job.key} is {state} and has no hash"
            assert stored["name"] not in jobs, f"{job} is also {jobs[stored['name']]}"
            jobs[stored["name"]] = job
        return jobs

    def states(self) -> dict[str, str]:
        return {name: job.state for name, job in self.jobs().items()}

    def runs(self) -> list[str]:
        """Return the names of jobs in the order in which processors were called for them."""
        return [run["name"] for run in self._runs()]

    def runs_by_peer(self) -> Counter[str]:
        return Counter(run["by"] for run in self._runs())

    def _runs(self) -> list[dict[str, str]]:
        return [json.loads(row) for row in self.redis.lrange("test:runs", 0, -1)]
