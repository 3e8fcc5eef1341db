"""The value of a batch's root that no task runs: how many of its rows completed and failed."""

from __future__ import annotations

from flownb.api.job import Job


def summarise(job: Job) -> dict[str, int]:
    """Return how many children completed and failed: the value of a batch's root without `into`."""
    counts = job.get_dependencies_count()
    return {"completed": counts["processed"], "failed": counts["ignored"] + counts["failed"]}
