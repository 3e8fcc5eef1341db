"""An independent reader of what is stored: checks what must hold over a whole prefix, between any two calls.

It shares no code with flownb. `violations(client, prefix)` returns what is wrong, each with the number of its
invariant; `stuck(client, prefix)` returns parents that can never be released, each with the child to blame.
Both read every key of the prefix, and are for tests and small servers.

Jobs   I1 in exactly one place    I2 no id twice in a list      I3 no place without a hash
       I4 no hash without a place I5 `id` above all numbers     I6 a lock only while active
       I9 final fields            I10 scores                    I11 counters  I12 times  I13 types
Flows  I20 a child stands once    I22 a waiting parent waits    I23 no parent before its children
       I24 no ended child awaited I25 values are the children's I26 links agree
       C1 a flow's counts are a recount of the collections      C2 a flow ends when its root does
       C3 an account has all that the stored jobs of its flows have spent; those that are gone may have spent more
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

STATES = {  # place -> what a flow's counts call it
    "wait": "waiting",
    "paused": "waiting",
    "active": "active",
    "delayed": "delayed",
    "prioritized": "prioritized",
    "waiting-children": "waiting-children",
    "completed": "completed",
    "failed": "failed",
}
TYPES = {
    **dict.fromkeys(("wait", "active", "paused"), "list"),
    **dict.fromkeys(
        ("delayed", "prioritized", "waiting-children", "completed", "failed", "marker", "repeat"), "zset"
    ),
    **dict.fromkeys(("id", "pc", "stalled-check", "limiter"), "string"),
    "meta": "hash",
    "events": "stream",
    "stalled": "set",
}
SUBKEYS = {
    "lock": "string",
    "logs": "list",
    "dependencies": "set",
    "processed": "hash",
    "failed": "hash",
    "unsuccessful": "zset",
}
OWN_TYPES = {
    **dict.fromkeys(
        ("flow", "counts", "names", "shared", "parents", "tasks", "spent", "brakes", "pilot"), "hash"
    ),
    **dict.fromkeys(("flows", "tidy", "served"), "zset"),
    **dict.fromkeys(("paused", "cancelled"), "set"),
}
POLICIES = ("fpof", "cpof", "idof", "rdof")


class Violation(NamedTuple):
    """One thing that is wrong."""

    rule: str
    key: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.rule} {self.key}: {self.evidence}"


@dataclass
class Queue:
    """One queue's collections: place -> ids in order, with scores where there are any."""

    base: str
    places: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    counter: int = 0


@dataclass
class Books:
    """Everything under one prefix, read once."""

    prefix: str
    queues: dict[str, Queue] = field(default_factory=dict)
    jobs: dict[str, dict[str, str]] = field(default_factory=dict)
    sub: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    own: dict[str, Any] = field(default_factory=dict)
    mistyped: list[Violation] = field(default_factory=list)

    def where(self) -> dict[str, list[str]]:
        """Return each job's key with the places its id stands in."""
        found: dict[str, list[str]] = defaultdict(list)
        for queue in self.queues.values():
            for place, ids in queue.places.items():
                for id, _ in ids:
                    if not id.startswith("repeat:"):  # a job scheduler's: BullMQ's, not looked at
                        found[f"{queue.base}:{id}"].append(place)
        return found

    def edges(self, child: str) -> Iterator[tuple[str, str, str]]:
        """Yield a job's parents: key, policy, and the flow that counts the job for this parent."""
        fields = self.jobs[child]
        if "parentKey" in fields:
            link = json.loads(fields.get("parent", "{}"))
            yield fields["parentKey"], next((word for word in POLICIES if link.get(word)), ""), ""
        for parent, words in self.own.get(f"parents:{child}", {}).items():
            policy, _, flow = words.partition(" ")
            yield parent, policy, flow


def read(client: Any, prefix: str = "bull") -> Books:
    """Read every key of a prefix."""
    books = Books(prefix)
    found = sorted({_text(key) for key in client.scan_iter(match=f"{_quoted(prefix)}:*", count=1000)})
    with client.pipeline(transaction=False) as pipe:
        for key in found:
            pipe.type(_stored(key))
        types = [_text(kind) for kind in pipe.execute()]
        reads: dict[str, Callable[[bytes], Any]] = {
            "hash": pipe.hgetall,
            "list": lambda key: pipe.lrange(key, 0, -1),
            "set": pipe.smembers,
            "zset": lambda key: pipe.zrange(key, 0, -1, withscores=True),
            "string": pipe.get,
            "stream": pipe.xlen,
        }
        for key, kind in zip(found, types, strict=True):
            if kind in reads:
                reads[kind](_stored(key))
        values = iter(pipe.execute())
    for key, kind in zip(found, types, strict=True):
        if kind in reads:
            _place(books, key, kind, next(values))
    return books


