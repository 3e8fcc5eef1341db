"""Every exception of flownb, and the table from a script's code word to its class.

::

    FlownbError
     ├─ FlowError (ValueError)          refused before the first write
     ├─ OptionError (TypeError)         an option that does not exist, or does not fit
     ├─ ServerError                     the server, or the way to it
     │   ├─ ServerUnreachable
     │   ├─ ServerRefused               reached, but not fit or not allowed for flownb
     │   └─ ReadOnly                    a write on a read-only connection
     ├─ TransitionError                 a script refused a transition
     │   ├─ Cancelled                   also raised in a function that runs for nobody any more
     │   ├─ JobMissing
     │   ├─ JobActive
     │   ├─ JobElsewhere
     │   ├─ JobExists
     │   ├─ JobShared
     │   ├─ ParentMissing
     │   └─ ParentJobCannotBeReplaced
     ├─ FlowFailed                      what `result()` raises
     ├─ FlowStuck                       what `wait()` raises for a flow that cannot end
     ├─ JobCrashed                      an attempt whose process died
     ├─ JobTimeout                      an attempt that ran past its `timeout`
     ├─ UnrecoverableError              raised by a processor: no further attempt
     └─ RateLimitError                  raised by a processor: hold the queue

    WaitingChildren (BaseException)      no error: it ends a run that waits for children
"""

from __future__ import annotations


class FlownbError(Exception):
    """The root of every exception flownb raises."""


class FlowError(FlownbError, ValueError):
    """Something is wrong with a flow, found before anything was written.

    The message names the node's path (``root/children[3]``) or the row's label,
    what is wrong there, and how to mend it.
    """


class OptionError(FlownbError, TypeError):
    """An option that does not exist, or a value that does not fit it."""


class ServerError(FlownbError):
    """Something is wrong with the server or with the way to it."""


class ServerUnreachable(ServerError):
    """No server answers. The message says where flownb looked and what to do next."""


class ServerRefused(ServerError):
    """A server answered that flownb cannot use: too old, evicting, or not letting us in."""


class ReadOnly(ServerError):
    """A write was asked for on a connection opened with ``read_only=True``."""


class TransitionError(FlownbError):
    """A script refused a transition; nothing was written."""


class Cancelled(TransitionError):
    """Nobody needs the job any more: its flow was cancelled, or what it was for has failed.

    Raised in a running function by its next `update_progress`, `log` or `update_data`; let it pass, after
    cleaning up. The job ends there, without a further attempt. `Job.is_cancelled` asks without raising.
    """


class JobMissing(TransitionError):
    """The job is not (or no longer) on the server."""


class JobActive(TransitionError):
    """The job runs right now."""


class JobElsewhere(TransitionError):
    """Another worker has started the job since, or its run is over: this run counts no more."""


class JobExists(TransitionError):
    """The id is there already."""


class JobShared(TransitionError):
    """Somebody else uses the job."""


class ParentMissing(TransitionError):
    """The parent a job was to be added under does not exist."""


class ParentJobCannotBeReplaced(TransitionError):
    """The job has another parent already, and BullMQ gives it only one."""


class FlowFailed(FlownbError):
    """A flow ended in failure. The message is the root cause: path, error type, message."""


class FlowStuck(FlownbError):
    """A flow cannot end by itself. The message says what keeps it, and what mends that."""


class JobTimeout(FlownbError):
    """An attempt ran past its ``timeout``."""


class JobCrashed(FlownbError):
    """The process that ran an attempt died: a crash in C code, ``os._exit``, out of memory."""


class UnrecoverableError(FlownbError):
    """Raise it in a processor: the job fails now, whatever attempts are left.

    >>> def charge(job):
    ...     raise UnrecoverableError("the card was stolen")
    """


class RateLimitError(FlownbError):
    """Raise it in a processor: the queue is held for a while, and no attempt is charged.

    `retry_after` is a duration: seconds, a timedelta, or text such as ``"30s"``.
    """

    def __init__(self, retry_after: object = 1.0) -> None:
        super().__init__(f"rate limited for {retry_after}")
        self.retry_after = retry_after


class WaitingChildren(BaseException):
    """Ends a run of a job that waits for children it has added; not an `Exception`, so that no handler keeps it."""


BY_CODE: dict[str, type[TransitionError]] = {
    "FLOW_CANCELLED": Cancelled,
    "JOB_ACTIVE": JobActive,
    "JOB_CANCELLED": Cancelled,
    "JOB_ELSEWHERE": JobElsewhere,
    "JOB_EXISTS": JobExists,
    "JOB_MISSING": JobMissing,
    "JOB_SHARED": JobShared,
    "PARENT_CANNOT_BE_REPLACED": ParentJobCannotBeReplaced,
    "PARENT_MISSING": ParentMissing,
}
