"""A read-only connection never writes: watched on the server, command by command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis as redis_py

import flownb as fn
from flownb.wire import scripts
from flownb.wire.store.without_scripts import READS
from tests.support.watched_server import contents, watched, writes_among


@pytest.fixture(autouse=True)
def double():
    """Give a task."""

    @fn.task
    def double(x):
        if x == 3:
            raise ValueError("three")
        return 2 * x

    return double


@pytest.fixture
def production(own_server, double) -> Iterator[str]:
    """Give the URL of a server with flows in every state."""
    writing = fn.connect(own_server.url)
    fn.fan_out(pd.DataFrame({"x": [1, 2, 3]}), double, name="doubled", connection=writing)
    with fn.workers():
        fn.attach("doubled").wait(timeout=30)
    tree = {
        "name": "report",
        "queueName": "reports",
        "children": [{"name": f"row-{i}", "queueName": "rows"} for i in range(8)],
    }
    fn.add(tree, name="half-way")
    fn.FlowProducer().add(
        {**tree, "opts": {"jobId": "theirs"}}, semantics="bullmq"
    )  # as another program stores it
    with fn.Worker("rows", lambda job: job.name, concurrency=2):
        flow = fn.attach("half-way")
        while flow.progress().completed < 2:
            pass
    fn.Queue("rows").add("delayed", {}, {"delay": 3_600_000})
    yield own_server.url
    fn.connect(own_server.url).close()


def read_everything(connection, *, passing: bool = True) -> list[Any]:
    """Ask for all there is to read; `passing`: also for what differs from look to look, and from user to user."""
    seen: list[Any] = [connection]
    for name in ("doubled", "half-way", "reports:theirs"):
        flow = fn.attach(name, connection=connection)
        seen += [
            flow,
            str(flow),
            flow.state,
            flow.progress(),
            flow.jobs(),
            flow.timeline(),
        ]
        seen += [flow.draw()]
        seen += (
            [flow.explain(), flow.to_html(), flow._repr_mimebundle_(), flow.progress().eta] if passing else []
        )
        job = flow.job
        seen += [job.get_state(), job.get_children_values(), job.get_dependencies(), job.get_logs()]
        seen += [job.get_dependencies_count(), job.get_ignored_children_failures()]
    for queue in (None, "rows", "reports"):
        listed = fn.flows(queue=queue, connection=connection)
        seen += [listed if passing else listed.drop(columns=["age_s", "why"])]
    batch = fn.attach("doubled", connection=connection)
    view = batch.watch()
    view.poll()
    view.close()
    seen += [batch.results(), batch.table(), batch.failures, batch.result()]
    with pytest.raises(TimeoutError):
        fn.attach("half-way", connection=connection).wait(timeout=0.3)
    queue = fn.Queue("rows", connection=connection)
    seen += [queue.get_job_counts(), queue.is_paused(), queue.get_jobs(["waiting", "completed", "delayed"])]
    return [repr(one) for one in seen]


def test_reading_everything_writes_nothing(production):
    with redis_py.Redis.from_url(production) as client:
        before = contents(client)
        with watched(client) as commands:
            read_everything(fn.Connection(production, read_only=True))
        assert contents(client) == before

        assert len(commands) > 100
        assert writes_among(client, commands) == set()
        assert not {"EVAL", "EVALSHA"} & {command.split()[0].upper() for command in commands}


def test_a_user_that_may_only_read_sees_the_same(production):
    expected = read_everything(fn.Connection(production, read_only=True), passing=False)
    with redis_py.Redis.from_url(production) as client:
        client.acl_setuser(
            "looker",
            reset=True,
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            categories=["+@read"],
            commands=["+ping", "+time"],
        )
    url = production.replace("unix://", "unix://looker:secret@")

    looking = fn.Connection(url, read_only=True)

    assert read_everything(looking, passing=False)[1:] == expected[1:]
    assert fn.attach("half-way", connection=looking).explain()["why"].str.contains("in line").any()


@pytest.mark.parametrize(
    "write",
    [
        lambda connection: fn.add({"name": "a", "queueName": "q"}, connection=connection),
        lambda connection: fn.Queue("rows", connection=connection).add("a"),
        lambda connection: fn.Queue("rows", connection=connection).pause(),
        lambda connection: fn.attach("half-way", connection=connection).retry(),
        lambda connection: fn.attach("half-way", connection=connection).remove(),
        lambda connection: fn.attach("half-way", connection=connection).job.log("row"),
        lambda connection: fn.attach("reports:theirs", connection=connection).remove(),
        lambda connection: fn.Worker("rows", print, connection=connection).start(),
        lambda connection: fn.fan_out([1], "rows", connection=connection),
    ],
)
def test_what_writes_is_refused(production, write):
    with pytest.raises(fn.ReadOnly, match="connect without read_only=True"):
        write(fn.Connection(production, read_only=True))


def test_every_script_that_only_reads_can_be_asked_in_plain_commands():
    lua = Path(scripts.__file__).parent / "lua"
    said = {
        path.stem
        for room in scripts.ROOMS
        for path in (lua / room).glob("*.lua")
        if "nothing is written" in path.read_text(encoding="utf-8").splitlines()[0]
    }
    assert said == {path.stem for path in (lua / "reads").glob("*.lua")} == READS.keys()


def test_scripts_and_plain_commands_answer_the_same(production):
    writing, reading = fn.Connection(production), fn.Connection(production, read_only=True)
    from flownb.api.job import store_of

    _, asks = store_of(writing)
    _, plain = store_of(reading)
    plain.server.read_without_scripts()
    jobs = [f"bull:{name}" for name in ("reports:theirs", "rows:nobody")]
    for state in ("waiting", "completed", "delayed"):
        jobs += [f"bull:rows:{job.id}" for job in fn.Queue("rows", connection=writing).get_jobs(state)]

    assert plain.jobs.read(jobs) == asks.jobs.read(jobs)
    assert plain.jobs.read_returnvalues(jobs) == asks.jobs.read_returnvalues(jobs)
    assert plain.children.counts(jobs) == asks.children.counts(jobs)
    assert plain.children.read_names(jobs) == asks.children.read_names(jobs)
    facts = list(asks.job_facts.read(jobs, lambda job: ("wait",)))
    assert list(plain.job_facts.read(jobs, lambda job: ("wait",))) == facts
    assert list(plain.job_facts.read(jobs)) == list(asks.job_facts.read(jobs))
    pairs = [(job.key, job.parent or "x") for job in facts]
    links = list(asks.parent_links.read(pairs))
    assert list(plain.parent_links.read(pairs)) == links
    held = [*zip(facts, links, strict=True), *((job, None) for job in facts)]
    assert list(plain.parent_links.compare_values(held, "1")) == list(
        asks.parent_links.compare_values(held, "1")
    )
    flow = fn.attach("half-way", connection=writing)
    about = (flow._stored.id, flow._stored.root, [flow._stored.root], [(jobs[2], 1)], ["bull:rows"])
    assert plain.missed_writes.compare_counts(*about) == asks.missed_writes.compare_counts(*about)
