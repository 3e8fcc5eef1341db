"""A peer: flownb itself, told by `process` what to do; the counterpart of tests/interop/node/peer.mjs, line for line."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import flownb as fn

ME, SOCKET = sys.argv[1:]


class Peer:
    """What the tests ask for, each by the name of its method."""

    def __init__(self) -> None:
        self.connection = fn.connect(f"unix://{SOCKET}")
        self.producer = fn.FlowProducer()
        self.workers: list[fn.Worker] = []

    def work(self, queue: str, concurrency: int = 1, **asked: int) -> None:
        settings: dict[str, Any] = {}
        for theirs, ours in (("lockDuration", "lock_duration"), ("stalledInterval", "stalled_interval")):
            if theirs in asked:
                settings[ours] = asked[theirs] / 1000
        if "maxStalledCount" in asked:
            settings["max_stalled_count"] = asked["maxStalledCount"]
        worker = fn.Worker(queue, self.perform, concurrency=concurrency, **settings)
        worker.start()
        self.workers.append(worker)

    def stop(self) -> None:
        while self.workers:
            self.workers.pop().close()

    def add_flow(self, tree: dict[str, Any], semantics: str = "flownb") -> None:
        self.flow = self.producer.add(tree, semantics=semantics)

    def flow_state(self) -> str:
        """Wait for the flow that was added last, as the one who added it does."""
        return self.flow.wait(timeout=50).state

    def add_jobs(self, queue: str, jobs: list[dict[str, Any]]) -> None:
        fn.Queue(queue).add_bulk(jobs)

    def pause(self, queue: str) -> None:
        fn.Queue(queue).pause()

    def resume(self, queue: str) -> None:
        fn.Queue(queue).resume()

    def counts(self, queue: str) -> Any:
        return fn.Queue(queue).get_job_counts()

    def children_values(self, queue: str, id: str) -> Any:
        job = fn.Queue(queue).get_job(id)
        assert job
        return {f"bull:{key}": value for key, value in job.get_children_values().items()}

    # ---- what a job does, by its data -----------------------------------------------------------------

    def perform(self, job: fn.Job) -> Any:
        self.notes.rpush("test:runs", json.dumps({"name": job.name, "by": ME}))
        return getattr(self, f"_{job.data['do']}")(job)

    @property
    def notes(self) -> Any:
        return self.connection.client()

    def _value(self, job: fn.Job) -> Any:
        return job.data["value"]

    def _gather(self, job: fn.Job) -> Any:
        ignored = job.get_ignored_children_failures()
        found = job.get_children_values()
        assert all(found[key] is None for key in ignored)
        return {"values": [value for key, value in found.items() if key not in ignored]}

    def _fail(self, job: fn.Job) -> Any:
        raise ValueError(job.data["why"])

    def _give_up(self, job: fn.Job) -> Any:
        raise fn.UnrecoverableError(job.data["why"])

    def _fail_first(self, job: fn.Job) -> Any:
        if job.attempts_made < job.data["times"]:
            raise ValueError("not yet")
        return job.data["value"]

    def _hold(self, job: fn.Job) -> Any:
        while not self.notes.exists("test:open"):
            time.sleep(0.005)
        if job.data.get("fails"):
            raise ValueError("no")
        return job.data["value"]

    def _report(self, job: fn.Job) -> Any:
        job.update_progress({"done": 0.5})
        job.log("half done")
        job.update_data({**job.data, "seen": []})
        return job.data["value"]

    def _nap(self, job: fn.Job) -> Any:
        time.sleep(0.003)
        return job.data["value"]

    def _outlast(self, job: fn.Job) -> Any:
        while job.get_dependencies_count()["unprocessed"]:
            time.sleep(0.005)
        return self._gather(job)

    def _grow(self, job: fn.Job) -> Any:
        return {"values": job.add_children(job.data["children"])}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # flownb tells the user of shared jobs
    peer = Peer()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": getattr(peer, asked.pop("do"))(**asked)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
