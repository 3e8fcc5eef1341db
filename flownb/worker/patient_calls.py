"""Ask a server that may be away for a while: what rows have come to must not be lost with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from flownb.errors import ServerError

T = TypeVar("T")

TRIES_OF_SERVER = 300  # while it is away
PAUSE_BETWEEN_TRIES = 0.2  # seconds


def patiently(ask: Callable[[], T]) -> T:
    """Return what `ask` answers; while no server is found, ask again."""
    for _ in range(TRIES_OF_SERVER):
        with contextlib.suppress(ServerError):
            return ask()
        time.sleep(PAUSE_BETWEEN_TRIES)
    return ask()
