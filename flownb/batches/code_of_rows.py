"""By which versions of their functions the rows of a batch ran, as its record says it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from flownb.batches.batch_request import EarlierStep, earlier_steps
from flownb.tasks.code import changes, in_brackets


def codes_of_rows(record: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the codes by which rows of a batch ran or will run, by task or step, the oldest first."""
    codes = {
        step["task"]: list(dict.fromkeys(code for code in (step.get("code"), step.get("added_code")) if code))
        for step in spec.get("steps") or [spec]
    }
    if "codes" in record:
        codes |= json.loads(record["codes"])
    return codes


def steps_of_rows(record: Mapping[str, str]) -> Iterator[list[EarlierStep]]:
    """Yield the steps of a batch, or its one task, once for each code by which rows ran, the oldest first."""
    spec: dict[str, Any] = json.loads(record.get("spec", "{}"))
    if spec:
        steps, codes = earlier_steps(spec), codes_of_rows(record, spec)
        for some in zip_longest(*codes.values()):
            yield [step._replace(code=code) for step, code in zip(steps, some, strict=True)]


def mixed_versions(record: Mapping[str, str], spec: Mapping[str, Any]) -> str:
    """Return in words that rows of several versions stand side by side; empty where they do not."""
    several = {name: codes for name, codes in codes_of_rows(record, spec).items() if len(codes) > 1}
    words = [
        f"{len(codes)} versions of {name}{in_brackets(changes(codes[-2], codes[-1]))}"
        for name, codes in several.items()
    ]
    return f"rows ran by {', '.join(words)}" if words else ""
