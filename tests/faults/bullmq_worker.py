"""BullMQ's Python client under faults, for `compare`: the counterpart of tests/interop/node/fault_worker.mjs, line for line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from bullmq import FlowProducer, Worker

from tests.support.execution_log import note

SOCKET, WORDS = sys.argv[1:]
ASKED = json.loads(WORDS)
CONNECTION = {"connection": f"unix://{SOCKET}"}


async def perform(job: Any, _: str) -> Any:
    if "key" not in job.data:
        values = list((await job.getChildrenValues() or {}).values())
        return {"sum": sum(value["sum"] for value in values), "n": len(values)}
    note("+", job.data["key"])
    await asyncio.sleep(job.data["seconds"])
    note("-", job.data["key"])
    return {"key": job.data["key"], "sum": job.data["number"], "n": 1}


async def main() -> None:
    if "trees" in ASKED:
        producer = FlowProducer(opts=CONNECTION)
        for tree in json.loads(Path(ASKED["trees"]).read_text()):
            await producer.add(tree)
        os._exit(0)
    workers = [Worker(name, perform, CONNECTION | ASKED["options"]) for name in ("leaf", "total")]
    for worker in workers:
        worker.on("error", lambda *_: None)  # counted by what is stored at the end
    print(0, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
