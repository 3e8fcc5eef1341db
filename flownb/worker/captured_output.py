"""Takes what tasks print, log and display in this process into the log of their run; nobody else notices.

`print` and `logging` know one output a process, whichever thread calls: these are replaced by ones that look who does.
"""

from __future__ import annotations

import builtins
import logging
import sys
import threading
from functools import partial
from typing import Any

from flownb.api.current_run import LinesOfRun, current
from flownb.wire import codec
from flownb.wire.store.job_records import Taken
from flownb.worker.run_log import RunLog
from flownb.worker.work import Work

NOTICE = "flownb: what tasks print is kept with their rows: batch.logs()"

_lock = threading.Lock()  # slots install at the same time
_is_told = False  # written under the lock


class _Stream:
    """Stands for `sys.stdout` or `sys.stderr`, and hands on what no task prints."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        log = _log()
        if log is None:
            written: int = self._stream.write(text)
            return written
        return log.write(self._name, text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _log() is None:
            self._stream.flush()

    def isatty(self) -> bool:
        return _log() is None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _capture() -> None:
    """See to it that what tasks print comes into their logs, also after somebody has replaced the outputs."""
    if type(sys.stdout) is not _Stream or type(sys.stderr) is not _Stream:
        with _lock:
            for name in ("stdout", "stderr"):
                if type(stream := getattr(sys, name)) is not _Stream and stream is not None:
                    setattr(sys, name, _Stream(stream, name))
            if logging.Logger.callHandlers is _call_handlers:
                logging.Logger.callHandlers = _call_handlers_of_task  # type: ignore[assignment,method-assign]
    if not hasattr(_thread, "takes_displays"):
        _thread.takes_displays = _take_displays()


def log_of(taken: Taken, work: Work) -> RunLog | None:
    """Return the log of a run that begins in this thread; None where what it prints is left alone."""
    if not work.keeps_logs:
        return None
    _capture()
    return RunLog(taken.record.attempts_made + 1, partial(codec.decode_object, taken.record.data))


def _log() -> LinesOfRun | None:
    """Return the log of the run whose function prints; None where no task does, or its lines are left alone."""
    run = current.get()
    return None if run is None else run.log


def tell_once() -> None:
    """Say where the output is, the first time that there is some, to whoever sits at a notebook or a terminal."""
    global _is_told
    with _lock:
        if not _is_told:
            _is_told = True
            if not (hasattr(builtins, "__IPYTHON__") or sys.stdout.isatty()):
                return
            token = current.set(None)
            try:
                print(NOTICE)
            finally:
                current.reset(token)


# ---- what a notebook's kernel displays ---------------------------------------------------------------------

_WIDGET = "application/vnd.jupyter.widget-view+json"
_thread = threading.local()  # its `takes_displays`: whether what this thread displays is looked at


def _take_displays() -> bool:
    """See to it that what this thread's tasks display, as tqdm its bars, does not come into some cell's output."""
    shell_of = getattr(sys.modules.get("IPython"), "get_ipython", None)  # no other program has cells
    add_hook = getattr(getattr(shell_of and shell_of(), "display_pub", None), "register_hook", None)
    if add_hook is None:
        return False
    add_hook(_keep_displayed)  # a kernel asks the hooks of the thread that displays
    return True


def _keep_displayed(message: dict[str, Any]) -> dict[str, Any] | None:
    """Hand on what no task displays; of the rest keep what a terminal would show. In a log no widget lives on."""
    log = _log()
    if log is None:
        return message
    if message["header"]["msg_type"] == "display_data":
        data = message["content"]["data"]
        text = data.get("text/plain")
        if text and _WIDGET not in data:
            log.write("stdout", f"{text}\n")
    return None


# ---- logging --------------------------------------------------------------------------------------------

_call_handlers = logging.Logger.callHandlers


def _call_handlers_of_task(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Keep what a task logs; of the handlers that are set up, those that write to the console do not show it."""
    log = _log()
    if log is None:
        return _call_handlers(logger, record)
    for line in _formatted(record).splitlines():
        log.note(record.levelname, line)
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if record.levelno >= handler.level and not _writes_to_console(handler):
                handler.handle(record)
        at = at.parent if at.propagate else None
    return None


_formatter = logging.Formatter("%(name)s: %(message)s")


def _formatted(record: logging.LogRecord) -> str:
    try:
        return _formatter.format(record)
    except Exception as error:  # its arguments do not fit its message
        return f"{record.name}: {record.msg} ({type(error).__name__}: {error})"


def _writes_to_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    consoles = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    beneath = [getattr(console, "_stream", None) for console in consoles]
    return stream is not None and any(stream is one for one in (*consoles, *beneath))
