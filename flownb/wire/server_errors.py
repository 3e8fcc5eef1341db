"""What the client library raises, as flownb's one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flownb import errors

# What servers say of a command in a script that its user may not run: Valkey, Redis 7, Redis 6.2.
_IS_NOT_ALLOWED = re.compile(
    "ACL failure in script|can't run this command|can't access at least one of the keys"
)


@contextmanager
def server_errors(about: str = "") -> Iterator[None]:
    """Turn the client library's errors into flownb's one line; `about` is the key that is asked for, if it is one."""
    import redis.exceptions as redis

    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise errors.ServerUnreachable(f"the server does not answer: {_one_line(error)}") from None
    except UnicodeEncodeError:  # before anything was sent
        raise errors.FlowError("a text with half a character (a lone surrogate) cannot be stored") from None
    except redis.ResponseError as error:
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
