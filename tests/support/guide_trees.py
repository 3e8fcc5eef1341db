"""Short ways to write the trees, workers and states that the promises are about."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import flownb as fn


def node(name, *children, queue="q", data=None, **opts):
    return {"name": name, "queueName": queue, "data": data, "opts": opts, "children": list(children)}


class Work:
    """A processor that notes what ran; some names fail, each so many times or always. A value is the name."""

    def __init__(self, *broken, **times):
        self.ran = []
        self.values = {}
        self._broken = dict.fromkeys(broken, 10**9) | times
        self._noting = threading.Lock()

    def __call__(self, job):
        with self._noting:
            self.ran.append(job.name)
            self.values[job.name] = dict(job.get_children_values())
            left = self._broken.get(job.name, 0)
            self._broken[job.name] = left - 1
        if left > 0:
            raise ValueError(f"{job.name} is broken")
        return job.name


@contextmanager
def working(work, *queues, concurrency=4):
    with fn.Worker(list(queues) or ["q"], work, concurrency=concurrency):
        yield work


def run(tree, work=None, *queues):
    """Add a tree, work it off, and return its flow and what worked."""
    flow = fn.add(tree)
    with working(work or Work(), *queues) as worked:
        flow.wait(timeout=30)
    return flow, worked


def states(flow):
    return dict(zip(flow.jobs()["name"], flow.jobs()["state"], strict=True))
