"""No entry spoils another: any one key of another type, gone or with damaged text leaves the rest of each call whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flownb.errors import ServerRefused, TransitionError
from flownb.wire import scripts
from tests.support.damage import (
    TEXTS,
    Scene,
    Stored,
    broken_rules,
    is_job,
    job_of,
    misplaced,
    of_another_type,
    others_unlike,
    with_text,
)
from tests.support.random_flows import tries
from tests.support.script_bench import Bench
from tests.support.script_scenes import SCENES

LUA = Path(scripts.__file__).parent / "lua"
EVERY = [(script, scene) for script, scenes in SCENES.items() for scene in scenes]
every_scene = pytest.mark.parametrize(
    "scene", [scene for _, scene in EVERY], ids=[f"{script}: {scene.name}" for script, scene in EVERY]
)


def test_every_script_that_writes_has_a_scene():
    assert SCENES.keys() == {
        path.stem for room in ("transitions", "repair") for path in (LUA / room).glob("*.lua")
    }


def refused(stored: Stored) -> bool:
    """Make the call; a call about one thing may be refused, and has written nothing then."""
    damaged = stored.bench.dump()
    try:
        stored.call()
    except (ServerRefused, TransitionError):
        assert stored.scene.single
        assert stored.bench.dump() == damaged
        return True
    return False


@every_scene
def test_a_key_of_another_type_spoils_nothing_else(bench: Bench, scene: Scene):
    stored = Stored(bench, scene)
    assert len(stored.touched) > 1
    wrong = []
    for key in stored.touched:
        stored.put_back()
        of_another_type(bench, key)
        before = broken_rules(bench)
        try:
            if not refused(stored):
                wrong += [f"{key}: {line}" for line in others_unlike(stored, key)]
                wrong += [f"{key}: {line}" for line in new_troubles(bench, key, before)]
        except Exception as error:
            wrong.append(f"{key}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(line[:180] for line in wrong[:12])


def new_troubles(bench: Bench, damaged: str, before: set[tuple[str, str, str]]) -> list[str]:
    """What the call itself broke, but for what the damaged key alone cannot be told."""
    known = {found[:2] for found in before}
    return [
        " ".join(found)
        for found in sorted(broken_rules(bench))
        if found[:2] not in known and not is_about(damaged, *found)
    ]


def is_about(damaged: str, rule: str, key: str, evidence: str) -> bool:
    """Is this what a job that is damaged, or whose queue is, was not told, or what is not written of it?"""
    job, queue = job_of(damaged), damaged.rpartition(":")[0]
    if is_job(job):
        return job == job_of(key) or job in evidence or evidence.startswith(job.rpartition(":")[2])
    if damaged.startswith("bull:flownb:"):
        return rule in ("C1", "C2", "C3") and damaged.endswith(key.rpartition(" ")[2])
    return rule.startswith("I2") and key.startswith(queue)


@pytest.mark.parametrize("script", SCENES)
def test_damaged_text_spoils_nothing_else(bench: Bench, script: str):
    stored = {scene: Stored(bench, scene) for scene in SCENES[script]}

    @settings(
        tries(40 * len(stored)), phases=[Phase.generate]
    )  # a key and a word: there is nothing to shrink
    @given(
        scene=st.sampled_from(SCENES[script]),
        at=st.integers(0, 500),
        field=st.integers(0, 20),
        word=st.sampled_from(TEXTS),
    )
    def check(scene: Scene, at: int, field: int, word: str | bytes) -> None:
        one = stored[scene]
        held = [key for key in one.touched if key in one.before]
        key = held[at % len(held)]
        one.put_back()
        with_text(bench, key, field, word)
        before = misplaced(bench)
        if not refused(one):
            assert list(others_unlike(one, key)) == []
            assert misplaced(bench).keys() - before.keys() <= {job_of(key)}

    check()
