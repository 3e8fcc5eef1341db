"""Shows the guide's "Dynamic Flow Generation": a tree built from lists, its shared chain run once for all loads."""

from __future__ import annotations

import threading
import time

import flownb as fn

QUEUES = ["extraction", "transformation", "loading", "flow-completion"]


class DynamicFlowBuilder:
    def __init__(self):
        self.flow_producer = fn.FlowProducer()

    def build_processing_flow(self, config):
        flow_id = f"flow_{time.time_ns()}"
        # Build source extraction children
        source_children = [
            {
                "name": f"extract-{source}",
                "queueName": "extraction",
                "data": {"flowId": flow_id, "source": source, "index": i},
            }
            for i, source in enumerate(config["sources"])
        ]
        # Build transformation chain
        transform_children = source_children
        for transform in config["transformations"]:
            transform_children = [
                {
                    "name": f"transform-{transform}",
                    "queueName": "transformation",
                    "data": {"flowId": flow_id, "transform": transform},
                    "children": transform_children,
                }
            ]
        # Build destination loading children (all depend on transformations)
        load_children = [
            {
                "name": f"load-{dest}",
                "queueName": "loading",
                "data": {"flowId": flow_id, "destination": dest, "index": i},
                "children": transform_children,
            }
            for i, dest in enumerate(config["destinations"])
        ]
        # Final aggregation
        return self.flow_producer.add(
            {
                "name": "complete-flow",
                "queueName": "flow-completion",
                "data": {"flowId": flow_id, "config": config},
                "children": load_children,
            }
        )


CONFIG = {"sources": ["a", "b"], "transformations": ["clean", "join"], "destinations": ["x", "y", "z"]}


def run(config):
    ran, noting = [], threading.Lock()

    def process(job):
        with noting:
            ran.append(job.name)
        below = sorted(str(value) for value in job.get_children_values().values())
        return f"{job.name}({','.join(below)})"

    flow = DynamicFlowBuilder().build_processing_flow(config)
    with fn.Worker(QUEUES, process, concurrency=4):
        value = flow.result(timeout=30)
    return flow, ran, value


def test_two_sources_two_transformations_and_three_destinations_are_eight_jobs():
    flow, ran, value = run(CONFIG)
    assert flow.progress().total == len(ran) == 8
    assert sorted(ran[:2]) == ["extract-a", "extract-b"]
    assert ran[2:4] == ["transform-clean", "transform-join"]
    assert sorted(ran[4:7]) == ["load-x", "load-y", "load-z"]
    assert ran[7] == "complete-flow"
    joined = "transform-join(transform-clean(extract-a(),extract-b()))"
    assert value == f"complete-flow(load-x({joined}),load-y({joined}),load-z({joined}))"


def test_the_shared_chain_is_announced(capsys):
    run(CONFIG)
    assert "shared: transform-join under load-x, load-y and load-z" in capsys.readouterr().out


def test_without_transformations_the_sources_are_shared():
    flow, ran, _ = run({**CONFIG, "transformations": []})
    assert flow.progress().total == len(ran) == 6
    assert ran.count("extract-a") == ran.count("extract-b") == 1


def test_without_destinations_only_the_root_runs_as_the_tree_holds_nothing_else():
    flow, ran, _ = run({**CONFIG, "destinations": []})
    assert ran == ["complete-flow"]
    assert flow.progress().total == 1
