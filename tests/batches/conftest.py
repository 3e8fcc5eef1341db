"""What several tests of batches use."""

from __future__ import annotations

import pytest

import flownb as fn
from tests.support.kernel_process import Kernel
from tests.support.noted_runs import NotedRuns


@pytest.fixture
def runs():
    return NotedRuns()


@pytest.fixture
def square(runs):
    """A task that says of each row that it ran."""

    @fn.task
    def square(n):
        runs.note(n)
        return n * n

    return square


@pytest.fixture
def start_kernel(server_folder, connection):
    """Start kernels of one folder; those that a test leaves are killed."""
    started = []

    def start():
        started.append(Kernel(server_folder))
        return started[-1]

    yield start
    for kernel in started:
        kernel.kill()
