"""claim_queue: a kernel notes what it runs for a queue, only beside the notes that it has read."""

from __future__ import annotations

from flownb.wire.store import Store
from tests.support.script_bench import Bench, base

MINE, THEIRS = {"score": "3.12-00 {}"}, {"score": "3.12-11 {}"}


def kernels_of(bench: Bench):
    return Store(bench.redis, "bull").kernels


def codes(bench: Bench):
    return {kernel: note.code for kernel, note in kernels_of(bench).read(base("q")).items()}


def test_a_kernel_notes_its_code_beside_what_it_has_read_and_forgets_who_is_gone(bench: Bench):
    kernels = kernels_of(bench)
    assert kernels.claim(base("q"), "one", MINE, seen={})
    assert kernels.claim(base("q"), "two", THEIRS, seen=kernels.read(base("q")), gone=["one"])
    assert codes(bench) == {"two": THEIRS}


def test_a_note_that_came_or_changed_since_refuses_the_claim_and_leaves_no_trace(bench: Bench):
    kernels = kernels_of(bench)
    kernels.claim(base("q"), "one", MINE, seen={})
    seen = kernels.read(base("q"))
    assert not kernels.claim(base("q"), "two", THEIRS, seen={})
    kernels.claim(base("q"), "one", THEIRS, seen={})
    before = bench.dump()
    assert not kernels.claim(base("q"), "two", THEIRS, seen=seen)
    assert bench.dump() == before


def test_a_claim_sent_twice_changes_nothing(bench: Bench):
    kernels = kernels_of(bench)
    kernels.claim(base("q"), "one", MINE, seen={})
    before = bench.dump()
    assert kernels.claim(base("q"), "one", MINE, seen={})
    assert bench.dump() == before
