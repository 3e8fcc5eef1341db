"""BullMQ's own Python client as another program: it adds flows and works, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from flownb.connection import Connection


class Peer:
    """Another program on the same server."""

    def __init__(self, connection: Connection) -> None:
        address = connection.address()
        login = f":{address['password']}@" if "password" in address else ""
        self._options = {"connection": f"unix://{login}{address['unix_socket_path']}"}
        self._workers: list[Any] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, deed: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(deed, self._loop).result(60)

    def add(self, tree: dict[str, Any]) -> str:
        """Add a flow; return its root as ``queue:id``."""

        async def add() -> Any:
            from bullmq import FlowProducer

            producer = FlowProducer(opts=self._options)
            added = await producer.add(tree)
            await producer.close()
            return added["job"].id

        return f"{tree['queueName']}:{self.do(add())}"

    def work(self, queue: str, function: Callable[[Any], Any], **options: Any) -> None:
        """Serve a queue: `function` gets each job, and may await."""

        async def work() -> Any:
            from bullmq import Worker

            async def run(job: Any, token: str) -> Any:
                found = function(job)
                return await found if asyncio.iscoroutine(found) else found

            return Worker(queue, run, self._options | options)

        self._workers.append(self.do(work()))

    def on_queue(self, queue: str, deed: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """Let the queue's own client do something: pause, remove a job."""

        async def run() -> Any:
            from bullmq import Queue

            client = Queue(queue, self._options)
            found = await deed(client)
            await client.close()
            return found

        return self.do(run())

    def rest(self) -> None:
        """Close its workers; now and then one hangs as it closes."""

        async def close(worker: Any) -> None:
            await asyncio.wait({asyncio.ensure_future(worker.close())}, timeout=5)

        for worker in self._workers:
            self.do(close(worker))
        self._workers.clear()

    def close(self) -> None:
        self.rest()
        self.do(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _hang_up(self) -> None:
        """Close what a worker that hangs has left open: a socket that is found by chance fails another test."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=5)
        for transport in list(self._loop._transports.values()):
            transport.abort()
        await asyncio.sleep(0)
