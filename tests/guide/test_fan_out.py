"""Shows the guide's "Parallel Processing with Fan-Out": many items at a time, and one job that adds them up."""

from __future__ import annotations

import threading
import time

import flownb as fn


class ParallelProcessor:
    def __init__(self):
        self.flow_producer = fn.FlowProducer()

    def process_in_parallel(self, items):
        batch_id = f"batch_{time.time_ns()}"
        # Create parallel children
        children = [
            {
                "name": f"process-item-{index}",
                "queueName": "item-processor",
                "data": {"batchId": batch_id, "index": index, "item": item},
            }
            for index, item in enumerate(items)
        ]
        # Parent aggregates all children results
        return self.flow_producer.add(
            {
                "name": "aggregate-results",
                "queueName": "aggregator",
                "data": {"batchId": batch_id, "totalItems": len(items)},
                "children": children,
            }
        )


def aggregate(job):
    child_values = job.get_children_values()
    results = list(child_values.values())
    # Sort by index to maintain order
    results.sort(key=lambda r: r["index"])
    successful = len([r for r in results if r["success"]])
    return {
        "batchId": job.data["batchId"],
        "totalItems": job.data["totalItems"],
        "successful": successful,
        "failed": len(results) - successful,
        "results": [r["result"] for r in results],
    }


def process_item(job):
    index, item = job.data["index"], job.data["item"]
    return {"index": index, "result": item * 2, "success": True}


def test_the_aggregate_receives_every_item():
    flow = ParallelProcessor().process_in_parallel(list(range(100)))
    with fn.Worker("item-processor", process_item, concurrency=10), fn.Worker("aggregator", aggregate):
        value = flow.result(timeout=30)
    assert value["totalItems"] == value["successful"] == 100
    assert value["failed"] == 0
    assert value["results"] == [2 * i for i in range(100)]


def test_ten_items_really_run_at_a_time():
    together = threading.Barrier(10)

    def meet(job):
        together.wait(20)  # broken unless ten are here at once
        return process_item(job)

    flow = ParallelProcessor().process_in_parallel(list(range(20)))
    with fn.Worker("item-processor", meet, concurrency=10), fn.Worker("aggregator", aggregate):
        assert flow.result(timeout=30)["successful"] == 20


def test_without_items_the_aggregate_runs_at_once_on_nothing():
    flow = ParallelProcessor().process_in_parallel([])
    with fn.Worker("aggregator", aggregate):
        value = flow.result(timeout=20)
    assert (value["totalItems"], value["successful"], value["results"]) == (0, 0, [])


def test_values_come_in_the_order_in_which_the_children_were_declared():
    first_may_end = threading.Event()

    def process(job):
        if job.data["index"] == 0:
            assert first_may_end.wait(20)
        elif job.data["index"] == 3:
            first_may_end.set()
        return job.data["index"]

    flow = ParallelProcessor().process_in_parallel(["a", "b", "c", "d"])
    with (
        fn.Worker("item-processor", process, concurrency=2),
        fn.Worker("aggregator", lambda job: list(job.get_children_values().values())),
    ):
        assert flow.result(timeout=20) == [0, 1, 2, 3]
