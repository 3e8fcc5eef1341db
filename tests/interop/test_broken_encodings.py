"""Does the matrix notice? One field is stored wrong, in a copy of the package, and a cell turns red."""

from __future__ import annotations

import shutil

import pytest

from tests.support.peers.process import ROOT, PeerError
from tests.support.peers.scenarios import SCENARIOS, Cell

#: what is broken: (file, line, what it becomes, which cell sees it, whether flownb adds or works there)
MUTANTS = {
    "parentKey without its prefix": (
        "new_job",
        "'parentKey', parent.key, 'parent', parent.link)",
        "'parentKey', parent.key:match(':(.*)'), 'parent', parent.link)",
        "tree of three levels",
        "adds",
    ),
    "a policy that stands in opts alone": (
        "new_job",
        "'parentKey', parent.key, 'parent', parent.link)",
        "'parentKey', parent.key, 'parent', (parent.link:gsub('idof', 'xxxx')))",
        "a child fails: ignoreDependencyOnFailure",
        "adds",
    ),
    "a delay's score in milliseconds": (
        "enqueue",
        "local low, high = due * 4096, (due + 1) * 4096 - 1",
        "local low, high = due, due",
        "delay",
        "adds",
    ),
    "ranks the other way round": (
        "enqueue",
        "return priority * 4294967296 +",
        "return (2097152 - priority) * 4294967296 +",
        "priority",
        "adds",
    ),
    "a value encoded twice": (
        "finish",
        "'returnvalue', run.value, 'finishedOn'",
        "'returnvalue', cjson.encode(run.value), 'finishedOn'",
        "plain job",
        "works",
    ),
    "no attempt counted": (
        "end_run",
        "run.attempts_made + 1",
        "run.attempts_made",
        "attempts with backoff",
        "works",
    ),
}


@pytest.fixture
def start_mutant(start_peer, tmp_path):
    """Start a flownb of which one line of a script is another."""
    started = []

    def start(file, line, instead):
        shutil.copytree(ROOT / "flownb", tmp_path / "flownb", ignore=shutil.ignore_patterns("__pycache__"))
        (script,) = (tmp_path / "flownb" / "wire" / "lua").rglob(f"{file}.lua")
        assert script.read_text().count(line) == 1, "the script has changed: break it anew"
        script.write_text(script.read_text().replace(line, instead))
        started.append(start_peer("flownb", package=tmp_path))
        started[-1].name = "mutant"
        started[-1].serve()
        return started[-1]

    yield start
    for mutant in started:
        mutant.kill()  # the next one serves the same queues


@pytest.mark.parametrize("broken", MUTANTS)
def test_a_field_stored_wrong_turns_a_cell_red(broken, start_mutant, peers, stored, start_peer):
    *change, words, role = MUTANTS[broken]
    mutant = start_mutant(*change)
    producer, worker = (mutant, peers["node6"]) if role == "adds" else (peers["node6"], mutant)
    cell = Cell(producer, worker, stored, start_peer)
    cell.patience = 3.0

    with pytest.raises((AssertionError, PeerError), match=r"^assert|FlowStuck"):
        SCENARIOS[words](cell)


def test_an_unbroken_copy_turns_none_red(start_mutant, peers, stored, start_peer):
    whole = "'returnvalue', run.value, 'finishedOn'"
    mutant = start_mutant("finish", whole, whole)

    for roles in ((mutant, peers["node6"]), (peers["node6"], mutant)):
        for words in sorted({words for *_, words, _ in MUTANTS.values()}):
            stored.redis.flushall()
            SCENARIOS[words](Cell(*roles, stored, start_peer))
