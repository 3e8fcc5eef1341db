"""Names of keys, and which names are allowed: the only place that glues them together in Python."""

from __future__ import annotations

import re
import secrets
import time
from base64 import b64encode

RESERVED_IDS = frozenset(
    """
    wait active paused delayed prioritized completed failed waiting-children stalled stalled-check limiter meta
    events marker id pc de dn repeat metrics lock logs dependencies processed unsuccessful priority delay
    """.split()  # noqa: SIM905 - a list of words reads as words
)

_PRINTABLE = re.compile(r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+\Z")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def base(prefix: str, queue: str) -> str:
    """Return a queue's qualified name, ``prefix:queue``."""
    return f"{prefix}:{queue}"


def job(prefix: str, queue: str, id: str) -> str:
    """Return a job's key, ``prefix:queue:id``."""
    return f"{prefix}:{queue}:{id}"


def split(key: str) -> tuple[str, str, str]:
    """Cut a job's key into prefix, queue and id; prefixes may hold colons.

    >>> split("bull:item-processor:17")
    ('bull', 'item-processor', '17')
    """
    prefix, queue, id = key.rsplit(":", 2)
    return prefix, queue, id


def own(prefix: str, kind: str, name: str = "") -> str:
    """Return a key of flownb's own, outside every queue: ``prefix:flownb:kind[:name]``."""
    return f"{prefix}:flownb:{kind}:{name}" if name else f"{prefix}:flownb:{kind}"


def seal(prefix: str, flow: str) -> str:
    """Return the member of a parent's `dependencies` that keeps it waiting while calls for its flow follow."""
    return own(prefix, "seal", flow)


def worker_sign(base: str) -> str:
    """Return the name of a connection by which BullMQ's readers know that a worker serves the queue.

    >>> worker_sign("bull:emails")
    'bull:ZW1haWxz'
    """
    prefix, _, queue = base.rpartition(":")
    return f"{prefix}:{b64encode(queue.encode()).decode()}"


def new_id() -> str:
    """Return an id of 20 characters: the time, then chance; never only digits, never a colon.

    Ids of one machine sort by time; ids of two machines do not meet.
    """
    stamp = int(time.time() * 1000)
    text = "".join(_ALPHABET[stamp >> shift & 31] for shift in range(45, -1, -5))
    chance = secrets.randbits(45)
    return f"{text}{''.join(_ALPHABET[chance >> shift & 31] for shift in range(40, -1, -5))}f"


def problem_with_id(id: object) -> str | None:
    """Say why `id` cannot be a job's id, or None if it can."""
    if not isinstance(id, str):
        return f"must be text, not {type(id).__name__}"
    if not id or len(id.encode("utf-8", "replace")) > 256:
        return "must have 1 to 256 bytes"
    if ":" in id:
        return "must not hold a colon (BullMQ cuts keys there)"
    if id.isdigit():
        return "must not be a bare number (BullMQ counts its own ids so)"
    if id in RESERVED_IDS:
        return "is the name of one of the queue's own keys"
    if not _PRINTABLE.match(id):
        return "must not hold control characters or lone surrogates"
    return None


def problem_with_queue(queue: object) -> str | None:
    """Say why `queue` cannot be a queue's name, or None if it can."""
    if not isinstance(queue, str):
        return f"must be text, not {type(queue).__name__}"
    if not queue or len(queue) > 256 or queue != queue.strip():
        return "must have 1 to 256 characters and no space at its ends"
    if ":" in queue:
        return "must not hold a colon (BullMQ cuts keys there)"
    if queue == "flownb":
        return "is kept for flownb's own keys"
    if any(sign in queue for sign in "*?[]{}"):
        return "must not hold * ? [ ] { or }"
    if not _PRINTABLE.match(queue):
        return "must not hold control characters or lone surrogates"
    return None


def problem_with_name(name: object) -> str | None:
    """Say why `name` cannot be a job's name, or None if it can."""
    if not isinstance(name, str):
        return f"must be text, not {type(name).__name__}"
    if 0 < len(name) <= 256 and name.isprintable():  # nearly every name, told at once
        return None
    if not name or len(name) > 256:
        return "must have 1 to 256 characters"
    if not _PRINTABLE.match(name):
        return "must not hold control characters or lone surrogates"
    return None
