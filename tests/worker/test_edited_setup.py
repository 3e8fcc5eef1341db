"""Shows a cell with an async `setup` that is run again: the client of the former one is closed, and no row waits for that."""

from __future__ import annotations

import asyncio
import gc

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")

ROWS = pd.DataFrame({"n": range(12)})


def test_a_client_of_a_former_cell_is_closed_while_its_loop_goes_on():
    said = []

    class Client:
        async def close(self):
            await asyncio.sleep(0)  # as clients do: it needs its loop
            said.append("closed")

    def cell():
        async def client():
            said.append("loaded")
            return Client()

        @fn.task(queue="service", setup={"client": client})
        async def ask(n, client):
            return n

        return ask

    with fn.workers(2):
        for start in range(3):
            ask = cell()
            found = fn.fan_out(ROWS + start, ask, name=f"run {start}").results(timeout=60)
            assert found["ask"].tolist() == [n + start for n in range(12)]
            del ask
            gc.collect()  # nobody but the tasks' own list knows the former cell's function
    assert said == ["loaded", "closed"] * 3
