"""The faults that ``tests/support/mutations.py`` plants have a place in the scripts; whether tests notice them is run by hand."""

from __future__ import annotations

import pytest

from tests.support.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: f"{one.file}: {one.name}")
def test_a_planted_fault_has_one_place(one: Mutation):
    (path,) = (ROOT / "flownb" / "wire" / "lua").rglob(f"{one.file}.lua")
    text = path.read_text(encoding="utf-8")
    assert text.count(one.old) == 1
    assert one.new != one.old
