"""Example snapshots: flows in miniature, as the store would hand them out, for the tests of the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    FAILED,
    WAITING,
    WAITING_CHILDREN,
    FlowCounts,
    JobRecord,
    Node,
    Snapshot,
)

START = 1_700_000_000_000


def record(name: str, state: str | None = COMPLETED, queue: str = "work", **more: object) -> JobRecord:
    fields: dict[str, object] = {"key": f"bull:{queue}:1", "id": "1", "timestamp": START, **more}
    return JobRecord(queue=queue, name=name, state=state, **fields)  # type: ignore[arg-type]


def job(
    id: str,
    name: str,
    state: str = COMPLETED,
    children: Sequence[str] = (),
    *,
    queue: str = "work",
    optional: bool = False,
    **more: object,
) -> Node:
    return Node(
        id=id,
        name=name,
        queue=queue,
        states={state: 1},
        job=record(name, state, queue, **more),
        optional=optional,
        children=tuple(children),
    )


def many(
    id: str, template: str, states: Mapping[str, int], *, queue: str = "work", optional: bool = False
) -> Node:
    count = sum(states.values())
    return Node(id=id, name=template, queue=queue, states=states, count=count, optional=optional)


def flow(
    name: str, state: str, *nodes: Node, left_out: int = 0, failures: Sequence[JobRecord] = ()
) -> Snapshot:
    stages: dict[str, dict[str, int]] = {}
    for node in nodes:
        stage = stages.setdefault(node.queue, {})
        for its, count in node.states.items():
            stage[its] = stage.get(its, 0) + count
    return Snapshot(
        name=name,
        state=state,
        nodes=nodes,
        counts=FlowCounts(by_stage=stages),
        created=START,
        finished=START + 12_300 if state in (COMPLETED, FAILED) else None,
        now=START + 12_300,
        left_out=left_out,
        failures=tuple(failures),
    )


def small() -> Snapshot:
    return flow(
        "report",
        ACTIVE,
        job("r", "aggregate", WAITING_CHILDREN, ("a", "b"), queue="aggregator"),
        job("a", "load", COMPLETED),
        job("b", "clean", ACTIVE, progress="50"),
    )


def diamond() -> Snapshot:
    return flow(
        "order-17",
        COMPLETED,
        job("s", "send_confirmation", COMPLETED, ("f",), queue="mail"),
        job("f", "fulfil", COMPLETED, ("rv", "sh"), queue="stock"),
        job("rv", "reserve", COMPLETED, ("p",), queue="stock"),
        job("sh", "ship", COMPLETED, ("p",), queue="stock"),
        job("p", "process_payment", COMPLETED, ("v", "c"), queue="payments"),
        job("v", "validate_items", COMPLETED, queue="checks"),
        job("c", "validate_customer", COMPLETED, queue="checks"),
    )


def wide() -> Snapshot:
    return flow(
        "score-nov",
        "failing",
        job("r", "summary", WAITING_CHILDREN, ("fr", "de", "x1"), queue="summary"),
        job("fr", "country fr", WAITING_CHILDREN, ("m",), queue="per_country"),
        job("de", "country de", WAITING_CHILDREN, ("k", "x2"), queue="per_country"),
        many(
            "m",
            "process-item-*",
            {WAITING: 243, ACTIVE: 12, COMPLETED: 742, FAILED: 3},
            queue="item-processor",
            optional=True,
        ),
        many("k", "process-item-*", {WAITING: 500}, queue="item-processor"),
        job("x1", "header", COMPLETED, queue="header"),
        job(
            "x2",
            "process-item-17",
            FAILED,
            queue="item-processor",
            failed_reason="TimeoutError: no answer in 30 s",
        ),
        left_out=12,
        failures=failures(),
    )


def failures() -> tuple[JobRecord, ...]:
    slow = [
        record(f"process-item-{n}", FAILED, "item-processor", failed_reason="TimeoutError: no answer in 30 s")
        for n in (17, 99)
    ]
    bad = record(
        "process-item-301",
        FAILED,
        "item-processor",
        failed_reason="ValueError: lang is missing",
        stacktrace='["Traceback (most recent call last):\\n  File \\"cell\\", line 3, in score\\nValueError: lang is missing"]',
    )
    return (*slow, bad)


def failing() -> Snapshot:
    return flow(
        "nightly",
        FAILED,
        job("r", "notify", FAILED, ("l",), queue="notify", failed_reason="child bull:load:1 failed"),
        job(
            "l",
            "load",
            FAILED,
            ("t", "o"),
            queue="load",
            failed_reason="OperationalError: disk full\nat line 3",
        ),
        job("t", "transform", COMPLETED, queue="transform"),
        job("o", "enrich", FAILED, queue="enrich", optional=True, failed_reason="KeyError: 'zip'"),
        failures=(record("load", FAILED, "load", failed_reason="OperationalError: disk full\nat line 3"),),
    )


def chain(length: int = 9) -> Snapshot:
    names = ["notify", "load", "transform", "extract", "unpack", "fetch", "login", "resolve", "start"]
    states = [WAITING_CHILDREN] * (length // 2) + [ACTIVE] + [COMPLETED] * length
    return flow(
        "chain",
        ACTIVE,
        *(
            job(str(n), names[n % 9], states[n], [str(n + 1)] if n + 1 < length else (), queue=names[n % 9])
            for n in range(length)
        ),
    )


def every_state() -> Snapshot:
    leaves = ["waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed"]
    return flow(
        "states",
        "failing",
        job("r", "root", WAITING_CHILDREN, [*leaves, "new"], queue="root"),
        *(job(state, f"job-{letter}", state) for letter, state in zip("abcdefg", leaves, strict=True)),
        Node(id="new", name="not yet added", queue="work", states={}),
    )


def empty() -> Snapshot:
    return flow("nothing", WAITING)


def bushy() -> Snapshot:
    nodes = [job("r", "collect", WAITING_CHILDREN, [f"b{n}" for n in range(12)], queue="collect")]
    for n in range(12):
        nodes.append(
            job(f"b{n}", f"branch-{'abcdefghijkl'[n]}", ACTIVE, [f"c{n}x", f"c{n}y"], queue="branch")
        )
        nodes += [job(f"c{n}x", "left", COMPLETED), job(f"c{n}y", "right side", WAITING)]
    return flow("bushy", ACTIVE, *nodes)


ALL = {made.__name__: made for made in (small, diamond, wide, failing, chain, every_state, empty, bushy)}
