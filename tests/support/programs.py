"""Programs that some tests need and a machine may lack."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str, command: str) -> NoReturn:
    """Skip this test on a laptop; fail it where CI=true, which must not pass by leaving out."""
    message = f"{what} is missing: {command}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
