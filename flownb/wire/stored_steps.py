"""Steps of a row: tasks that run one after another for it. What a many-row job says of them, and how they are counted.

The ``bind`` of such a job has ``steps``; the value of one of its rows is the list of what its steps returned. A job
runs a stretch of them: from the step that it is named after to the next one that begins a job of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, PRIORITIZED, WAITING

_SHORT = (",", ":")
_FURTHEST_FIRST = (ACTIVE, DELAYED, PRIORITIZED, WAITING)


class StoredStep(NamedTuple):
    """One step, as a job's ``bind`` names it."""

    name: str
    queue: str
    opts: str = "{}"  #: JSON text of its task's options, BullMQ's short keys
    begins: bool = False  #: it begins a job: a row that has come to it goes on in another one
    is_weighed: bool = False  #: its worker says what a row of such a job weighs, before it begins


def packed(steps: Iterable[StoredStep]) -> str:
    """Return steps as the JSON text that stands in a ``bind``.

    >>> packed([StoredStep("fetch", "fetch"), StoredStep("parse", "parse", '{"attempts":3}')])
    '[["fetch","fetch",{}],["parse","parse",{"attempts":3}]]'
    >>> packed([StoredStep("ask", "provider", begins=True), StoredStep("b", "q", begins=True, is_weighed=True)])
    '[["ask","provider",{},1],["b","q",{},2]]'
    """
    return json.dumps(
        [
            [step.name, step.queue, json.loads(step.opts), *([1 + step.is_weighed] if step.begins else [])]
            for step in steps
        ],
        ensure_ascii=False,
        separators=_SHORT,
    )


def steps_in(bind: Mapping[str, Any]) -> tuple[StoredStep, ...]:
    """Return the steps of a job from its ``bind``; none where its rows have one task.

    >>> steps_in({"rows": 1, "steps": [["parse", "q", {"attempts": 3}]]})
    (StoredStep(name='parse', queue='q', opts='{"attempts":3}', begins=False, is_weighed=False),)
    """
    stored = bind.get("steps")
    return _steps_of_text(json.dumps(stored)) if stored else ()


@lru_cache(maxsize=256)
def _steps_of_text(text: str) -> tuple[StoredStep, ...]:
    """All jobs of a batch have the same steps: they are read once."""
    return tuple(
        StoredStep(
            name, queue, json.dumps(opts, ensure_ascii=False, separators=_SHORT), bool(begins), begins == [2]
        )
        for name, queue, opts, *begins in json.loads(text)
    )


def stretches(begins: Sequence[bool]) -> list[range]:
    """Return which steps run in one job, stretch by stretch; `begins` says of each step whether it begins a job.

    >>> stretches([False, False, True, False])
    [range(0, 2), range(2, 4)]
    """
    starts = [0, *(at for at, one in enumerate(begins) if one and at)]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(begins)], strict=True)]


def stretch_of(steps: Sequence[StoredStep], name: str) -> range:
    """Return which of the steps the job of this name runs.

    >>> stretch_of([StoredStep("a", "a"), StoredStep("b", "q", begins=True), StoredStep("c", "c")], "b")
    range(1, 3)
    """
    found = stretches([step.begins for step in steps])
    return next((one for one in found if steps[one.start].name == name), found[0])


def has_steps(bind: str | None) -> bool:
    """Is this the ``bind`` of a job whose rows have steps?

    >>> has_steps(None), has_steps('{"rows":1,"first":0,"steps":[["parse","q",{}]]}')
    (False, True)
    """
    return bind is not None and '"steps":[[' in bind


def timed_name(name: str, steps: Sequence[StoredStep]) -> str:
    """Return under which name it is remembered how long a row takes: other steps take another time.

    >>> timed_name("fetch", []), timed_name("fetch", [StoredStep("fetch", "q"), StoredStep("parse", "q")])
    ('fetch', 'fetch>parse')
    """
    return ">".join(step.name for step in steps) or name


def note_of(names: Sequence[str], before: Sequence[int], queues: Sequence[str] = ()) -> bytes:
    """Return what a flow's counts say of its rows' steps, and of how many rows each had ended before it was added.

    Numbers of steps are those that have done each, in order, then those that have failed at each. `queues` are those
    beside the first one in which the rows have jobs: these are counted as the rows', too.

    >>> note_of(["fetch", "parse"], [3, 2, 0, 1])
    b'{"names":["fetch","parse"],"before":[3,2,0,1]}'
    """
    more = {"queues": list(queues)} if queues else {}
    return json.dumps(
        {"names": list(names), "before": list(before), **more}, ensure_ascii=False, separators=_SHORT
    ).encode()


def states_of_steps(
    note: Mapping[str, str], total: int, states: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Return how many rows are in which state at each step, of `total` rows that are in these `states` as a whole.

    A row that has not ended stands at the first step that it has not done; such rows share the open states, the
    furthest first.

    >>> note = {"rows-steps": '{"names":["fetch","parse"],"before":[0,0,0,0]}', "rows-step-1": "5", "rows-step-2": "2",
    ...         "rows-step-3": "1"}
    >>> states_of_steps(note, 10, {"completed": 2, "failed": 1, "active": 4, "waiting": 3})
    {'fetch': {'completed': 5, 'failed': 1, 'active': 1, 'waiting': 3}, 'parse': {'completed': 2, 'active': 3}}
    """
    told = json.loads(note["rows-steps"])
    names, before = told["names"], told["before"]
    numbers = [max(n + int(note.get(f"rows-step-{at}", 0)), 0) for at, n in enumerate(before, 1)]
    done, failed = numbers[: len(names)], numbers[len(names) :]
    lines: dict[str, dict[str, int]] = {}
    reached = total
    for name, ended, lost in zip(names, done, failed, strict=True):
        lines[name] = {COMPLETED: min(ended, reached), FAILED: min(lost, max(reached - ended, 0))}
        lines[name]["open"] = reached - sum(lines[name].values())
        reached = lines[name][COMPLETED]
    left = {state: states[state] for state in _FURTHEST_FIRST if states.get(state)}
    left |= {state: n for state, n in states.items() if state not in (*left, COMPLETED, FAILED)}
    for line in reversed(lines.values()):
        wanted = line.pop("open")
        for state, n in left.items():
            line[state] = min(n, wanted)
            left[state] -= line[state]
            wanted -= line[state]
        line[FAILED] += wanted  # jobs that ended as a whole, such as cancelled ones
    return {name: {state: n for state, n in line.items() if n} for name, line in lines.items()}
