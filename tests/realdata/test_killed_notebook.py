"""A notebook over a Parquet file whose kernel is killed in the middle gives the same as a plain loop."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import pytest

import flownb as fn

pl = pytest.importorskip("polars")
jupyter_client = pytest.importorskip("jupyter_client")

ROWS, UNTIL_KILLED = 120, 50

FIRST = """
from pathlib import Path
import time
import polars as pl
from PIL import Image
import flownb as fn

@fn.task
def look(tailnum, flights):
    while flights >= UNTIL_KILLED and not Path("go-on").exists():
        time.sleep(0.01)
    if flights % 10 == 7:
        raise ValueError("no picture")
    return {
        "picture": Image.new("RGB", (flights + 1, 2), (flights, 0, 0)),
        "flown": pl.DataFrame({"n": range(flights % 5), "tailnum": tailnum}),
        "double": 2 * flights,
    }
"""
RUN = 'batch = fn.fan_out(pl.scan_parquet("rows.parquet"), look, key="tailnum", name="looked-at")'
AGAIN = 'found = fn.attach("looked-at").results(timeout=200, frame="polars")'
# What a person would have written without flownb, and a comparison cell by cell.
LOOP = """
import json
differences = []
rows = pl.read_parquet("rows.parquet")
assert found["tailnum"].to_list() == rows["tailnum"].to_list()
for given, row in zip(rows.iter_rows(named=True), found.iter_rows(named=True)):
    try:
        expected = look(given["tailnum"], given["flights"])
    except ValueError:
        same = row["picture"] is row["flown"] is row["double"] is None
    else:
        picture, flown = fn.File(**row["picture"]).load(), fn.File(**row["flown"]).load()
        same = (
            picture.tobytes() == expected["picture"].tobytes()
            and picture.size == expected["picture"].size
            and pl.from_pandas(flown).rows() == expected["flown"].rows()
            and row["double"] == expected["double"]
        )
    if not same:
        differences.append(given["tailnum"])
failures = fn.attach("looked-at").failures
print(json.dumps({"rows": len(found), "differences": differences, "kinds": failures["kind"].unique().tolist(),
                  "failed": len(failures), "attempts": failures["attempts"].max().item()}))
"""


@contextmanager
def kernel(folder, connection):
    """Give what runs cells in a real kernel, and its process."""
    manager = jupyter_client.KernelManager(kernel_name="python3")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWNB")}
    manager.start_kernel(cwd=str(folder), env=environment)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def run(cell):
        printed = []

        def hear(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = client.execute_interactive(cell, timeout=240, output_hook=hear)
        assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", []))
        return "".join(printed)

    try:
        run(f"import flownb as fn; fn.connect(path={connection.path.as_posix()!r})")
        run(FIRST.replace("UNTIL_KILLED", str(UNTIL_KILLED)))
        yield run, manager.provisioner.pid
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_killed_notebook_gives_what_a_plain_loop_gives(connection, tmp_path, until):
    rows = {"tailnum": [f"N{n:05}" for n in range(ROWS)], "flights": range(ROWS), "unused": [None] * ROWS}
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    with kernel(tmp_path, connection) as (run, pid):
        run(RUN)
        batch = fn.attach("looked-at")
        until(lambda: batch.progress().completed >= UNTIL_KILLED // 2, 100)
        assert batch.progress().completed < ROWS - UNTIL_KILLED // 2
        os.kill(pid, signal.SIGKILL)
    (tmp_path / "go-on").touch()
    with kernel(tmp_path, connection) as (run, _):
        run(AGAIN)
        told = json.loads(run(LOOP).splitlines()[-1])
    assert told == {
        "rows": ROWS,
        "differences": [],
        "kinds": ["ValueError: no picture"],
        "failed": ROWS // 10,
        "attempts": 1,
    }
    assert fn.doctor().empty
