"""Shows that a server whose file lost its end, as by a power failure, holds whole flows that run to their end."""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import flownb as fn
from tests.support import append_only_file, invariants
from tests.support.server import OwnServer

CUTS = 20


@contextmanager
def started_from(folder, length):
    """Start a server from a copy of the files, the last of them cut to this length."""
    with tempfile.TemporaryDirectory(prefix="flownb-torn-") as copy:
        shutil.copytree(folder / "appendonlydir", Path(copy) / "appendonlydir")
        server = OwnServer.__new__(OwnServer)
        server.folder = Path(copy)
        append_only_file.cut(server.log_file(), keep=length)
        server.__init__(Path(copy), fsync="everysec")
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
def torn(scene, until, ended):
    """Give the files of a server that was killed in the middle of a flow, and the length at which the flow was there."""
    scene.worker()
    begun_at = scene.server.log_file().stat().st_size
    scene.add(150, 0.005)
    stored_at = scene.server.log_file().stat().st_size
    until(lambda: ended() >= 120)
    scene.server.kill()
    return scene.server.folder, begun_at, stored_at


def test_wherever_the_file_is_torn_what_is_there_is_whole(torn, scene):
    folder, begun_at, _ = torn
    length = scene.server.log_file().stat().st_size
    chance = random.Random(7)
    for keep in [
        append_only_file.inside_the_last_block(scene.server.log_file()),
        *(chance.randrange(begun_at, length) for _ in range(CUTS)),
    ]:
        with started_from(folder, keep) as server, server.client() as client:
            assert invariants.violations(client) == [], keep


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_flow_on_a_server_whose_file_was_torn_runs_to_its_end(torn, scene, share):
    folder, _, stored_at = torn
    length = scene.server.log_file().stat().st_size
    with started_from(folder, stored_at + int(share * (length - stored_at))) as server:
        scene.worker(url=server.url)
        with fn.Connection(server.url) as there:
            flow = fn.attach("total:tree-0", connection=there)
            [(_, jobs)] = scene.work.trees
            assert flow.result(timeout=30) == {"sum": sum(job["number"] for job in jobs), "n": 150}
            assert fn.doctor(connection=there).empty
