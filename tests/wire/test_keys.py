"""Names of keys, and which names are allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flownb.wire import keys
from flownb.wire.folding import group_siblings, template_of
from flownb.wire.keys import problem_with_id, problem_with_name, problem_with_queue


@pytest.mark.parametrize("prefix", ["bull", "{bull}", "{bull}:custom", "a:b"])
def test_a_key_is_cut_where_it_was_glued(prefix: str):
    key = keys.job(prefix, "item-processor", "17a")

    assert key == f"{prefix}:item-processor:17a" == f"{keys.base(prefix, 'item-processor')}:17a"
    assert keys.split(key) == (prefix, "item-processor", "17a")


def test_flownbs_own_keys_are_outside_every_queue():
    assert keys.own("bull", "names") == "bull:flownb:names"
    assert keys.own("{b}", "flow", "f1") == "{b}:flownb:flow:f1"
    assert problem_with_queue("flownb") == "is kept for flownb's own keys"


def test_new_ids_sort_by_time_and_differ():
    made = [keys.new_id() for _ in range(2000)]

    assert len(set(made)) == 2000
    assert made == sorted(made)
    assert {len(id) for id in made} == {20}
    assert [problem_with_id(id) for id in made] == [None] * 2000


@pytest.mark.parametrize(
    "id", ["a", "order-17", "17a", "ä", "🎈", "with space", "x" * 256, "waiting", "-", "a.b/c"]
)
def test_a_good_id_is_let_through(id: str):
    assert problem_with_id(id) is None


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("a:b", "colon"),
        ("a:b:c", "colon"),
        ("0:x", "colon"),
        ("123", "bare number"),
        ("0", "bare number"),
        ("٣", "bare number"),
        (7, "text, not int"),
        (None, "text, not NoneType"),
        (b"a", "text, not bytes"),
        ("", "1 to 256 bytes"),
        ("x" * 257, "1 to 256 bytes"),
        ("é" * 129, "1 to 256 bytes"),
        ("a\n", "control characters"),
        ("\na", "control characters"),
        ("a\x00b", "control characters"),
        ("a\x1b[0m", "control characters"),
        ("a\u202eb", "control characters"),
        ("a\u200f", "control characters"),
        ("a\x85", "control characters"),
        ("a\ud800", "control characters"),
        *((word, "queue's own keys") for word in sorted(keys.RESERVED_IDS)),
    ],
)
def test_a_bad_id_is_refused(id: object, says: str):
    assert says in (problem_with_id(id) or "")


WORDS = """
    wait active paused delayed prioritized completed failed waiting-children stalled stalled-check limiter meta events
    marker id pc de repeat lock
"""


@pytest.mark.parametrize("word", WORDS.split())
def test_every_key_of_a_queue_is_reserved(word: str):
    assert word in keys.RESERVED_IDS


@pytest.mark.parametrize("queue", ["q", "item-processor", "q.1", "with space", "é", "x" * 256])
def test_a_good_queue_is_let_through(queue: str):
    assert problem_with_queue(queue) is None


@pytest.mark.parametrize(
    ("queue", "says"),
    [
        ("", "1 to 256 characters"),
        ("x" * 10_000, "1 to 256 characters"),
        (" q", "no space at its ends"),
        ("q\n", "no space at its ends"),
        (None, "text, not NoneType"),
        (5, "text, not int"),
        ("a:b", "colon"),
        ("a*", "must not hold * ?"),
        ("a?", "must not hold * ?"),
        ("[a]", "must not hold * ?"),
        ("{a}", "must not hold * ?"),
        ("a\x00", "control characters"),
        ("a\u202eb", "control characters"),
        ("a\udc00b", "control characters"),
    ],
)
def test_a_bad_queue_is_refused(queue: object, says: str):
    assert says in (problem_with_queue(queue) or "")


@pytest.mark.parametrize(
    "name", ["n", "<script>alert(1)</script>", "a:b", "123", "active", "day 2024-11-03", "é" * 256]
)
def test_a_good_name_is_let_through(name: str):
    assert problem_with_name(name) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "1 to 256 characters"),
        ("x" * 257, "1 to 256 characters"),
        (None, "text, not NoneType"),
        (5, "text, not int"),
        ("a\n", "control characters"),
        ("a\nb", "control characters"),
        ("a\x00", "control characters"),
        ("a\x1b]0;", "control characters"),
        ("a\u202e", "control characters"),
        ("a\ud800", "control characters"),
    ],
)
def test_a_bad_name_is_refused(name: object, says: str):
    assert says in (problem_with_name(name) or "")


@settings(derandomize=True)
@given(text=st.text(alphabet=st.characters(exclude_categories=()), max_size=300))
def test_what_is_let_through_fits_into_a_key(text: str):
    if problem_with_id(text) is None:
        assert text.isprintable() or not text.isascii()
        assert "\n" not in text
        assert keys.split(keys.job("bull", "q", text)) == ("bull", "q", text)
        assert 1 <= len(text.encode()) <= 256


@settings(derandomize=True)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from("qw"),
            st.sampled_from(["a-1", "a-2", "b", "x9y", "f/1.png", "12", "7z", "z7", "a1-2"]),
        )
    )
)
def test_grouping_siblings_loses_none_and_keeps_queues_apart(pairs: list[tuple[str, str]]):
    groups = group_siblings(pairs)

    assert sorted(i for _, _, places in groups for i in places) == list(range(len(pairs)))
    for queue, name, places in groups:
        assert {pairs[i][0] for i in places} == {queue}
        assert len({template_of(pairs[i][1]) for i in places}) == 1
        assert name in {pairs[places[0]][1], template_of(pairs[places[0]][1])}
