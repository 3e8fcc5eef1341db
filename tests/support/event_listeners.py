"""Listeners that note what they hear."""

from __future__ import annotations

import threading

import flownb as fn
from flownb.api.event import EVENTS


def names_of(heard, job_id):
    return [event.name for event in heard if event.job_id == job_id]


def listening(queue, heard, **more):
    """Return a listener that notes everything; not started."""
    events = fn.QueueEvents(queue, **more)
    for name in EVENTS:
        events.on(name, heard.append)
    return events


def threads():
    return [thread for thread in threading.enumerate() if thread.name.endswith("-events")]
