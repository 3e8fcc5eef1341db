"""Names of keys, and which names are allowed: the only module that puts keys together and cuts them apart."""

from __future__ import annotations

import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import lru_cache

from flownb.arguments import shown
from flownb.errors import FlowError, OptionError

RESERVED_IDS = frozenset(
    """
    wait active paused delayed prioritized completed failed waiting-children stalled stalled-check limiter meta
    events marker id pc de dn repeat metrics lock logs dependencies processed unsuccessful priority delay
    """.split()  # noqa: SIM905 - a list of words reads as words
)

_PRINTABLE = re.compile(r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+\Z")
_HASH_TAG = re.compile(r"^(?:[^{}]*:)?\{[^{}]+\}(?::[^{}]*)?\Z")
_SCHEDULED = re.compile(r"^(.*):(repeat:[^:]+:[0-9]+)\Z", re.DOTALL)  # a job scheduler's
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def base(prefix: str, queue: str) -> str:
    """Return a queue's qualified name, ``prefix:queue``."""
    return f"{prefix}:{queue}"


def job(prefix: str, queue: str, id: str) -> str:
    """Return a job's key, ``prefix:queue:id``."""
    return f"{prefix}:{queue}:{id}"


def job_in(base: str, id: str) -> str:
    """Return the key of a job of the queue at `base`: ``prefix:queue:id``."""
    return f"{base}:{id}"


def part(key: str, name: str) -> str:
    """Return one of the keys that BullMQ keeps beside a queue or a job.

    >>> part("bull:emails", "wait"), part("bull:emails:17", "lock")
    ('bull:emails:wait', 'bull:emails:17:lock')
    """
    return f"{key}:{name}"


def split(key: str) -> tuple[str, str, str]:
    """Cut a job's key into prefix, queue and id; prefixes may hold colons. A damaged one has empty parts in front.

    >>> split("bull:item-processor:17"), split("17")
    (('bull', 'item-processor', '17'), ('', '', '17'))
    """
    base, id = base_and_id(key)
    prefix, _, queue = base.rpartition(":")
    return prefix, queue, id


def base_and_id(job: str) -> tuple[str, str]:
    """Cut a job's key into its queue's qualified name and its id. Only ids of job schedulers' jobs hold colons.

    >>> base_and_id("bull:item-processor:17"), base_and_id("bull:mails:repeat:daily:1700000000000")
    (('bull:item-processor', '17'), ('bull:mails', 'repeat:daily:1700000000000'))
    """
    if ":repeat:" in job and (found := _SCHEDULED.match(job)):
        return found[1], found[2]
    base, _, id = job.rpartition(":")
    return base, id


def base_of(job: str) -> str:
    """Return the qualified name of a job's queue, ``prefix:queue``."""
    return base_and_id(job)[0]


def id_of(job: str) -> str:
    """Return the id of the job at this key."""
    return base_and_id(job)[1]


def queue_of(job: str) -> str:
    """Return the name of a job's queue."""
    return split(job)[1]


def prefix_of(job: str) -> str:
    """Return the prefix of a job's key."""
    return split(job)[0]


def scheduler_of(id: str) -> tuple[str, int] | None:
    """Return which job scheduler has added the job of this id, and when it is due (ms); None for other jobs.

    >>> scheduler_of("repeat:daily:1700000000000"), scheduler_of("17")
    (('daily', 1700000000000), None)
    """
    word, _, rest = id.partition(":")
    scheduler, _, due = rest.rpartition(":")
    return (scheduler, int(due)) if word == "repeat" and due.isdecimal() else None


@lru_cache(maxsize=1024)
def queue_of_base(base: str) -> str:
    """Return the name of the queue at `base`."""
    return base.rpartition(":")[2]


def prefix_of_base(base: str) -> str:
    """Return the prefix of the queue at `base`."""
    return base.rpartition(":")[0]


def is_under(key: str, prefix: str) -> bool:
    """Say whether a key stands under a prefix."""
    return key.startswith(f"{prefix}:")


def jobs_in(base: str, ids: Iterable[str]) -> list[str]:
    """Return the keys of many jobs of one queue; a call for each would cost more than the key itself."""
    start = f"{base}:"
    return [start + id for id in ids]


def is_text(key: str) -> bool:
    """Say whether a key or an id was UTF-8 on the server: another one cannot be asked for.

    >>> is_text("bull:emails:17"), is_text(bytes([255]).decode("utf-8", "surrogateescape"))
    (True, False)
    """
    return key.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in key)


