"""Shows the guide's "Building Multi-Stage Pipelines": extract, transform, load, notify, each fed by the one before."""

from __future__ import annotations

import time

import flownb as fn


class DataPipeline:
    def __init__(self):
        self.flow_producer = fn.FlowProducer()

    def create_pipeline(self, input_data):
        pipeline_id = f"pipeline_{time.time_ns()}"
        # Create a pipeline: extract -> transform -> load -> notify
        return self.flow_producer.add(
            {
                "name": "notify",
                "queueName": "pipeline-notify",
                "data": {"pipelineId": pipeline_id, "stage": "notify"},
                "children": [
                    {
                        "name": "load",
                        "queueName": "pipeline-load",
                        "data": {"pipelineId": pipeline_id, "stage": "load"},
                        "children": [
                            {
                                "name": "transform",
                                "queueName": "pipeline-transform",
                                "data": {"pipelineId": pipeline_id, "stage": "transform"},
                                "children": [
                                    {
                                        "name": "extract",
                                        "queueName": "pipeline-extract",
                                        "data": {
                                            "pipelineId": pipeline_id,
                                            "stage": "extract",
                                            "input": input_data,
                                        },
                                    }
                                ],
                            }
                        ],
                    }
                ],
            }
        )


def extract(job):
    extracted = [{"id": n} for n in job.data["input"]]
    return {"records": extracted, "count": len(extracted)}


def transform(job):
    child_values = job.get_children_values()
    extract_result = list(child_values.values())[0]  # noqa: RUF015 - as in the guide
    transformed = [{**record, "square": record["id"] ** 2} for record in extract_result["records"]]
    return {"records": transformed, "count": len(transformed)}


def load(job):
    child_values = job.get_children_values()
    transform_result = list(child_values.values())[0]  # noqa: RUF015
    job.log(f"Loading {transform_result['count']} records")
    return {"loaded": transform_result["count"], "sum": sum(r["square"] for r in transform_result["records"])}


def notify(job):
    child_values = job.get_children_values()
    load_result = list(child_values.values())[0]  # noqa: RUF015
    return {"pipelineId": job.data["pipelineId"], "success": True, "sum": load_result["sum"]}


WORKERS = {
    "pipeline-extract": extract,
    "pipeline-transform": transform,
    "pipeline-load": load,
    "pipeline-notify": notify,
}


def test_four_stages_hand_their_values_on():
    flow = DataPipeline().create_pipeline([1, 2, 3])
    for queue in reversed(WORKERS):
        assert fn.Queue(queue).get_job_counts()["waiting"] == (queue == "pipeline-extract")

    workers = [fn.Worker(queue, processor).start() for queue, processor in WORKERS.items()]
    value = flow.result(timeout=20)
    for worker in workers:
        worker.close()

    assert value == {"pipelineId": flow.job.data["pipelineId"], "success": True, "sum": 14}
    assert value["pipelineId"].startswith("pipeline_")
    jobs = flow.jobs()
    assert list(jobs["name"]) == ["notify", "load", "transform", "extract"]
    assert set(jobs["state"]) == {"completed"}


def test_two_pipelines_at_a_time_do_not_mix():
    pipelines = DataPipeline()
    flows = [pipelines.create_pipeline(list(range(n))) for n in range(1, 6)]
    workers = [fn.Worker(queue, processor, concurrency=3).start() for queue, processor in WORKERS.items()]
    sums = [flow.result(timeout=20)["sum"] for flow in flows]
    for worker in workers:
        worker.close()
    assert sums == [sum(i**2 for i in range(n)) for n in range(1, 6)]
