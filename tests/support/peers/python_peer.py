"""A peer: the PyPI package bullmq, told by `process` what to do; the counterpart of tests/interop/node/peer.mjs, line for line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from bullmq import FlowProducer, Job, Queue, UnrecoverableError, WaitingChildrenError, Worker
from redis.asyncio import Redis

ME, SOCKET = sys.argv[1:]


class Peer:
    """What the tests ask for, each by the name of its method."""

    def __init__(self) -> None:
        self.options = {"connection": f"unix://{SOCKET}"}
        self.notes = Redis.from_url(f"unix://{SOCKET}")
        self.producer = FlowProducer(opts=self.options)
        self.queues: dict[str, Queue] = {}
        self.workers: list[Worker] = []

    def queue(self, name: str) -> Queue:
        if name not in self.queues:
            self.queues[name] = Queue(name, self.options)
        return self.queues[name]

    async def work(self, queue: str, **settings: Any) -> None:
        worker = Worker(queue, self.perform, self.options | settings)
        worker.on("error", lambda error, *_: print(f"{ME}: {error}", file=sys.stderr))
        self.workers.append(worker)

    async def stop(self) -> None:
        while self.workers:
            await self.workers.pop().close()

    async def add_flow(self, tree: dict[str, Any]) -> None:
        await self.producer.add(tree)

    async def add_jobs(self, queue: str, jobs: list[dict[str, Any]]) -> None:
        await self.queue(queue).addBulk([{"opts": {}, **job} for job in jobs])

    async def call(self, queue: str, method: str, args: Sequence[Any] = ()) -> Any:
        return told(await getattr(self.queue(queue), method)(*args))

    async def call_job(self, queue: str, id: str, method: str, args: Sequence[Any] = ()) -> Any:
        return told(await getattr(await Job.fromId(self.queue(queue), id), method)(*args))

    async def pause(self, queue: str) -> None:
        await self.queue(queue).pause()

    async def resume(self, queue: str) -> None:
        await self.queue(queue).resume()

    async def retry(self, queue: str, id: str) -> None:
        job = await Job.fromId(self.queue(queue), id)
        await job.retry()

    async def drain(self, queue: str) -> None:
        await self.queue(queue).drain()

    async def counts(self, queue: str) -> Any:
        return await self.queue(queue).getJobCounts()

    async def children_values(self, queue: str, id: str) -> Any:
        job = await self.queue(queue).getJob(id)
        assert job
        return await job.getChildrenValues()

    # ---- what a job does, by its data -----------------------------------------------------------------

    async def perform(self, job: Job, token: str) -> Any:
        await self.notes.rpush("test:runs", json.dumps({"name": job.name, "by": ME}))
        deeds: dict[str, Callable[[Job, str], Awaitable[Any]]] = {
            "value": self.value,
            "gather": self.gather,
            "fail": self.fail,
            "give_up": self.give_up,
            "fail_first": self.fail_first,
            "hold": self.hold,
            "report": self.report,
            "nap": self.nap,
            "outlast": self.outlast,
            "grow": self.grow,
        }
        return await deeds[job.data["do"]](job, token)

    async def value(self, job: Job, _: str) -> Any:
        return job.data["value"]

    async def gather(self, job: Job, _: str) -> Any:
        return {"values": list((await job.getChildrenValues() or {}).values())}

    async def fail(self, job: Job, _: str) -> Any:
        raise ValueError(job.data["why"])

    async def give_up(self, job: Job, _: str) -> Any:
        raise UnrecoverableError(job.data["why"])

    async def fail_first(self, job: Job, _: str) -> Any:
        if job.attemptsMade < job.data["times"]:
            raise ValueError("not yet")
        return job.data["value"]

    async def hold(self, job: Job, _: str) -> Any:
        while not await self.notes.exists("test:open"):
            await asyncio.sleep(0.005)
        if job.data.get("fails"):
            raise ValueError("no")
        return job.data["value"]

    async def report(self, job: Job, _: str) -> Any:
        await job.updateProgress({"done": 0.5})
        await job.log("half done")
        await job.updateData({**job.data, "seen": []})
        return job.data["value"]

    async def nap(self, job: Job, _: str) -> Any:
        await asyncio.sleep(0.003)
        return job.data["value"]

    async def outlast(self, job: Job, token: str) -> Any:
        while await self.notes.scard(
            f"bull:{job.queue.name}:{job.id}:dependencies"
        ):  # it has no call for this
            await asyncio.sleep(0.005)
        return await self.gather(job, token)

    async def grow(self, job: Job, token: str) -> Any:
        if not job.data.get("grown"):
            parent = {"id": job.id, "queue": f"bull:{job.queue.name}"}
            for child in job.data["children"]:
                await self.queue(child["queueName"]).add(child["name"], child["data"], {"parent": parent})
            await job.updateData({**job.data, "grown": True})
        if await job.moveToWaitingChildren(token, {}):
            raise WaitingChildrenError
        return await self.gather(job, token)


def told(answer: Any) -> Any:
    """Name jobs in what a call returned by their ids."""
    if isinstance(answer, list):
        return [told(one) for one in answer]
    return answer.id if isinstance(answer, Job) else answer


async def main() -> None:
    peer = Peer()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        try:
            answer = {"answer": await getattr(peer, asked.pop("do"))(**asked)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # its connections cannot be closed once the loop is


if __name__ == "__main__":
    asyncio.run(main())