def home_and_flow(named: str) -> tuple[str, str]:
    """Cut what a job's hash says of its flow into a prefix, empty where it is the job's own, and the flow's id.

    >>> home_and_flow("other:7f"), home_and_flow("7f")
    (('other', '7f'), ('', '7f'))
    """
    home, _, id = named.rpartition(":")
    return home, id


def short(key: str, prefix: str) -> str:
    """Return ``queue:id`` for a job under `prefix`, the whole key for one under another.

    >>> short("bull:emails:17", "bull"), short("other:emails:17", "bull")
    ('emails:17', 'other:emails:17')
    """
    return key.removeprefix(f"{prefix}:")


def from_short(text: str, prefix: str) -> str:
    """Return the key of a job named ``queue:id`` or by its whole key.

    >>> from_short("emails:17", "bull"), from_short("other:emails:17", "bull")
    ('bull:emails:17', 'other:emails:17')
    """
    return text if text.count(":") > 1 else f"{prefix}:{text}"


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


def base_of_sign(name: str) -> str | None:
    """Return the queue that the worker serves whose connection has this name; None where the name is no sign.

    >>> base_of_sign("bull:ZW1haWxz:w:mailer"), base_of_sign("redis-cli")
    ('bull:emails', None)
    """
    prefix, _, coded = name.partition(":w:")[0].rpartition(":")
    try:
        return base(prefix, b64decode(coded, validate=True).decode())
    except ValueError:
        return None


_last_id = (0, 0)  # the time (ms) and the chance of the id that was made last


def new_id() -> str:
    """Return an id of 20 characters: the time, then chance; never only digits, never a colon.

    Ids of one machine sort by time, those that one thread makes within a millisecond too; ids of machines, processes
    and threads do not meet.
    """
    global _last_id
    stamp, (last_stamp, last_chance) = int(time.time() * 1000), _last_id
    chance = last_chance + 1 + secrets.randbits(24) if stamp == last_stamp else secrets.randbits(44)
    _last_id = stamp, chance  # no lock: threads that read the same pair still add different chances
    text = "".join(_ALPHABET[stamp >> shift & 31] for shift in range(45, -1, -5))
    return f"{text}{''.join(_ALPHABET[chance >> shift & 31] for shift in range(40, -1, -5))}f"


def checked_prefix(prefix: object) -> str:
    """Return the prefix; refuse one whose keys could not be told apart, searched for, or kept in one cluster slot."""
    if not isinstance(prefix, str) or not prefix:
        raise OptionError("prefix must be a non-empty text such as 'bull'")
    if len(prefix) > 256:
        raise OptionError("prefix must have at most 256 characters")
    if any(char.isspace() or not char.isprintable() or char in "*?[]\\^" for char in prefix):
        raise OptionError(
            f"prefix {shown(prefix)} holds white space, a control character or one of *?[]\\^: leave it out"
        )
    if ("{" in prefix or "}" in prefix) and not _HASH_TAG.match(prefix):
        raise OptionError(
            f"prefix {shown(prefix)}: braces only as one pair around all between two colons, "
            "such as '{bull}' or '{bull}:custom'"
        )
    return str.__str__(prefix)


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


def checked_queue(queue: object) -> str:
    """Return the queue's name; raise FlowError for what cannot be one.

    >>> checked_queue("emails")
    'emails'
    """
    problem = problem_with_queue(queue)
    if problem:
        raise FlowError(f"queue {shown(queue)}: the name {problem}")
    return str.__str__(queue)


def checked_name(name: object) -> str | None:
    """Return a flow's name, None for none; raise FlowError for what cannot be one.

    >>> checked_name("november"), checked_name(None)
    ('november', None)
    """
    problem = None if name is None else problem_with_name(name)
    if problem:
        raise FlowError(f"name {problem}")
    return str.__str__(name) if isinstance(name, str) else None


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


BATCH_QUEUE = "flownb-batch"
"""The queue of batches' roots that nothing is made of: any worker of flownb completes them."""
