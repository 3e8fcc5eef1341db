"""Every exception of flownb, and the table from a script's code word to its class.

::

    FlownbError
     ├─ FlowError (ValueError)          refused before the first write
     ├─ OptionError (TypeError)         an option that does not exist, or does not fit
     ├─ ServerError                     the server, or the way to it
     │   ├─ ServerUnreachable
     │   ├─ ServerRefused               reached, but not fit or not allowed for flownb
     │   │   └─ NotAllowed              to this user of the server
     │   └─ ReadOnly                    a write on a read-only connection
     ├─ TransitionError                 a script refused a transition
     │   ├─ Cancelled                   also raised in a function that runs for nobody any more
     │   ├─ JobMissing
     │   │   └─ ParentMissing
     │   ├─ JobActive
     │   ├─ JobElsewhere
     │   ├─ JobExists
     │   ├─ JobShared
     │   ├─ Overtaken
     │   └─ ParentJobCannotBeReplaced
     ├─ FlowFailed                      what `result()` raises
     ├─ FlowPaused                      what `results()` raises where a brake has paused the batch
     ├─ FlowStuck                       what `wait()` raises for a flow that cannot end
     ├─ JobCrashed                      an attempt whose process died
     ├─ JobTimeout                      an attempt that ran past its `timeout`
     ├─ UnrecoverableError              raised by a processor: no further attempt
     ├─ RowErrors (tasks.row_errors)    raised by a task of many rows: these are bad
     └─ RateLimitError                  raised by a processor: hold the queue

    WaitingChildren (BaseException)      no error: it ends a run that waits for children
"""

from __future__ import annotations

from collections.abc import Mapping

