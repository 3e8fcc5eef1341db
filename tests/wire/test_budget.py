"""Counts what a job asks of the server - commands, round trips, bytes - and fails where that grows.

Counted, not timed, so it says the same on any machine. docs/performance.md explains the budget, command by command;
what costs less than it allows lowers the figures here and there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from redis import Redis
from redis.connection import AbstractConnection

import flownb as fn
from flownb.api.flow import stored
from flownb.api.waiting import first_round
from flownb.state import child_search, count_check
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from tests.support.script_bench import completed

if TYPE_CHECKING:
    from tests.support.server import OwnServer

JOBS = 1_000
A_CALL = 100  # jobs that a worker's call ends, and as many that it takes


class Asked(NamedTuple):
    """What some work has asked of the server."""

    commands: dict[str, int]  #: those that each job takes, inside scripts
    all_commands: float  #: a job, with those that a call takes
    calls: int  #: what the client has sent and waited for
    bytes_in: int  #: to the server, a job
    bytes_out: int


class Counter:
    """Counts what one client and its threads ask of a server that nobody else uses."""

    def __init__(self, server: Redis, store: Store) -> None:
        self.server = server
        self.store = store
        self.calls = 0

    @contextmanager
    def counting(self, jobs: int) -> Iterator[list[Asked]]:
        """Yield a list that holds what was asked, once the work inside is done."""
        found: list[Asked] = []
        self.server.config_resetstat()
        before, sent, received = self.calls, *self._bytes()
        yield found
        calls, (sent_now, received_now) = self.calls - before, self._bytes()
        of_commands = {
            name.removeprefix("cmdstat_"): about["calls"] / jobs
            for name, about in self.server.info("commandstats").items()
            if name not in ("cmdstat_info", "cmdstat_config|resetstat")
        }
        found.append(
            Asked(
                {name: round(times) for name, times in of_commands.items() if round(times)},
                round(sum(of_commands.values()), 2),
                calls,
                round((sent_now - sent) / jobs),
                round((received_now - received) / jobs),
            )
        )

    def _bytes(self) -> tuple[int, int]:
        stats = self.server.info("stats")
        return stats["total_net_input_bytes"], stats["total_net_output_bytes"]


@pytest.fixture
def counter(own_server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    """Give a counter of what `fn.connect`'s client asks of a server of its own."""
    connection = fn.connect(own_server.url)
    send = AbstractConnection.send_packed_command
    with Redis.from_url(own_server.url, single_connection_client=True) as server:
        counter = Counter(server, Store(connection.client(), connection.prefix))

        def counted(self: AbstractConnection, command: object, check_health: bool = True) -> None:
            counter.calls += self is not server.connection
            send(self, command, check_health)

        monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
        yield counter
    connection.close()


def tree(children: int) -> dict:
    some = [{"name": f"c-{i}", "queueName": "items", "data": {"i": i}} for i in range(children)]
    return {"name": "total", "queueName": "totals", "children": some}


def work_off(store: Store, queue: str) -> int:
    """Run all jobs of a queue as a worker does that has nothing else to do; return how many calls that took."""
    worker, base, calls = FetchingWorker(token="t", lock_ms=30_000), f"bull:{queue}", 0
    outcomes: list[Outcome] = []
    while True:
        turn = store.leases.finish_and_fetch([base], outcomes=outcomes, want=A_CALL, worker=worker)
        calls += 1
        outcomes = [completed(job, "7") for job in turn.taken]
        if not outcomes:
            return calls


def test_a_small_flow_is_one_call_and_one_more_where_it_says_its_id(counter):
    fn.add(tree(1))  # scripts are loaded
    fn.add({**tree(1), "opts": {"jobId": "first"}})

    with counter.counting(jobs=4) as nameless:
        fn.add(tree(3))
    with counter.counting(jobs=4) as named:
        fn.add({**tree(3), "opts": {"jobId": "second"}})

    assert nameless[0].calls == 1
    assert named[0].calls == 2, "whether the id is there, and the flow"
    assert nameless[0].all_commands <= 14.5
    assert nameless[0].bytes_in <= 320


def test_adding_a_job_is_a_hash_and_its_two_events(counter):
    fn.add(tree(1))

    with counter.counting(JOBS) as asked:
        fn.add(tree(JOBS))

    assert asked[0].commands == {"hset": 1, "xadd": 2}, "lists, sets and counts are written once a call"
    assert asked[0].calls <= 3
    assert asked[0].all_commands <= 3.2
    assert asked[0].bytes_in <= 52
    assert asked[0].bytes_out <= 2


def test_running_a_job_is_eight_commands_in_calls_of_many(counter):
    fn.add(tree(1))
    work_off(counter.store, "items")
    fn.add(tree(JOBS))

    with counter.counting(JOBS) as asked:
        calls = work_off(counter.store, "items")

    assert calls == JOBS // A_CALL + 1
    assert asked[0].commands == {
        **{
            "hmget": 2,
            "set": 1,
            "hset": 2,
        },  # both ways: what is stored, the lease, what changes
        **{
            "lrem": 1,
            "xadd": 2,
        },  # from one list to the other; its beginning and its end as events
    }
    assert asked[0].calls == calls
    assert asked[0].all_commands <= 8.6
    assert asked[0].bytes_in <= 36
    assert asked[0].bytes_out <= 214


def test_waiting_for_a_short_flow_is_one_call_a_look_and_three_for_its_value(counter):
    def run(flow: fn.Flow) -> fn.Flow:
        work_off(counter.store, "items")
        work_off(counter.store, "totals")
        return flow

    assert run(fn.add(tree(1))).result() == 7  # scripts are loaded
    flow = fn.add(tree(3))

    with counter.counting(jobs=1) as looked:
        assert stored(flow).flow_state.catch_up(rounds_after=first_round(None)).state is None
    run(flow)

    with counter.counting(jobs=1) as waited:
        assert flow.result() == 7

    assert looked[0].calls == 1, "its tree is read for other programs' sake once it has run for a while"
    assert waited[0].calls == 4, "a look, how it ended, the root, and whether jobs were removed"


class Clock:
    """Moves on at each look, as if everything took its time; or stands still, as if nothing did."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.step = 0.001  # seconds

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock by which handles look whether another program has had jobs of their flow: in 2 % of its time."""
    clock = Clock()
    for module in (count_check, child_search):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize(("later", "calls"), [(0.0, 8), (10.0, 14)], ids=["at once", "later"])
def test_a_table_of_all_jobs_is_one_read_a_job_in_calls_of_many(counter, clock, later, calls):
    flow = fn.add(tree(JOBS))
    flow.jobs()
    clock.step = 0.0
    clock.now += later

    with counter.counting(JOBS) as asked:
        flow.jobs()

    assert asked[0].commands == {"hmget": 1}
    assert asked[0].calls == calls, (
        "later, too, whether other programs had jobs of the flow, and its children"
    )
    assert asked[0].all_commands <= 1.1
    assert asked[0].bytes_in <= 40
    assert asked[0].bytes_out <= 85


def test_values_of_all_children_are_no_command_a_child(counter):
    root = fn.add(tree(JOBS)).job
    work_off(counter.store, "items")
    root.get_children_values()

    with counter.counting(JOBS) as asked:
        assert len(root.get_children_values()) == JOBS

    assert asked[0].commands == {}
    assert asked[0].calls <= 4
    assert asked[0].bytes_out <= 54
