"""The side of the package bullmq of PyPI in the comparison; the counterpart of node/peer.mjs (see peer_protocol.py)."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from bullmq import FlowProducer, Queue, Worker
from peer_protocol import Answer, fan_out, measured, serve

SETTINGS: Any = {"connection": os.environ["BENCH_URL"]}


class BullmqPy:
    """The measurements; each is asked for by the name of its method, and runs on one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.producer = self._run(self._made(FlowProducer, SETTINGS["connection"]))
        self.items = self._run(self._made(Queue, "items", SETTINGS))
        self.root = ""
        self.ended: asyncio.Future[Any] | None = None
        self.workers: list[Worker] = []

    def _run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _made(self, kind: Any, *arguments: Any) -> Any:
        return kind(*arguments)

    async def _add(self, tree: dict[str, Any]) -> Answer:
        added = await self.producer.add(tree)
        self.root = added["job"].id
        return {}

    def warm_add(self, n: int) -> Answer:
        return dict(self._run(self._add(fan_out(n))))

    def add(self, n: int) -> Answer:
        tree = fan_out(n)
        return measured(lambda: self._run(self._add(tree)))

    async def _item(self, job: Any, token: str) -> Any:
        return job.data["index"]

    async def _aggregate(self, job: Any, token: str) -> Any:
        start = time.perf_counter()
        values = [int(value) for value in (await job.getChildrenValues()).values()]
        return {"count": len(values), "sum": sum(values), "ms": (time.perf_counter() - start) * 1000}

    async def _start(self, concurrency: int) -> Answer:
        for queue, processor, many in (("items", self._item, concurrency), ("agg", self._aggregate, 1)):
            worker = Worker(queue, processor, {**SETTINGS, "concurrency": many})
            worker.on("completed", self._completed)
            self.workers.append(worker)
        return {}

    def _completed(self, job: Any, value: Any) -> None:
        if self.ended and not self.ended.done() and job.queue.name == "agg":
            self.ended.set_result(value)

    def start(self, concurrency: int) -> Answer:
        return dict(self._run(self._start(concurrency)))

    async def _until_ended(self, work: Any) -> Any:
        self.ended = self.loop.create_future()
        await work
        value = await self.ended
        return json.loads(value) if isinstance(value, str) else value

    def warm_drain(self, n: int) -> Answer:
        return {"count": self._run(self._until_ended(self._add(fan_out(n))))["count"]}

    def load(self, n: int) -> Answer:
        async def load() -> None:
            await self.items.pause()
            await self._add(fan_out(n))

        self._run(load())
        return {}

    def drain(self) -> Answer:
        async def resume() -> None:
            await self.items.resume()

        return measured(lambda: dict(self._run(self._until_ended(resume()))))

    def end(self) -> None:
        os._exit(0)  # its workers would wait for their blocked connections


if __name__ == "__main__":
    serve(BullmqPy())