def violations(client: Any, prefix: str = "bull", *, counts: bool = True) -> list[Violation]:
    """Return what is wrong under a prefix; `counts=False` leaves out flownb's own (C1, C2): Node keeps none."""
    return violations_in(read(client, prefix), counts=counts)


def violations_in(books: Books, *, counts: bool = True) -> list[Violation]:
    """Return what is wrong in books that were read."""
    found = [
        *books.mistyped,
        *_partition(books),
        *_fields(books),
        *_scores(books),
        *_families(books),
        *_values(books),
    ]
    return found + ([*_counts(books), *_ends(books), *_accounts(books)] if counts else [])


def stuck(client: Any, prefix: str = "bull") -> list[Violation]:
    """Return the parents that wait for a child that failed without a policy, or is gone."""
    books = read(client, prefix)
    where, found = books.where(), []
    for parent in books.jobs:
        if where.get(parent) != ["waiting-children"]:
            continue
        for child in sorted(books.sub[parent].get("dependencies", ())):
            if ":flownb:seal:" in child:
                continue
            if child not in books.jobs:
                found.append(Violation("I24", parent, f"waits for {child}, which is missing"))
            elif where.get(child) == ["failed"]:
                found.append(Violation("I24", parent, f"waits for {child}, which failed"))
    return found


# ---- jobs and places ------------------------------------------------------------------------------------------


def _partition(books: Books) -> Iterator[Violation]:
    where = books.where()
    for queue in books.queues.values():
        for place in ("wait", "active", "paused"):
            ids = Counter(id for id, _ in queue.places.get(place, []))
            for id, n in ids.items():
                if n > 1:
                    yield Violation("I2", f"{queue.base}:{place}", f"{id} stands {n} times")
    for key, places in where.items():
        if len(set(places)) > 1:
            yield Violation("I1", key, f"is in {sorted(set(places))}")
        missing = {"name", "data", "opts", "timestamp"} - books.jobs.get(key, {}).keys()
        if missing:
            yield Violation("I3", key, f"is in {places[0]} without {sorted(missing)}")
    for key, fields in books.jobs.items():
        if key not in where:
            yield Violation("I4", key, f"is in no place (fields {sorted(fields)})")
        if "lock" in books.sub[key] and where.get(key) != ["active"]:
            yield Violation("I6", key, f"has a lock and is in {where.get(key)}")
    for queue in books.queues.values():
        numbers = [int(key.rsplit(":", 1)[1]) for key in books.jobs if _is_number(key, queue.base)]
        if max(numbers, default=0) > queue.counter:
            yield Violation("I5", f"{queue.base}:id", f"is {queue.counter}, below {max(numbers)}")


def _fields(books: Books) -> Iterator[Violation]:
    for key, places in books.where().items():
        fields, place = books.jobs.get(key), places[0]
        if fields is None:
            continue
        ended = place in ("completed", "failed")
        if ("finishedOn" in fields) is not ended:
            yield Violation("I9", key, f"is {place}, finishedOn {fields.get('finishedOn')}")
        if place == "completed" and not _is_json(fields.get("returnvalue")):
            yield Violation("I9", key, f"completed with {fields.get('returnvalue')!r}")
        if place == "failed" and "failedReason" not in fields:
            yield Violation("I9", key, "failed without a reason")
        made, started = int(fields.get("atm", 0)), int(fields.get("ats", 0))
        if not 0 <= made <= started or ("processedOn" in fields and started < 1):
            yield Violation("I11", key, f"attempts made {made}, started {started}")
        if (
            ended and fields.get("defa", "cancelled") != "cancelled"
        ):  # BullMQ keeps it, too, of a run that was told
            yield Violation("I11", key, f"is {place} and carries defa")
        times = [int(fields[name]) for name in ("timestamp", "processedOn", "finishedOn") if name in fields]
        if times != sorted(times):
            yield Violation("I12", key, f"times {times}")


