"""A tree of 100,000 jobs is read in pieces: no other client of the server waits for it."""

from __future__ import annotations

import pytest
import redis as redis_py

import flownb as fn

ROWS = 100_000
NOTICEABLE = 5_000  # microseconds
PIECE = 64_000  # bytes of a request, and of its answer
WHOLE = {"cmdstat_hkeys", "cmdstat_hvals", "cmdstat_smembers", "cmdstat_keys", "cmdstat_sort"}


@pytest.fixture
def wide(own_server):
    """Give a server with a wide flow, stored as BullMQ's own producer does, half of it done."""
    writing = fn.connect(own_server.url)
    rows = [{"name": f"row-{i}", "queueName": "rows", "data": {"i": i}} for i in range(ROWS)]
    tree = {"name": "total", "queueName": "totals", "opts": {"jobId": "wide"}, "children": rows}
    fn.FlowProducer().add(tree, semantics="bullmq")
    with redis_py.Redis.from_url(own_server.url) as client:
        for _ in range(0, ROWS // 2, 1000):
            ids = client.rpop("bull:rows:wait", 1000)
            with client.pipeline(transaction=False) as pipe:
                for id in ids:
                    key = b"bull:rows:" + id
                    pipe.hset(key, mapping={"returnvalue": "7", "finishedOn": 2, "processedOn": 1, "atm": 1})
                    pipe.zadd("bull:rows:completed", {id: 2})
                    pipe.srem("bull:totals:wide:dependencies", key)
                    pipe.hset("bull:totals:wide:processed", key, "7")
                pipe.execute()
    yield own_server.url
    writing.close()


def test_a_tree_of_a_hundred_thousand_jobs_is_read_in_pieces(wide):
    with redis_py.Redis.from_url(wide) as client:
        client.config_set("slowlog-log-slower-than", NOTICEABLE)
        client.config_set("slowlog-max-len", 10_000)
        client.slowlog_reset()
        client.config_set("commandlog-reply-larger-than", PIECE)
        client.config_set("commandlog-request-larger-than", PIECE)
        client.config_resetstat()

        connection = fn.Connection(wide, read_only=True)
        flow = fn.attach("totals:wide", connection=connection)
        assert flow.progress().completed == ROWS // 2
        assert flow.progress().total == ROWS + 1
        assert repr(flow) == "Flow('total': 100001 jobs, 50000 completed)"
        assert "row-* × 100000" in str(flow)
        assert len(flow.jobs()) == ROWS + 1
        assert flow.explain()["why"].str.contains("no worker serves queue 'rows'").any()
        assert flow.draw().source
        assert len(flow.timeline()) == ROWS + 1
        assert "row-*" in flow.to_html()
        assert len(flow.job.get_children_values()) == ROWS // 2
        assert len(flow.job.get_dependencies()["unprocessed"]) == ROWS // 2
        view = flow.watch()
        view.poll()
        assert dict(view.head["counts"])["completed"] == ROWS // 2
        view.close()
        for queue in ("totals", "rows"):
            assert list(fn.flows(queue=queue, connection=connection)["flow"]) == ["totals:wide"]

        commands = client.info("commandstats")
        half = {name: about["p50"] for name, about in client.info("latencystats").items()}
        slow = client.slowlog_get(10_000)
        large = [
            entry
            for what in ("large-request", "large-reply")
            for entry in client.execute_command("COMMANDLOG", "GET", 10, what)
        ]
    assert not WHOLE & commands.keys(), "a whole key was read at once"
    assert commands["cmdstat_hgetall"]["usec_per_call"] < 100, "a large key was read at once"
    assert max(half.values()) < NOTICEABLE / 2, half
    assert not large, [(size, command[:60]) for _, _, size, command, *_ in large]
    # Of many reads: one has to wait for the processor on a machine that does something else beside it.
    scripts = sum(about["calls"] for name, about in commands.items() if "eval" in name)
    assert len(slow) <= scripts / 4, [(entry["duration"], entry["command"][:60]) for entry in slow]
