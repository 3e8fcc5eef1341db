"""Soaks for a short while, as `make soak` does for an hour, and shows that each kind of leak is found."""

from __future__ import annotations

import pytest

from tests.faults import soak

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


def test_nothing_grows(tmp_path):
    report = soak.run(0.5, tmp_path)
    print(report)
    assert report.problems == []


def test_planted_leaks_are_found_where_they_are(tmp_path):
    report = soak.run(0, tmp_path, rounds=12, leak="memory, threads, files, keys")
    grown = [problem.split(" grew")[0] for problem in report.problems]
    assert sum(words.startswith("worker") for words in grown) >= 3
    assert {words.rsplit(": ", 1)[1] for words in grown} >= {"memory", "threads", "files", "keys"}
    assert not [words for words in grown if words.startswith("producer")]
