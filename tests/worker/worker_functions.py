"""Functions that worker processes run; each start is a row in a list on the server, under the job's id."""

from __future__ import annotations

import time


def _note(job):
    job._store.client.rpush("ran", job.id)


def quick(job):
    _note(job)
    return job.data


def short(job):
    _note(job)
    time.sleep(0.01)
    return job.data


def gated(job):
    """Run until the test opens the gate."""
    _note(job)
    while not job._store.client.exists("gate"):
        time.sleep(0.005)
    return job.data


def first_run_is_gated(job):
    """Wait for the gate in the first run of each job; later runs end at once."""
    _note(job)
    run = job._store.client.incr(f"runs-of-{job.id}")
    while run == 1 and not job._store.client.exists("gate"):
        time.sleep(0.005)
    return run


def hog(job):
    """Hold the interpreter's lock for some seconds without a break: one call that never leaves C."""
    _note(job)
    started = time.monotonic()
    sum(range(10**7))
    times = job.data["seconds"] / (time.monotonic() - started)
    sum(range(int(times * 10**7)))
    return time.monotonic() - started