def _scores(books: Books) -> Iterator[Violation]:
    for queue in books.queues.values():
        for place in ("completed", "failed", "delayed", "prioritized"):
            for id, score in queue.places.get(place, []):
                key = f"{queue.base}:{id}"
                fields = books.jobs.get(key, {})
                if place in ("completed", "failed"):
                    right = str(int(score)) == fields.get("finishedOn")
                elif place == "delayed":
                    right = int(score // 4096) >= int(fields.get("timestamp", 0)) + int(
                        float(fields.get("delay", 0))
                    )
                else:
                    right = int(score // 2**32) == int(fields.get("priority", 0)) > 0
                if not right:
                    yield Violation("I10", key, f"score {score:.0f} in {place}, fields {fields}")


# ---- families ---------------------------------------------------------------------------------------------------


def _families(books: Books) -> Iterator[Violation]:
    where = books.where()
    for parent in books.jobs:
        sub = books.sub[parent]
        groups = {
            name: set(sub.get(name, ())) for name in ("dependencies", "processed", "failed", "unsuccessful")
        }
        stands = Counter(child for group in groups.values() for child in group)
        for child, n in stands.items():
            if n > 1:
                yield Violation(
                    "I20", parent, f"{child} in {[name for name, g in groups.items() if child in g]}"
                )
        place = (where.get(parent) or ["?"])[0]
        pending = groups["dependencies"]
        if place == "waiting-children" and not pending:
            yield Violation("I22", parent, "waits for no child")
        if place in ("wait", "prioritized", "delayed", "completed") and pending:
            # A child that let it go on before the others (cpof), perhaps removed since.
            early = any(
                child not in books.jobs or _policy(books, child, parent) == "cpof"
                for child in groups["failed"]
            )
            grown = "ac" in books.jobs[parent]  # it ran, added children, and its worker died
            if "defa" not in books.jobs[parent] and not early and not grown:
                yield Violation("I23", parent, f"is in {place}, {len(pending)} children pending")
        for child in pending:
            if where.get(child) == ["completed"]:
                yield Violation("I24", parent, f"waits for {child}, which completed")
            elif where.get(child) == ["failed"] and _policy(books, child, parent):
                yield Violation(
                    "I24", parent, f"waits for {child}, which failed under {_policy(books, child, parent)}"
                )
    for child, fields in books.jobs.items():
        if "parentKey" in fields:
            link = json.loads(fields.get("parent", "{}"))
            if (
                f"{link.get('queueKey')}:{link.get('id')}" != fields["parentKey"]
                or child == fields["parentKey"]
            ):
                yield Violation(
                    "I26", child, f"parentKey {fields['parentKey']}, parent {fields.get('parent')}"
                )


def _values(books: Books) -> Iterator[Violation]:
    """A parent holds its children's own values and reasons, byte by byte."""
    where = books.where()
    # These may have gone on without a child that fails them later.
    eager = {parent for child in books.jobs for parent, policy, _ in books.edges(child) if policy == "cpof"}
    eager |= {parent for parent, sub in books.sub.items() if sub.get("failed", {}).keys() - books.jobs.keys()}
    for child, fields in books.jobs.items():
        for parent, policy, _ in books.edges(child):
            if parent not in books.jobs:
                continue
            sub, place = books.sub[parent], where.get(child)
            if place == ["completed"] and sub.get("processed", {}).get(child) != fields.get("returnvalue"):
                yield Violation("I25", parent, f"holds {sub.get('processed', {}).get(child)!r} of {child}")
            if place != ["completed"] and child in sub.get("processed", {}):
                yield Violation("I25", parent, f"holds a value of {child}, which is in {place}")
            if place == ["failed"]:
                if policy in ("idof", "cpof") and sub.get("failed", {}).get(child) != fields.get(
                    "failedReason"
                ):
                    yield Violation("I25", parent, f"holds another reason of {child}")
                if policy == "fpof" and parent not in eager and child not in sub.get("unsuccessful", ()):
                    yield Violation("I25", parent, f"does not know that {child} failed")


def _policy(books: Books, child: str, parent: str) -> str:
    if child not in books.jobs:
        return ""
    return next((policy for key, policy, _ in books.edges(child) if key == parent), "")


# ---- flownb's own -----------------------------------------------------------------------------------------------


def recount(books: Books) -> dict[str, Counter[str]]:
    """Return for each flow ``state@queue -> jobs``, counted from the collections."""
    where = books.where()
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for key, fields in books.jobs.items():
        state, base = STATES[(where.get(key) or ["wait"])[0]], key.rsplit(":", 1)[0]
        if state == "active" and "processedOn" not in fields:  # taken ahead
            state = "waiting"
        if "fl" in fields:
            found[fields["fl"].rsplit(":", 1)[-1]][f"{state}@{base}"] += 1
        for flow in {flow for _, _, flow in books.edges(key) if flow}:
            ended = state if state in ("completed", "failed") else "waiting"
            found[flow][f"{ended}@{base}"] += 1
    return found


def _counts(books: Books) -> Iterator[Violation]:
    true = recount(books)
    kept = {name[7:]: value for name, value in books.own.items() if name.startswith("counts:")}
    for flow in sorted(true.keys() | kept.keys()):
        counted = {
            name: n for name, n in kept.get(flow, {}).items() if name[:4] != "rows" and name != "paused@"
        }
        says = {name: int(n) for name, n in counted.items() if int(n)}
        if says != dict(true.get(flow, {})):
            yield Violation("C1", f"flow {flow}", f"counts {says}, in truth {dict(true.get(flow, {}))}")


def _ends(books: Books) -> Iterator[Violation]:
    where = books.where()
    for name, record in books.own.items():
        if name.startswith("flow:") and books.jobs.get(record.get("root", ""), {}).get("fl", "").endswith(
            name[5:]
        ):
            root = record["root"]
            if root not in where:
                continue  # I4 says so
            ended = where[root][0] if where[root][0] in ("completed", "failed") else None
            if record.get("ended") == "cancelled":
                continue  # it has ended whatever its root does
            if record.get("ended") != ended:
                yield Violation("C2", name, f"ended {record.get('ended')}, its root is in {where[root][0]}")
            if ended and record.get("finished") != books.jobs[root].get("finishedOn"):
                yield Violation("C2", name, f"finished {record.get('finished')}")
            # A job to blame that another flow shared may have gone with that one.
            if ended == "failed" and "cause" not in record:
                yield Violation("C2", name, "no job is to blame")


def spent_by_jobs(books: Books) -> dict[str, Counter[str]]:
    """Return for each account what the jobs have spent that are there, by unit."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for fields in books.jobs.values():
        flow = fields.get("fl", "").rsplit(":", 1)[-1]
        account = books.own.get(f"flow:{flow}", {}).get("account", flow)
        for entry in fields.get("spent", "").split():
            _, unit, parts = entry.split(":")
            found[account][unit] += int(parts)
    return found


def _accounts(books: Books) -> Iterator[Violation]:
    for account, units in spent_by_jobs(books).items():
        kept = books.own.get(f"spent:{account}", {})
        for unit, parts in units.items():
            if account and int(kept.get(unit, 0)) < parts:
                yield Violation(
                    "C3", f"account {account}", f"has {kept.get(unit, 0)} {unit}, its jobs {parts}"
                )


# ---- reading ----------------------------------------------------------------------------------------------------


def _place(books: Books, key: str, kind: str, value: Any) -> None:
    queue, _, rest = key[len(books.prefix) + 1 :].partition(":")
    if queue == "flownb":
        own = OWN_TYPES.get(rest.partition(":")[0], kind)
        if kind != own:
            books.mistyped.append(Violation("I13", key, f"is a {kind}, not a {own}"))
            return
        books.own[rest] = _plain(value, kind) if not rest.startswith("children:") else value
        return
    base = f"{books.prefix}:{queue}"
    here = books.queues.setdefault(base, Queue(base))
    id, _, sub = rest.partition(":")
    wanted = SUBKEYS.get(sub) if sub else TYPES.get(rest, "hash")
    if sub and (wanted is None or id in ("de", "dn", "repeat", "metrics")):
        return  # deduplication, schedulers, metrics: BullMQ's, not looked at
    if kind != wanted:
        books.mistyped.append(Violation("I13", key, f"is a {kind}, not a {wanted}"))
    elif sub:
        books.sub[f"{base}:{id}"][sub] = _plain(value, kind)
    elif rest in STATES:
        books.queues[base].places[rest] = [
            (_text(item[0]), item[1]) if kind == "zset" else (_text(item), 0.0) for item in value
        ]
    elif rest == "id":
        here.counter = int(value) if value.isdigit() else 0
    elif rest not in TYPES:
        books.jobs[key] = _plain(value, kind)


def _plain(value: Any, kind: str) -> Any:
    if kind == "hash":
        return {_text(name): _text(item) for name, item in value.items()}
    if kind == "zset":
        return {_text(member): score for member, score in value}
    if kind in ("set", "list"):
        return [_text(item) for item in value]
    return value if kind == "stream" else _text(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _stored(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _quoted(prefix: str) -> str:
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in prefix)


def _is_number(key: str, base: str) -> bool:
    head, _, id = key.rpartition(":")
    return head == base and id.isascii() and id.isdigit()


def _is_json(text: str | None) -> bool:
    try:
        json.loads(text or "")
    except ValueError:
        return False
    return True
