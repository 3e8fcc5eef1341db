"""Makes `books` and `wire_bench` importable, and gives the bench that script tests work at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from redis import Redis
    from wire_bench import Bench


@pytest.fixture
def bench(redis: Redis) -> Bench:
    """Give a store with a clock of its own on an empty server, and builders around it."""
    from wire_bench import Bench

    return Bench(redis)
