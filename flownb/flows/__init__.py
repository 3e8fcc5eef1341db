"""Flows: trees going in, handles of stored ones.

Called, ``flownb.flows(queue=None, state=None, limit=100)`` lists the flows on the server, the newest first: a DataFrame
flow name state completed failed total age_s why. See `flownb.flows.listing.flows`.

>>> flow = add({"name": "total", "queueName": "doc-newest"})
>>> flows(queue="doc-newest", state="waiting")["name"].tolist()
['total']
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from flownb.connection import Connection


class _Flows(ModuleType):
    """The package is the function that lists flows, too: users type ``flownb.flows()``."""

    def __call__(
        self,
        queue: str | None = None,
        state: str | None = None,
        limit: int = 100,
        *,
        connection: Connection | None = None,
    ) -> pd.DataFrame:
        from flownb.flows import listing

        return listing.flows(queue, state, limit, connection=connection)


sys.modules[__name__].__class__ = _Flows
flows = sys.modules[__name__]
