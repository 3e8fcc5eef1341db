"""Middleware that warns when the server has come back without its data: who waits for jobs there waits for nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flownb.wire.store.leases import Sweep
from flownb.worker.middleware import Middleware

log = logging.getLogger("flownb.worker")


class VanishedData(Middleware):
    """Sees at each sweep whether the server still knows of the sweeps before; nothing of flownb's removes that."""

    def __init__(self) -> None:
        self._noted: set[str] = set()  # queues that the server has noted as served; the pump's thread writes

    def on_swept(self, bases: Sequence[str], sweep: Sweep) -> None:
        if sweep.news > len(set(bases) - self._noted):
            log.warning(
                "the server has lost its data (it came back without a file, with another volume, or was flushed): the "
                "jobs and flows that were on it are gone; add them again"
            )
        self._noted = set(bases)
