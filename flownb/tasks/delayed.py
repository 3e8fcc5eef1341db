"""`Delayed`: a function puts its job off, or its row alone."""

from __future__ import annotations

from flownb.arguments import shown
from flownb.errors import FlownbError


class Delayed(FlownbError):
    """Raise it in a processor or task: the job, or the row alone, runs again after a while, and no attempt is charged.

    Until then it takes no slot and stands as ``delayed``: submit work to a service in one run, look for the result in
    the next. `wait` is a duration (seconds, a timedelta, text such as ``"10m"``); what says no time fails the attempt.

    >>> answers = ["in progress", "done"]
    >>> def poll(job):
    ...     if (answer := answers.pop(0)) == "in progress":
    ...         raise Delayed("20ms")
    ...     return answer
    >>> flow = add({"name": "poll", "queueName": "doc-polls"})
    >>> with Worker("doc-polls", poll):
    ...     flow.result(timeout=30), flow.job.attempts_made
    ('done', 1)
    """

    def __init__(self, wait: object) -> None:
        super().__init__(f"put off for {wait if isinstance(wait, str) else shown(wait)}")
        self.wait = wait
