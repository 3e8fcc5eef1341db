"""An exception as the texts that are stored with its job: the reason in one line, and the tracebacks."""

from __future__ import annotations

import json
import traceback
from types import TracebackType

from flownb.errors import UnrecoverableError

REASON_CHARACTERS = 2_000  # of an error's message that are stored
TRACEBACK_CHARACTERS = 16_000  # of one traceback that are stored

_OWN_MODULES = ("flownb.worker.", "flownb.tasks.")


def reason_of(error: BaseException) -> str:
    """Return an error as ``Type: message``, cut to a length that a table can show."""
    try:
        message = str(error)
    except Exception:
        message = "(its message could not be made)"
    if type(error) is UnrecoverableError:
        text = f"UnrecoverableError: {message}"
    else:
        text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    text = _storable(text)
    return text if len(text) <= REASON_CHARACTERS else f"{text[: REASON_CHARACTERS - 1]}…"


def stacktrace_with(error: BaseException, stored: str, limit: int) -> str:
    """Return a job's stored tracebacks with this error's added, oldest first: the last `limit`, as JSON."""
    try:
        before = json.loads(stored)
    except (ValueError, RecursionError):
        before = []
    if not isinstance(before, list):  # written by another program, and broken
        before = []
    kept = [*before, _traceback_of(error)][-limit:] if limit else []
    return json.dumps(kept, ensure_ascii=False)


def _traceback_of(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error.with_traceback(_in_user_code(error))))
    except Exception:
        text = reason_of(error)
    text = _storable(text)
    if len(text) > TRACEBACK_CHARACTERS:
        text = f"{text[: TRACEBACK_CHARACTERS // 2]}\n...\n{text[-TRACEBACK_CHARACTERS // 2 :]}"
    return text


def _in_user_code(error: BaseException) -> TracebackType | None:
    """The traceback from behind the last frame that is the worker's own: a coroutine's has several."""
    start = step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
            start = step.tb_next
        step = step.tb_next
    return start or error.__traceback__


def _storable(text: str) -> str:
    """Lone surrogates, which UTF-8 does not have, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
