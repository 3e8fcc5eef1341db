"""Makes the model and the bench of the script tests importable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "wire")]

if TYPE_CHECKING:
    from redis import Redis
    from wire_bench import Bench


@pytest.fixture
def bench(redis: Redis) -> Bench:
    """Give a store with a clock of its own on an empty server."""
    from wire_bench import Bench

    return Bench(redis)
