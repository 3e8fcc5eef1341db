"""Children that a running job adds: what is stored of them beside the jobs. The part of `Store` for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flownb.wire import codec, keys
from flownb.wire.folding import template_of
from flownb.wire.server_errors import server_errors

if TYPE_CHECKING:
    from redis import Redis

_A_CALL = 1000  # members asked for in one command


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What is stored of children that a running job added."""

    flow: str | None  #: the flow of the job
    asked: str | None  #: digest of what was asked for; None if not all of it is stored
    calls: int  #: how many calls of the function are answered, or were nothing to answer
    pieces: int  #: pieces of children that its calls have added so far
    groups: list[dict[str, Any]]  #: summary of these children


class Growing:
    """Reads about children that were added at run time."""

    client: Redis
    prefix: str

    def note_grown(self, parent: str, groups: list[dict[str, Any]]) -> None:
        """Some children have got children of their own at run time: one of each group stands for them."""
        fields = [grown_field(group["base"], group["name"]) for group in groups]
        with server_errors():
            found: Any = self.client.hmget(keys.own(self.prefix, "children", parent), fields)
        for group, child in zip(groups, found, strict=True):
            if child is not None:
                group["leaf"] = False
                if group["count"] > 1:
                    group["first"] = list(dict.fromkeys([codec.text(child), *group["first"]]))

    def read_growth(self, job: str, home: str, number: int) -> Growth:
        """Return what is stored of the children of one call of a job; `home` is the prefix of its flow."""
        place = keys.own(home, "children", job)
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            pipe.hmget(job, "fl", "ac")
            pipe.hmget(place, f"call:{number}", "groups")
            pipe.hkeys(place)
            (flow, calls), (asked, groups), fields = pipe.execute()
        return Growth(
            flow=None if flow is None else codec.text(flow),
            asked=codec.text(asked) if asked is not None and number < int(calls or 0) else None,
            calls=int(calls or 0),
            pieces=sum(field.startswith(b"run:") for field in fields),
            groups=codec.decode(groups) if groups is not None else [],
        )

    def is_awaited(self, parent: str, children: Sequence[str]) -> bool:
        """Say whether a parent still waits for one of these children."""
        with server_errors():
            if not self.client.exists(keys.part(parent, "dependencies")):
                return False
            for some in _slices(children):
                awaited: Any = self.client.smismember(keys.part(parent, "dependencies"), list(some))
                if any(awaited):
                    return True
        return False


def grown_field(base: str, name: str) -> str:
    """Return the field of a parent's `children` that names one, of children named alike, which has got children."""
    return f"grown {base} {template_of(name)}"


def _slices(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _A_CALL):
        yield items[start : start + _A_CALL]
