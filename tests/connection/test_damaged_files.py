"""Shows that a damaged file of the embedded server is refused, copied and repaired by the command that is named."""

from __future__ import annotations

import subprocess

import pytest

import flownb as fn
from flownb.connection import Connection
from flownb.errors import ServerUnreachable


def test_a_file_that_is_damaged_in_its_middle_is_refused_and_repaired_by_the_named_command(folder, watch):
    with Connection(path=folder) as connection:
        queue = fn.Queue("q", connection=connection)
        for i in range(30):
            queue.add("j", i)
    watch.gone(folder)
    [file] = (folder / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    at = whole.index(b"\r\n*", len(whole) * 2 // 3) + 2
    damaged = whole[:at] + b"X" + whole[at + 1 :]
    file.write_bytes(damaged)
    for _ in range(2):  # it stays so, however often it is tried
        with pytest.raises(ServerUnreachable, match="is damaged in its middle; it was not changed") as error:
            Connection(path=folder)
        assert str(file) in str(error.value)
        assert file.read_bytes() == damaged
        assert (file.parent / f"{file.name}.damaged").read_bytes() == damaged
    command = str(error.value).partition("run: ")[2]
    subprocess.run(command, shell=True, input=b"y\n", check=True, stdout=subprocess.DEVNULL)
    assert file.read_bytes() == damaged[: len(file.read_bytes())]
    with Connection(path=folder) as connection:
        found = fn.Queue("q", connection=connection).get_jobs("waiting", 0, -1)
        assert [job.data for job in found] == list(range(len(found)))
        assert 10 < len(found) < 30
