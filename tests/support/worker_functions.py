"""Functions that worker processes run; each start is a row in a list on the server, under the job's id."""

from __future__ import annotations

import ctypes
import os
import time


def _note(job):
    job._store.server.client.rpush("ran", job.id)


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
    while not job._store.server.client.exists("gate"):
        time.sleep(0.005)
    return job.data


def first_run_is_gated(job):
    """Wait for the gate in the first run of each job; later runs end at once."""
    _note(job)
    run = job._store.server.client.incr(f"runs-of-{job.id}")
    while run == 1 and not job._store.server.client.exists("gate"):
        time.sleep(0.005)
    return run


def hog(job):
    """Hold the interpreter's lock without a break, as a long call into C does."""
    _note(job)
    started = time.monotonic()
    ctypes.PyDLL(None).usleep(int(job.data["seconds"] * 1e6))  # PyDLL keeps the lock, CDLL would not
    return time.monotonic() - started


def hogs_by_name(job):
    """Hold the interpreter's lock, longer than any test, where the job's name asks for it."""
    _note(job)
    if job.name == "holds":
        job._store.server.client.set("holds", 1)
        ctypes.PyDLL(None).sleep(600)


def holds_before_it_reads(job):
    """From the first job on, hold the interpreter as soon as the server has answered with further ones."""
    from flownb.worker.held_jobs import HeldJobs

    hand_out = HeldJobs.hand_out

    def held_up(self, fetched, call):
        if fetched:
            ctypes.PyDLL(None).sleep(600)
        hand_out(self, fetched, call)

    HeldJobs.hand_out = held_up
    _note(job)


def holds_while_others_are_handed_out(job):
    """Hold the interpreter where the job's name asks for it, before the jobs fetched with it have come to a slot."""
    from flownb.worker.lanes import Lane

    put = Lane.put

    def slowly(self, held):
        put(self, held)
        if held.taken.record.name == "holds":
            time.sleep(5)  # the slot begins meanwhile, and this thread does not go on

    Lane.put = slowly
    hogs_by_name(job)


def dies_by_name(job):
    """Kill the process where the job's name asks for it; else run until the gate is open, or at once."""
    _note(job)
    if job.name == "dies":
        os._exit(139)
    while job.name == "gated" and not job._store.server.client.exists("gate"):
        time.sleep(0.005)


def _pages():
    return [{"name": "page", "queueName": "pages", "data": i} for i in range(1500)]


def adds(job):
    """Add children and return what they did."""
    return job.add_children(_pages())


def adds_and_hangs(job):
    """Add children; then reach a place from which only a kill leads away."""
    try:
        job.add_children(_pages())
    finally:
        _hang(job)


def adds_half(job):
    """Hang when the second of the calls that store the children would go out."""
    jobs = job._store.jobs
    stored, sent = jobs.add, []

    def add(*args, **named):
        if sent:
            _hang(job)
        sent.append(1)
        return stored(*args, **named)

    jobs.add = add
    job.add_children(_pages())


def _hang(job):
    job._store.server.client.set("reached", 1)
    while True:
        time.sleep(0.05)


def spends_and_dies(job):
    """Spend one, die in the first two runs of each job, return in the third."""
    import flownb as fn

    run = job._store.server.client.incr(f"runs-of-{job.id}")
    fn.spend(usd=1, tokens=run)
    if run < 3:
        os.kill(os.getpid(), 9)
    return run


def spends(job):
    """Say before and after that it spends one, which takes a moment."""
    import flownb as fn

    client = job._store.server.client
    client.incr("begun")
    time.sleep(0.01)
    fn.spend(usd=1)
    client.incr("told")
    time.sleep(0.01)
    return job.data
