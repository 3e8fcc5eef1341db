"""Every scenario ends the same with BullMQ and with flownb, but for what is listed with it."""

from __future__ import annotations

import os

import pytest

from tests.interop.conformance import areas, page
from tests.interop.conformance.play import Play, differences
from tests.interop.conformance.steps import Differs

SCENARIOS = [
    pytest.param(steps, id=f"{area}: {name}")
    for area, named in areas.AREAS.items()
    for name, steps in named.items()
]


@pytest.mark.parametrize("steps", SCENARIOS)
def test_it_ends_the_same(steps, bullmq, flownb, redis):
    theirs, ours = Play(bullmq, redis), Play(flownb, redis)

    found = differences(theirs.all(steps), ours.all(steps))

    assert theirs.left or theirs.answers or ours.answers, "a scenario leaves or answers something"
    words = "\n".join([*found, *theirs.refusals, *ours.refusals])
    assert found == sorted(one.line for one in steps if isinstance(one, Differs)), words


def test_the_page_counts_them_and_lists_every_difference():
    if os.environ.get("FLOWNB_WRITE"):
        page.write()
    assert page.stands_there() == page.text()
    assert sum(map(len, areas.AREAS.values())) >= 200
