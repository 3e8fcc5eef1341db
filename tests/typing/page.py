"""A page of a user's code. `test_types.py` asks type checkers what they make of it.

The comment behind a line is what they must say: the type they reveal, or that the line is an error.
"""

from typing import Any, reveal_type

import pandas as pd

import flownb as fn


@fn.task
def plain(x: int) -> str:
    return str(x)


@fn.task(attempts=3, backoff="exponential 1s", timeout="30s", limiter="5/s", retry_on=TimeoutError)
def patient(day: str, factor: float = 1.0) -> float:
    return len(day) * factor


@fn.task(batch_size=32)
def many(n: Any) -> list[int]:
    return list(n)


@fn.task(queue="calls")
async def ask(text: str) -> list[str]:
    return text.split()


@fn.task(backoff=lambda attempts, error: None if attempts > 3 else "5s", remove_on_complete=True)
def total(loads: list[float]) -> dict[str, float]:
    return {"total": sum(loads)}


# A task is still the function it was made of.
reveal_type(plain(1))  # str
reveal_type(patient("2013-01-01", factor=2))  # float
plain("x")  # error: x is an int
patient()  # error: day is missing
plain(1, 2)  # error: one argument too many
reveal_type(plain.name)  # str

# A node, a flow and its result have the type that the function returns.
reveal_type(plain.node(1))  # Node[str]
reveal_type(ask.node("a b"))  # Node[list[str]]
reveal_type(total.node([patient.node("2013-01-01")]))  # Node[dict[str, float]]
reveal_type(fn.add(plain.node(1)))  # Flow[str]
reveal_type(fn.add(plain.node(1)).result())  # str
reveal_type(fn.add(total.node([]), name="november").wait(60).cancel().result())  # dict[str, float]
reveal_type(fn.FlowProducer().add(ask.node("a b")).result(timeout="5m"))  # list[str]
reveal_type(fn.add({"name": "root", "queueName": "roots"}).result())  # Any

# A chain has the type of its last step.
reveal_type(fn.chain(plain))  # Node[str]
reveal_type(fn.chain(plain.node(1), patient, total))  # Node[dict[str, float]]
reveal_type(fn.chain(plain, patient, plain, ask))  # Node[list[str]]
reveal_type(fn.chain(plain.node(1), patient.node(factor=2)))  # Node[float]

# Batches.
frame = pd.DataFrame({"x": [1, 2]})
reveal_type(fn.fan_out(frame, plain))  # Batch
reveal_type(fn.fan_out(frame, plain, name="november", into=[total], by="x", attempts=5))  # Batch
reveal_type(fn.fan_out(frame, "a-queue", backoff=5, limiter=None))  # Batch
reveal_type(fn.fan_out(frame, plain, unique=True, dry_run=True))  # DataFrame
reveal_type(fn.fan_out(frame, plain).results())  # DataFrame
reveal_type(fn.fan_out(frame, plain).retry())  # Batch
found = fn.attach("november")
reveal_type(found.result())  # Any
if isinstance(found, fn.Batch):
    reveal_type(found.failures)  # DataFrame


# Options are checked as they are typed.
fn.fan_out(frame, plain, attemps=5)  # error: misspelt
fn.fan_out(frame, plain, attempts="five")  # error: no number
fn.fan_out(frame, len)  # error: no task
fn.task(tiemout=5)  # error: misspelt
fn.add([1, 2])  # error: no tree
fn.chain(plain, len)  # error: no step


# Names for annotations, without parameters where they do not matter.
def steer(flow: fn.Flow, node: fn.Node, batch: fn.Batch) -> fn.Flow[str]:
    batch.pause()
    reveal_type(flow.result())  # Any
    reveal_type(node.name)  # str
    return fn.add(plain.node(1))
