"""Fetch a batch's large values, which are stored once, with their job (see ``lua/lib/large_values.lua``)."""

from __future__ import annotations

from collections.abc import Mapping

from flownb.errors import JobMissing
from flownb.wire import codec
from flownb.wire.store.limits import in_pieces
from flownb.wire.store.server import Server

_NOTE = '{"flownb:large":'
_VALUES_A_READ = 20  # each has at least a quarter of a megabyte


def stands_for_large(text: str) -> bool:
    """Say whether this stands in place of a job's value. What only looks like it is the job's value, too."""
    return text.startswith(_NOTE)


class LargeValues:
    """Reads large values where a short note stands for them."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def in_full(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return the values of jobs, by key, with each large one in place of the note that stands for it.

        Raises `JobMissing` for one that is gone with its job.
        """
        found = dict(texts)
        large = [key for key, text in texts.items() if stands_for_large(text)]
        for some in in_pieces(large, _VALUES_A_READ):
            with self._server.pipeline() as pipe:
                for key in some:
                    pipe.hget(key, "returnvalue")
                values = pipe.execute()
            for key, value in zip(some, values, strict=True):
                if value is None:
                    raise JobMissing(
                        f"the value of {key} is gone: it was large, so only the job held it; run its fan_out again"
                    )
                found[key] = codec.text(value)
        return found
