"""The bench that the model is compared at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.script_bench import Bench


@pytest.fixture
def bench(redis: Redis) -> Bench:
    """Give a store with a clock of its own on an empty server."""
    from tests.support.script_bench import Bench

    return Bench(redis)
