"""Flows as plain text."""

from __future__ import annotations

from flownb.errors import printable
from flownb.views.text import summary, tree
from flownb.views.words import cut, in_reading_order, shown, tone
from flownb.wire.records import FlowCounts, Snapshot
from tests.support import example_snapshots as scenes


def counted(**states: int) -> Snapshot:
    counts = FlowCounts(by_stage={"score": states})
    return Snapshot(name="score-nov", state="active", nodes=(), counts=counts, created=scenes.START)


def test_a_summary_counts_jobs_completed_and_failed():
    assert summary(counted(completed=812, failed=3, waiting=185)) == (
        "Flow('score-nov': 1000 jobs, 812 completed, 3 failed)"
    )


def test_one_job_is_no_jobs():
    assert summary(counted(completed=1)) == "Flow('score-nov': 1 job, 1 completed)"
    assert summary(counted(waiting=2)) == "Flow('score-nov': 2 jobs)"
    assert summary(counted()) == "Flow('score-nov': 0 jobs)"


def test_a_tree_shows_state_counts_and_errors():
    assert tree(scenes.wide()).splitlines() == [
        "Flow('score-nov': 1505 jobs, 743 completed, 4 failed)",
        "◇ summary  waiting for children",
        "├─ ◇ country fr  waiting for children",
        "│  └─ ✗ process-item-* × 1000  742 completed, 12 active, 3 failed, 243 waiting  (optional)",
        "├─ ◇ country de  waiting for children",
        "│  ├─ ○ process-item-* × 500  500 waiting",
        "│  └─ ✗ process-item-17  failed: TimeoutError: no answer in 30 s",
        "└─ ✓ header  completed",
        "… and 12 jobs more",
    ]


def test_a_shared_job_is_spelled_out_once():
    text = tree(scenes.diamond())
    assert text.count("validate_items") == 1
    assert text.count("process_payment") == 2
    assert "process_payment  (shared, see above)" in text


def test_a_chain_longer_than_the_stack_is_written_out():
    nodes = [scenes.job(str(n), f"step-{n}", children=[str(n + 1)] if n < 2999 else ()) for n in range(3000)]
    assert len(tree(scenes.flow("long", "completed", *nodes)).splitlines()) == 3001


def test_many_jobs_are_shown_in_the_state_to_know_of_first():
    assert tone({"completed": 999, "failed": 1}) == "failed"
    assert tone({"completed": 5, "waiting": 5}) == "waiting"  # nothing runs
    assert tone({"completed": 5, "waiting": 5, "active": 1}) == "active"
    assert tone({"completed": 5, "waiting": 0}) == "completed"
    assert tone({"waiting": 5, "delayed": 1}) == "waiting"
    assert tone({}) == tone({"a new word": 1}) == "unknown"


def test_words_nobody_knows_are_kept_last():
    assert in_reading_order({"paused": 2, "failed": 1}) == [("failed", 1), ("paused", 2)]


def test_shown_names_are_printable_short_and_never_empty():
    assert printable("tab\t") == "tab\\t"
    assert shown("") == "(no name)"
    assert cut("abcdef", 6) == "abcdef"
    assert len(shown("\x00" * 100, 60)) <= 60
