"""A parent's children as flownb wrote them down: the declared ones in order, their groups, those added at run time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.errors import KeyDamaged
from flownb.wire import child_list, codec, keys
from flownb.wire.folding import template_of
from flownb.wire.server_errors import server_errors
from flownb.wire.store.limits import in_pieces
from flownb.wire.store.server import Server

_OF_A_GROUP = {"base", "name", "count", "first", "leaf"}


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedChildren:
    """What is stored of children that a running job added."""

    flow: str | None  #: the flow of the job
    asked: str | None  #: digest of what was asked for; None if not all of it is stored
    calls: int  #: how many calls of the function are answered, or were nothing to answer
    pieces: int  #: pieces of children that its calls have added so far
    groups: list[dict[str, Any]]  #: summary of these children


class DeclaredChildren:
    """Children as flownb wrote them down when it stored them, by their parent's key."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, parent: str) -> list[child_list.ChildList]:
        """Return a parent's declared children in order, in pieces."""
        return self.read_many([parent])[0]

    def read_many(self, parents: Sequence[str]) -> list[list[child_list.ChildList]]:
        """Return the declared children of many parents, each in pieces."""
        with self._server.pipeline() as pipe:
            for parent in parents:
                pipe.hgetall(self._server.key("children", parent))
            found = pipe.execute()
        return [list(self._read_pieces(*each)) for each in zip(parents, found, strict=True)]

    def read_each(self, parents: Sequence[str]) -> Iterator[tuple[str, child_list.ChildList]]:
        """Yield each piece of the parents' declared children: of millions of rows one is unpacked at a time."""
        for some in in_pieces(parents):
            with self._server.pipeline() as pipe:
                for parent in some:
                    pipe.hgetall(self._server.key("children", parent))
                found = pipe.execute()
            for parent, pieces in zip(some, found, strict=True):
                for piece in self._read_pieces(parent, pieces):
                    yield parent, piece

    def read_keys(self, parent: str) -> list[str]:
        """Return the keys of a parent's declared children in order, without the rows that they stand for."""
        return [key for _, piece in self.read_each([parent]) for key in piece.keys]

    def read_trees(self, parents: Sequence[str]) -> Iterator[tuple[bool, Iterator[child_list.ChildList]]]:
        """Yield of each parent whether its children may have children, and its children in pieces; all in one read.

        Raises `KeyDamaged` at what is not as it was stored.
        """
        with self._server.pipeline() as pipe:
            for parent in parents:
                pipe.hgetall(self._server.key("children", parent))
            found = pipe.execute()
        for parent, stored in zip(parents, found, strict=True):
            groups = self._groups(parent, stored[b"groups"]) if b"groups" in stored else []
            is_deep = b"grown" in stored or not all(group["leaf"] for group in groups)
            yield is_deep, self._read_pieces(parent, stored)

    def _read_pieces(self, parent: str, pieces: Mapping[bytes, bytes]) -> Iterator[child_list.ChildList]:
        try:
            yield from _pieces(pieces)
        except ValueError:
            raise KeyDamaged(self._server.key("children", parent)) from None

    def read_piece(self, parent: str, number: int) -> list[str] | None:
        """Return the keys of one piece of the declared children, None behind the last one."""
        with server_errors():
            piece: Any = self._server.client.hget(self._server.key("children", parent), str(number))
        try:
            return None if piece is None else list(child_list.unpack(piece).keys)
        except ValueError:
            raise KeyDamaged(self._server.key("children", parent)) from None

    def read_keys_in_pieces(self, parent: str) -> Iterator[list[str]]:
        """Yield the keys of a parent's declared children, in no order, a read a piece: none holds the server up."""
        stored = self._server.key("children", parent)
        with server_errors():
            fields: Any = self._server.client.hkeys(stored)
        for field in fields:
            if field.isdigit() or field.startswith(b"run:"):
                with server_errors():
                    piece: Any = self._server.client.hget(stored, field)
                try:
                    yield [] if piece is None else list(child_list.unpack(piece).keys)
                except ValueError:
                    raise KeyDamaged(stored) from None

    def read_groups(self, parents: Sequence[str]) -> list[list[dict[str, Any]] | None]:
        """Return the summary of each parent's children: groups of one queue and one name template."""
        with self._server.pipeline() as pipe:
            for parent in parents:
                pipe.hmget(self._server.key("children", parent), "groups", "grown")
            found = pipe.execute()
        groups = [
            self._groups(parent, text) if text is not None else None
            for parent, (text, _) in zip(parents, found, strict=True)
        ]
        for parent, some, (_, grown) in zip(parents, groups, found, strict=True):
            if some and grown:
                self._mark_grown(parent, some)
        return groups

    def _groups(self, parent: str, text: bytes) -> list[dict[str, Any]]:
        try:
            groups = codec.decode(codec.text(text))
            if all(group.keys() >= _OF_A_GROUP and group["first"] for group in groups):
                return list(groups)
        except (ValueError, TypeError, AttributeError):
            pass
        raise KeyDamaged(self._server.key("children", parent))

    def _mark_grown(self, parent: str, groups: list[dict[str, Any]]) -> None:
        """Put first in each group the child that got children of its own at run time: the group's example."""
        fields = [grown_field(group["base"], group["name"]) for group in groups]
        with server_errors():
            found: Any = self._server.client.hmget(self._server.key("children", parent), fields)
        for group, child in zip(groups, found, strict=True):
            if child is not None:
                group["leaf"] = False
                if group["count"] > 1:
                    group["first"] = list(dict.fromkeys([codec.text(child), *group["first"]]))

    def read_added(self, job: str, home: str, number: int) -> AddedChildren:
        """Return what is stored of the children of one call of a job; `home` is the prefix of its flow."""
        children = keys.own(home, "children", job)
        with self._server.pipeline() as pipe:
            pipe.hmget(job, "fl", "ac")
            pipe.hmget(children, f"call:{number}", "groups")
            pipe.hkeys(children)
            (flow, calls), (asked, groups), fields = pipe.execute()
        return AddedChildren(
            flow=codec.text_or_none(flow),
            asked=codec.text(asked) if asked is not None and number < int(calls or 0) else None,
            calls=int(calls or 0),
            pieces=sum(field.startswith(b"run:") for field in fields),
            groups=self._groups(job, groups) if groups is not None else [],
        )


def grown_field(base: str, name: str) -> str:
    """Return the field of a parent's `children` that names one, of children named alike, which has got children."""
    return f"grown {base} {template_of(name)}"


def _pieces(found: Mapping[bytes, bytes]) -> Iterator[child_list.ChildList]:
    declared = sorted((int(field), piece) for field, piece in found.items() if field.isdigit())
    added = sorted((int(field[4:]), piece) for field, piece in found.items() if field.startswith(b"run:"))
    yield from (child_list.unpack(piece) for _, piece in declared)
    yield from (child_list.unpack(piece, added=True) for _, piece in added)
