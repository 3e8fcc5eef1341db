"""Every producer with every worker: what docs/compatibility.md promises, cell by cell.

The page's table is this run's: ``FLOWNB_WRITE=1`` writes it there, any other run compares.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from flownb.api import doctor
from flownb.wire.store import Store
from tests.support.peers.process import PEERS
from tests.support.peers.scenarios import LIMITS, SCENARIOS, STOCK, Cell

pytestmark = pytest.mark.timeout(240)

WAITS_FOR_EVER = {  # what BullMQ's producers leave so that a parent never runs
    "a child fails: no policy": "which failed without a policy",
    "shared child": "it waits for children, and none is left that has not ended",
}
PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
SEEN: dict[tuple[str, str, str], str] = {}  # (what, producer, worker) -> what the table says


@pytest.mark.parametrize("worker", PEERS)
@pytest.mark.parametrize("producer", PEERS)
@pytest.mark.parametrize("words", SCENARIOS)
def test_they_work_together(words, producer, worker, peers, stored, start_peer):
    limited = words in LIMITS and producer in STOCK

    (LIMITS if limited else SCENARIOS)[words](Cell(peers[producer], peers[worker], stored, start_peer))

    store = Store(stored.redis, "bull")
    looks = [doctor.lines(store, f"{worker}-{queue}", fix=False) for queue in ("top", "line")]
    found = [line.what for lines in looks for line in lines]
    waits_for_ever = WAITS_FOR_EVER.get(words) if producer in STOCK else None
    assert [what for what in found if not waits_for_ever or waits_for_ever not in what] == []
    assert bool(found) is bool(waits_for_ever)
    SEEN[words, producer, worker] = "no" if limited else "yes"


def test_the_table_of_the_docs_is_what_this_run_found():
    if len(SEEN) < len(SCENARIOS) * len(PEERS) ** 2:
        pytest.skip("not every cell was run, or one is red")
    page = PAGE.read_text()
    table = re.compile(r"(?<=<!-- written by the test -->\n).*?(?=\n\n)", re.DOTALL)
    found = "\n".join(rows())
    if os.environ.get("FLOWNB_WRITE"):
        PAGE.write_text(table.sub(lambda _: found, page, count=1))
    else:
        assert table.search(page)[0] == found


def rows():
    """Write the table: a row for all producers of which the same is true."""
    yield f"| what | added by | {' | '.join(f'{label} works' for label in PEERS.values())} |"
    yield f"|---|---|{'---|' * len(PEERS)}"
    for words in SCENARIOS:
        cells = {producer: tuple(SEEN[words, producer, worker] for worker in PEERS) for producer in PEERS}
        for told in dict.fromkeys(cells.values()):
            producers = [label for producer, label in PEERS.items() if cells[producer] == told]
            who = "any" if len(producers) == len(PEERS) else ", ".join(producers)
            yield f"| {words} | {who} | {' | '.join(told)} |"


@pytest.mark.parametrize("producer", PEERS)
def test_a_flow_may_have_a_stage_with_each_of_them(producer, peers, stored, start_peer):
    cell = Cell(peers[producer], peers["flownb"], stored, start_peer)
    for stages in itertools.islice(itertools.permutations(PEERS), 0, None, 7):
        stored.redis.flushall()
        tree = None
        for level, worker in enumerate(stages):
            below = [] if tree is None else [tree]
            tree = {
                "name": f"stage-{level}",
                "queueName": f"{worker}-middle",
                "data": {"do": "gather" if below else "value", "value": 1},
                "opts": {},
                **({"children": below} if below else {}),
            }
        cell.add_flow(tree)
        cell.ends(stage_0="completed", stage_1="completed", stage_2="completed", stage_3="completed")
        assert stored.jobs()["stage-3"].value == {"values": [{"values": [{"values": [1]}]}]}
        assert stored.runs_by_peer() == dict.fromkeys(PEERS, 1)
