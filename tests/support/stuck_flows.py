"""Puts flows into the states in which they are stuck, by the calls that workers make."""

from __future__ import annotations

import re

from redis import Redis

import flownb as fn
from flownb.wire import keys
from flownb.wire.lease_records import Death, FetchingWorker
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from tests.support.server import client_for_all


class Stage:
    """Puts flows into the states in which they are stuck, by the calls that workers make."""

    def __init__(self, connection):
        self.connection = connection
        self.redis = client_for_all(connection)
        self.store = Store(self.redis, "bull")
        self.calls = 0
        self._signs = dict[str, Redis]()  # by queue

    def add(self, *children, name="total", queue="totals", **more):
        return fn.add(
            {"name": name, "queueName": queue, "children": list(children), **more}, connection=self.connection
        )

    def serve(self, *queues, interval=60_000, most=3):
        """Sweep, and show a sign, as every worker does: so it is known that somebody serves."""
        for queue in queues:
            self.redis.delete(f"bull:{queue}:stalled-check")
            if queue not in self._signs:
                pool = self.redis.connection_pool
                self._signs[queue] = Redis(connection_pool=pool, single_connection_client=True)
            self._signs[queue].client_setname(keys.worker_sign(f"bull:{queue}"))
        self.store.leases.sweep_stalled([f"bull:{queue}" for queue in queues], interval=interval, most=most)

    def close(self):
        for sign in self._signs.values():
            sign.connection.disconnect()
            sign.close()

    def take(self, queue, want=1, limiter=None, alone=False):
        self.calls += 1
        limiters = {f"bull:{queue}": limiter} if limiter else None
        worker = FetchingWorker(token=f"w:{self.calls}", lock_ms=600_000, limiters=limiters, alone=alone)
        return self.store.leases.finish_and_fetch(
            [f"bull:{queue}"], outcomes=[], want=want, worker=worker
        ).taken

    def kill(self, taken, *, alone, most):
        """The process that runs the job dies."""
        death = Death("begun", alone=alone)
        self.store.leases.give_back(taken.base, {taken.record.id: taken.token}, death=death, most=most)

    def finish(self, taken, kind, **outcome):
        run = taken.base, taken.record.id, taken.token, taken.record.attempts_started
        worker = FetchingWorker(token="w", lock_ms=60_000)
        turn = self.store.leases.finish_and_fetch(
            [], outcomes=[Outcome(*run, kind, **outcome)], want=0, worker=worker
        )
        assert turn.answers == ["done"]

    def fail(self, taken, reason="ValueError: no", **outcome):
        self.finish(
            taken, "failed", **{"reason": reason, "stacktrace": "[]", "attempts": 1, "why": None, **outcome}
        )

    def dump(self):
        dumped = {key: self.redis.dump(key) for key in self.redis.scan_iter()}
        for key in dumped:
            if key.endswith(b":dependencies"):  # a large set moves its members about by itself
                dumped[key] = sorted(self.redis.smembers(key))
        return dumped

    def explain(self, flow):
        """Return the reasons as tuples; nothing may have been written."""
        before = self.dump(), self.redis.dbsize()
        frame = flow.explain()
        assert (self.dump(), self.redis.dbsize()) == before
        assert list(frame.columns) == ["job", "why", "fix"]
        assert frame.dtypes.astype(str).tolist() == ["object"] * 3
        return list(frame.itertuples(index=False, name=None))

    def only(self, flow):
        (reason,) = self.explain(flow)
        return reason


def row(name="row", **more):
    return {"name": name, "queueName": "rows", **more}


def says(pattern, text):
    assert re.fullmatch(pattern, text), text
    return True
