"""By which versions of their function the rows of a batch ran, as its record says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flownb.tasks.code import changes, in_brackets


def codes_of_rows(record: Mapping[str, str], spec: Mapping[str, Any]) -> list[str]:
    """Return the codes by which rows of a batch ran or will run, the oldest first."""
    if "codes" in record:
        noted: list[str] = json.loads(record["codes"])
        return noted
    return list(dict.fromkeys(code for code in (spec.get("code"), spec.get("added_code")) if code))


def mixed_versions(record: Mapping[str, str], spec: Mapping[str, Any]) -> str:
    """Return in words that rows of several versions stand side by side; empty where they do not."""
    codes = codes_of_rows(record, spec)
    if len(codes) < 2:
        return ""
    return f"rows ran by {len(codes)} versions of {spec['task']}{in_brackets(changes(codes[-2], codes[-1]))}"
