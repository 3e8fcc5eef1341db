"""What a worker was started with: read by all of its threads, written by none."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from flownb.connection import Connection


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """One a start of a worker."""

    name: str  #: in the names of its threads
    connection: Connection
    bases: Callable[[], list[str]]  #: the queues to serve now, as keys; they change when tasks are defined
    limiter_of: Callable[[str], dict[str, int] | None]  #: the limiter of a queue
    lane_of: Callable[[str], tuple[str, int]]
    """The name of a queue's lane, and how many of its jobs run at a time; see `lanes.py`."""
    lock_ms: int
    stalled_interval: float  #: seconds
    max_stalled_count: int
    identity: str = field(default_factory=lambda: f"{secrets.token_hex(6)}:")
    """What the tokens of all leases of this start begin with."""
