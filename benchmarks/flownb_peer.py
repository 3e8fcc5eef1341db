"""flownb's side of the comparison, told what to do (peer_protocol.py); the counterpart of node/peer.mjs."""

from __future__ import annotations

import itertools
import json
import os
import time
from typing import Any

from peer_protocol import Answer, fan_out, measured, serve, timed

from flownb import Connection, Flow, FlowProducer, Queue, Worker


def chain(id: str) -> dict[str, Any]:
    """Four stages, each the only child of the next; the last on a queue of its own, so that its end is seen."""
    tree: dict[str, Any] = {"name": "one", "queueName": "chain", "data": {"index": 1}}
    for name in ("two", "three"):
        tree = {"name": name, "queueName": "chain", "data": {"index": 1}, "children": [tree]}
    return {
        "name": "four",
        "queueName": "end",
        "data": {"index": 1},
        "children": [tree],
        "opts": {"jobId": id},
    }


def process(job: Any) -> Any:
    """The no-op; or, for the root, the check that every child's value has arrived."""
    if job.queue_name != "agg":
        return job.data["index"]
    start = time.perf_counter()
    values = list(job.get_children_values().values())
    ms = (time.perf_counter() - start) * 1000
    return {"count": len(values), "sum": sum(values), "ms": ms}


class Ends:
    """Sleeps until a queue tells of a completed root: exact, and nearly free while it waits."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self._client = connection.blocking_client()
        self._stream = f"{connection.prefix}:{queue}:events"
        self.from_now()

    def from_now(self) -> None:
        last: Any = self._client.xrevrange(self._stream, count=1)
        self._seen = last[0][0] if last else "0"

    def wait(self, id: str) -> Any:
        until = time.monotonic() + 100
        while time.monotonic() < until:
            for _, entries in self._client.xread({self._stream: self._seen}, block=2000) or ():
                for self._seen, fields in entries:
                    if fields[b"event"] == b"completed" and fields[b"jobId"] == id.encode():
                        return json.loads(fields[b"returnvalue"])
        raise TimeoutError("the root has not completed in 100 s")


class Peer:
    """The measurements; each is asked for by the name of its method."""

    def __init__(self) -> None:
        self.connection = Connection(os.environ["BENCH_URL"])
        self.connection.ensure_writable()
        self.producer = FlowProducer(connection=self.connection)
        self.flow: Flow | None = None
        self.numbers = itertools.count(1)

    def warm_add(self, n: int) -> Answer:
        self.producer.add(fan_out(n))
        return {}

    def add(self, n: int) -> Answer:
        tree = fan_out(n)

        def work() -> Answer:
            self.flow = self.producer.add(tree)
            return {}

        return measured(work)

    def start(self, concurrency: int, root: bool = True) -> Answer:
        """Serve the children's queue and, with `root`, that of the roots."""
        queues = ["items", "agg"] if root else ["items"]
        self.worker = Worker(queues, process, concurrency=concurrency, connection=self.connection)
        self.worker.start()
        self.ends = Ends(self.connection, "agg")
        return {}

    def warm_drain(self, n: int) -> Answer:
        flow = self.producer.add(fan_out(n))
        return {"count": self.ends.wait(flow.job.id)["count"]}

    def load(self, n: int) -> Answer:
        Queue("items", connection=self.connection).pause()
        self.flow = self.producer.add(fan_out(n))
        self.ends.from_now()
        return {}

    def drain(self) -> Answer:
        assert self.flow is not None
        id = self.flow.job.id
        queue = Queue("items", connection=self.connection)

        def work() -> Answer:
            queue.resume()
            return dict(self.ends.wait(id))

        return measured(work)

    def poll(self, times: int, n: int) -> Answer:
        assert self.flow is not None
        ms, progress = timed(times, self.flow.progress)
        return {"ms": ms, "shown": progress.total - 1}

    def table(self, times: int, n: int) -> Answer:
        """All jobs of the flow as one table."""
        assert self.flow is not None
        ms, found = timed(times, self.flow.jobs)
        return {"ms": ms, "shown": len(found) - 1}

    def start_chain(self) -> Answer:
        self.worker = Worker(["chain", "end"], process, connection=self.connection)
        self.worker.start()
        self.ends = Ends(self.connection, "end")
        return {}

    def chain(self, times: int) -> Answer:
        """From adding to the root's end; and the same until `Flow.result` returns."""
        ms, result_ms = [], []
        for _ in range(times):
            tree = chain(f"root-{next(self.numbers)}")
            start = time.perf_counter()
            self.producer.add(tree)
            self.ends.wait(tree["opts"]["jobId"])
            ms.append((time.perf_counter() - start) * 1000)
        for _ in range(times):
            tree = chain(f"root-{next(self.numbers)}")
            start = time.perf_counter()
            self.producer.add(tree).result(timeout=20)
            result_ms.append((time.perf_counter() - start) * 1000)
        self.ends.from_now()
        return {"ms": ms, "result_ms": result_ms}

    def chain_once(self) -> Answer:
        """The first chain, which whoever serves it runs."""
        self.producer.add(chain("first")).result(timeout=20)
        return {}

    def burst(self, n: int) -> Answer:
        """So many chains, each added when the one before is stored."""
        for number in range(n):
            self.producer.add(chain(f"burst-{number}"))
        return {}

    def end(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    serve(Peer())
