"""What tests of files share: an S3 of the tests' own, and the places where files may be."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.noted_runs import NotedRuns


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Give the URL of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of an empty bucket; credentials are in the environment, as a worker has them."""
    import fsspec

    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"


@pytest.fixture(params=["own", "folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Give what `files=` is: nothing, a folder, a place in this process's memory, a bucket."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/results"
    return {"own": None, "folder": str(tmp_path / "results"), "memory": f"memory://{uuid.uuid4().hex}"}[
        request.param
    ]


@pytest.fixture
def runs() -> NotedRuns:
    return NotedRuns()
