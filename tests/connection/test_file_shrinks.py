"""Shows that the append-only file of the embedded server shrinks after much was removed, without a restart."""

from __future__ import annotations

import os
from pathlib import Path

from flownb.api.producer import FlowProducer
from flownb.api.prune import prune
from flownb.connection import Connection

SMALL = 1_000_000  # bytes


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "appendonlydir").iterdir())


def fill(connection: Connection) -> None:
    """Add 20 cancelled flows of 500 kB each, which cannot be compressed."""
    producer = FlowProducer(connection=connection)
    for _ in range(20):
        producer.add({"name": "big", "queueName": "bigs", "data": os.urandom(250_000).hex()}).cancel()


def test_the_file_shrinks_when_who_removed_much_leaves(folder, watch):
    with Connection(path=folder) as kernel:
        fill(kernel)
        assert size_of(folder) > 10 * SMALL
        with Connection(path=folder) as command:
            assert len(prune(state="cancelled", connection=command)) == 20
        watch.until(lambda: size_of(folder) < SMALL)
        assert watch.link(folder)["server_pid"]
    watch.gone(folder)


def test_the_last_one_out_leaves_a_small_file(folder, watch):
    with Connection(path=folder) as connection:
        fill(connection)
        prune(state="cancelled", connection=connection)
        assert size_of(folder) > 10 * SMALL
    watch.gone(folder)
    assert size_of(folder) < SMALL


def test_a_file_of_what_is_there_is_left_as_it_is(folder, watch):
    with Connection(path=folder) as kernel:
        fill(kernel)
        kept = {file.name for file in (folder / "appendonlydir").iterdir()}
        Connection(path=folder).close()
        kernel.client().ping()
    watch.gone(folder)
    assert {file.name for file in (folder / "appendonlydir").iterdir()} == kept
