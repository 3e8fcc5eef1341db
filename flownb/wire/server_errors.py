"""What the client library raises, as flownb's one line."""

from __future__ import annotations

import re

from flownb import errors

# What servers say of a command in a script that its user may not run: Valkey, Redis 7, Redis 6.2.
_IS_NOT_ALLOWED = re.compile(
    "ACL failure in script|can't run this command|can't access at least one of the keys"
)


class server_errors:
    """Turn the client library's errors into flownb's one line; `about` is the key that is asked for, if it is one.

    A class, as each command is in one: a generator takes twice as long.
    """

    __slots__ = ("_about",)

    def __init__(self, about: str = "") -> None:
        self._about = about

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            _raise_as_ours(error, self._about)


def _raise_as_ours(error: BaseException, about: str) -> None:
    """Raise flownb's error for one of the client library's; any other goes on as it is."""
    import redis.exceptions as redis

    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        raise errors.ServerUnreachable(f"the server does not answer: {_one_line(error)}") from None
    if isinstance(error, UnicodeEncodeError):  # before anything was sent
        raise errors.FlowError("a text with half a character (a lone surrogate) cannot be stored") from None
    if not isinstance(error, redis.ResponseError):
        return
    text = _one_line(error)
    # Redis 6.2 puts the word that a script's command was refused with inside the text of another error.
    if isinstance(error, redis.OutOfMemoryError) or "-OOM " in text:
        text = "the server is out of memory (maxmemory)"
    if isinstance(error, redis.ReadOnlyError) or "-READONLY " in text:
        text = "the server is a read-only replica now; connect to the primary"
    if "MISCONF" in text:
        text = f"the server cannot write to its disk (is it full?): {text}"
    if "WRONGTYPE" in text:
        which = f"{about} has" if about else "a key on the server has"
        text = f"{which} another type than it should; doctor() says more: {text}"
    if isinstance(error, redis.NoPermissionError) or _IS_NOT_ALLOWED.search(text):
        raise errors.NotAllowed(f"{text}; docs/security.md has the rights that flownb needs") from None
    raise errors.ServerRefused(text) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
