"""What several tests of batches use."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.wire.store.jobs import Jobs
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


@pytest.fixture
def before_storing(monkeypatch):
    """Give what is called once right before the next jobs are stored: as another kernel may, after this one has looked."""
    add = Jobs.add

    def do_before(action):
        def add_later(self, *args, **kwargs):
            monkeypatch.setattr(Jobs, "add", add)
            action()
            return add(self, *args, **kwargs)

        monkeypatch.setattr(Jobs, "add", add_later)

    return do_before
