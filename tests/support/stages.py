"""How far the steps of a batch's rows are, as tests compare it."""

from __future__ import annotations

from typing import Any

from flownb.batches.batch import Batch


def stages(batch: Batch) -> dict[str, dict[str, Any]]:
    """Return the lines of `progress().stages`, without zeros."""
    frame = batch.progress().stages
    return {
        str(name): {state: n for state, n in line.items() if n}
        for name, line in frame.to_dict("index").items()
    }
