"""Templates of names and groups of siblings."""

from __future__ import annotations

import pytest

from flownb.wire.folding import group_siblings, template_of


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("process-item-7", "process-item-*"),
        ("process-item-1234567", "process-item-*"),
        ("score", "score"),
        ("send_confirmation", "send_confirmation"),
        ("row 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "row *"),
        ("commit 9fceb02d", "commit *"),
        ("deadbeef face", "deadbeef face"),
        ("day 2024-11-03", "day *"),
        ("at 2024-11-03T10:00:00", "at *"),
        ("load s3://bucket/2024/part-0001.parquet", "load s3://bucket/*/*.parquet"),
        ("thumb photos/cat.png", "thumb photos/*.png"),
        ("fetch https://example.org/about", "fetch https://example.org/*"),
        ("C:\\data\\in\\a.csv", "C:\\data\\in\\*.csv"),
        ("check/order", "check/order"),
        ("folder/", "folder/"),
        ("", ""),
        ("*", "*"),
        ("9" * 10_000, "*"),
    ],
)
def test_the_varying_part_becomes_a_star(name, template):
    assert template_of(name) == template


def test_a_template_is_its_own_template():
    for name in ("process-item-*", "day *", "load s3://bucket/*/*.parquet"):
        assert template_of(name) == name


def test_few_siblings_stand_for_themselves():
    assert group_siblings([("q", f"row-{n}") for n in range(4)]) == [("q", f"row-{n}", [n]) for n in range(4)]


def test_more_are_folded():
    assert group_siblings([("q", f"row-{n}") for n in range(5)]) == [("q", "row-*", [0, 1, 2, 3, 4])]
    assert group_siblings([("q", "row-1"), ("q", "row-2")], most_single=1) == [("q", "row-*", [0, 1])]


def test_siblings_of_one_name_keep_it():
    assert group_siblings([("q", "v2 score")] * 5) == [("q", "v2 score", [0, 1, 2, 3, 4])]


def test_queues_are_not_mixed():
    pairs = [(queue, f"row-{n}") for n in range(6) for queue in ("a", "b")]
    assert [group[0] for group in group_siblings(pairs)] == ["a", "b"]


def test_groups_come_in_order_of_first_appearance_and_every_position_once():
    pairs = [("q", "head-1"), *(("q", f"row-{n}") for n in range(9)), ("q", "head-2"), ("z", "end")]
    groups = group_siblings(pairs)
    assert [group[1] for group in groups] == ["head-1", "row-*", "head-2", "end"]
    assert sorted(place for group in groups for place in group[2]) == list(range(len(pairs)))


def test_no_siblings_no_groups():
    assert group_siblings([]) == []