#: of a message; what stands in the middle is left out: the place is first, the remedy last
MOST_CHARACTERS = 500
_HEAD_CHARACTERS = 320  #: of a message that is cut


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a message as every reader may see it: printable, on one line, of bounded length.

    Names and texts of other programs stand in messages, which go to terminals, logs and notebooks.

    >>> one_line("job '\x1b]0;owned\x07'\nfailed")
    "job '\\x1b]0;owned\\x07'\\nfailed"
    """
    if len(text) > most:
        text = f"{text[:_HEAD_CHARACTERS]} ... {text[_HEAD_CHARACTERS + 5 - most :]}"
    return text if text.isprintable() else one_line(printable(text), most)


def printable(text: str, *, kept: str = "") -> str:
    r"""Return a text with all spelled out that does not print: control characters, ANSI, direction overrides.

    >>> printable("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    r"""Return the same of a text whose lines stay lines.

    >>> printable_lines("\x1b[31mfirst\nsecond")
    '\\x1b[31mfirst\nsecond'
    """
    return printable(text, kept="\n\t")


class FlownbError(Exception):
    """The root of every exception flownb raises. Messages are one printable line of at most 500 characters.

    >>> try:
    ...     attach("nobody-knows-it")
    ... except FlownbError as error:
    ...     print(type(error).__name__)
    JobMissing
    """

    _most = MOST_CHARACTERS

    def __init__(self, *said: object) -> None:
        super().__init__(*(one_line(part, self._most) if isinstance(part, str) else part for part in said))


class FlowError(FlownbError, ValueError):
    """Something is wrong with a flow, found before anything was written.

    The message names the node's path (``root/children[3]``) or the row's label,
    what is wrong there, and how to mend it.

    >>> add({"name": "total", "children": [{"name": "load", "queueName": "doc-loads"}]})
    Traceback (most recent call last):
        ...
    flownb.errors.FlowError: root: 'queueName' is missing
    """


class OptionError(FlownbError, TypeError):
    """An option that does not exist, or a value that does not fit it.

    >>> add({"name": "total", "queueName": "doc-totals", "opts": {"atempts": 3}})
    Traceback (most recent call last):
        ...
    flownb.errors.OptionError: root: opts.atempts: no such option; did you mean 'attempts'?
    """


class ServerError(FlownbError):
    """Something is wrong with the server or with the way to it.

    >>> try:
    ...     connect("redis://localhost:1")
    ... except ServerError as error:
    ...     print(type(error).__name__)
    ServerUnreachable
    """


class ServerUnreachable(ServerError):
    """No server answers. The message says where flownb looked and what to do next.

    >>> connect("redis://localhost:1")
    Traceback (most recent call last):
        ...
    flownb.errors.ServerUnreachable: no server at redis://localhost:1/0: start it, or correct the URL (...)
    """

    _most = 2000  # paths of files, and a command to run


class ServerRefused(ServerError):
    """A server answered that flownb cannot use: too old, evicting, or not letting us in.

    >>> socket = connection.address()["unix_socket_path"]
    >>> connect(f"unix://nobody@{socket}?password=guessed")
    Traceback (most recent call last):
        ...
    flownb.errors.ServerRefused: the socket ... refused the user name or password: ...
    """


class NotAllowed(ServerRefused):
    """The server does not let this user do that; docs/security.md has the rights that flownb needs."""


class ReadOnly(ServerError):
    """A write was asked for on a connection opened with ``read_only=True``.

    >>> looking = Connection(connection.client(), read_only=True)
    >>> Queue("doc-mails", connection=looking).add("welcome")
    Traceback (most recent call last):
        ...
    flownb.errors.ReadOnly: this connection only reads: connect without read_only=True to write
    """


class TransitionError(FlownbError):
    """A script refused a transition; nothing was written."""


class Cancelled(TransitionError):
    """Nobody needs the job any more: its flow was cancelled, or what it was for has failed.

    Raised in a running function by its next `update_progress`, `log` or `update_data`; let it pass, after
    cleaning up. The job ends there, without a further attempt. `Job.is_cancelled` asks without raising.

    >>> def work(job):
    ...     flow.cancel()  # mostly somebody else does, meanwhile
    ...     job.log("half of it is done")
    >>> flow = add({"name": "work", "queueName": "doc-cancelled"})
    >>> with Worker("doc-cancelled", work):
    ...     flow.wait(timeout=30).state
    'cancelled'
    >>> flow.job.get_logs()
    []
    """


class JobMissing(TransitionError):
    """The job is not (or no longer) on the server.

    >>> flow = add({"name": "total", "queueName": "doc-totals"})
    >>> flow.remove()
    >>> flow.state
    Traceback (most recent call last):
        ...
    flownb.errors.JobMissing: flow 'total' is not on this server any more; its data were removed
    """


class JobActive(TransitionError):
    """The job runs right now."""


class JobElsewhere(TransitionError):
    """The run of a job does not count any more: another worker has started the job since, or its end is written.

    Raised in a running function by its next `update_progress`, `log`, `update_data` or `add_children`: it has run past
    its timeout, or its worker has closed or lost its lease. Let it pass, after cleaning up; nothing is changed, and no
    attempt is charged. `Job.is_cancelled` asks without raising.

    >>> import threading
    >>> gate, done, told = threading.Event(), threading.Event(), []
    >>> def work(job):
    ...     gate.wait(30)
    ...     try:
    ...         job.update_data("too late")
    ...     except JobElsewhere:
    ...         told.append(job.is_cancelled())
    ...     done.set()
    >>> flow = add({"name": "work", "queueName": "doc-late", "data": "as it was", "opts": {"timeout": 50}})
    >>> with Worker("doc-late", work):
    ...     state = flow.wait(timeout=30).state
    ...     gate.set()
    ...     done.wait(30)
    True
    >>> state, told, flow.job.data
    ('failed', [True], 'as it was')
    """


class KeyDamaged(ServerRefused, TransitionError):
    """A key on the server holds something else than it should, so the call would have been carried out in part.

    Nothing was written. `doctor` says what else is wrong with that queue or job, and what mends it.
    """

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key}: a key there holds something else than it should; doctor() says which, and what to do"
        )


class JobExists(TransitionError):
    """The id is there already."""


class JobShared(TransitionError):
    """Somebody else uses the job."""


class Overtaken(TransitionError):
    """Somebody has stored rows of the batch's name since the caller looked which are there."""


class ParentMissing(JobMissing):
    """The parent that a job was to be added under, or taken from, is not (or no longer) on the server."""


def job_missing(job: str, kind: type[JobMissing] = JobMissing) -> JobMissing:
    """Return the error of a job, or of a parent, that is named as ``queue:id``.

    >>> job_missing("mails:7")
    JobMissing('job mails:7 is not on this server: it was removed, or never stored here')
    """
    what = "parent" if kind is ParentMissing else "job"
    return kind(f"{what} {job} is not on this server: it was removed, or never stored here")


class ParentJobCannotBeReplaced(TransitionError):
    """The job has another parent already, and BullMQ gives it only one."""


class FlowFailed(FlownbError):
    """A flow ended in failure. The message is the root cause: path, error type, message.

    >>> load = {"name": "load", "queueName": "doc-loading"}
    >>> flow = add({"name": "total", "queueName": "doc-totals", "children": [load]})
    >>> with Worker("doc-loading", lambda job: 1 / 0):
    ...     flow.result(timeout=30)
    Traceback (most recent call last):
        ...
    flownb.errors.FlowFailed: flow 'total' failed: total > load: ZeroDivisionError: division by zero
    """


class FlowPaused(FlownbError):
    """A brake has paused a batch: its pilot is over, its budget is used up, or too many of its rows have failed.

    `reason` says which, `amounts` what was spent so far, by unit, and `call` goes on.

    >>> @task
    ... def ask(n):
    ...     spend(usd=0.5)
    >>> try:
    ...     fan_out(range(100), ask, pilot=4).results(timeout=30)
    ... except FlowPaused as paused:
    ...     print(paused.reason, paused.amounts, paused.call)
    a pilot of 4 rows has ended {'usd': 2.0} batch.resume()
    """

    def __init__(
        self, said: str, *, reason: str = "", amounts: Mapping[str, float] | None = None, call: str = ""
    ) -> None:
        super().__init__(said)
        self.reason, self.amounts, self.call = reason, dict(amounts or {}), call


class FlowStuck(FlownbError):
    """A flow cannot end by itself. The message says what keeps it, and what mends that.

    >>> flow = add({"name": "total", "queueName": "doc-totals"})
    >>> try:
    ...     flow.wait(timeout=0.1)
    ... except FlowStuck:  # at the earliest after 10 s in which nothing runs
    ...     print("will never end")
    ... except TimeoutError:
    ...     print("may end yet")
    may end yet
    """


class JobTimeout(FlownbError):
    """An attempt ran past its ``timeout``.

    >>> import time
    >>> flow = add({"name": "slow", "queueName": "doc-slow", "opts": {"timeout": 50}})
    >>> with Worker("doc-slow", lambda job: time.sleep(0.5)):
    ...     flow.wait(timeout=30).job.failed_reason
    'JobTimeout: ran longer than its timeout of 0.05 s'
    """


class JobCrashed(FlownbError):
    """The process that ran an attempt died: a crash in C code, ``os._exit``, out of memory."""


class UnrecoverableError(FlownbError):
    """Raise it in a processor: the job fails now, whatever attempts are left.

    >>> def charge(job):
    ...     raise UnrecoverableError("the card was stolen")
    >>> flow = add({"name": "charge", "queueName": "doc-cards", "opts": {"attempts": 3}})
    >>> with Worker("doc-cards", charge):
    ...     flow.wait(timeout=30).job.attempts_made
    1
    """

    def __init__(self, *said: object) -> None:
        Exception.__init__(self, *said)  # the caller's own words, kept as they are


class RateLimitError(FlownbError):
    """Raise it in a processor: the queue is held for a while, and no attempt is charged.

    `retry_after` is a duration (seconds, a timedelta, text such as ``"30s"``) or the text of a service's Retry-After
    header, a date too. None or empty: a second, doubled up to a minute. What says no time fails the attempt.

    >>> answers = [429, 200]
    >>> def fetch(job):
    ...     if answers.pop(0) == 429:
    ...         raise RateLimitError("0.01")  # mostly response.headers.get("Retry-After")
    ...     return "a page"
    >>> flow = add({"name": "fetch", "queueName": "doc-limited"})
    >>> with Worker("doc-limited", fetch):
    ...     flow.result(timeout=30), flow.job.attempts_made
    ('a page', 1)
    """

    def __init__(self, retry_after: object = None) -> None:
        super().__init__(
            "rate limited" if retry_after is None else f"rate limited for {_as_text(retry_after)}"
        )
        self.retry_after = retry_after


def _as_text(retry_after: object) -> str:
    try:
        return str(retry_after)
    except Exception:  # of a class of the caller's
        return type(retry_after).__name__


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
    "KEY_DAMAGED": KeyDamaged,
    "OVERTAKEN": Overtaken,
    "PARENT_CANNOT_BE_REPLACED": ParentJobCannotBeReplaced,
    "PARENT_MISSING": ParentMissing,
}
