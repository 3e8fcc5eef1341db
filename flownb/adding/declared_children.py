"""What a parent says of its children: their declared order, in pieces, and a summary of groups that look alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flownb.adding.planned_job import Plan
from flownb.wire import child_list
from flownb.wire.folding import MOST_SINGLE, group_siblings
from flownb.wire.records import OPTIONAL

CHILDREN_A_PIECE = 5000  # of a parent's declared list


def pieces_of(plan: Plan, parent: int) -> Iterator[bytes]:
    """Yield the declared children of a planned job, in pieces as they are stored."""
    children = [plan.jobs[i] for i in plan.jobs[parent].children]
    rows = plan.rows.get(parent)
    pieces = rows.pieces(len(children), CHILDREN_A_PIECE) if rows else _alone(len(children))
    for start, stop, some_rows in pieces:
        some = children[start:stop]
        yield child_list.pack([child.base for child in some], [child.id for child in some], some_rows)


def groups_of(plan: Plan, parent: int) -> list[dict[str, Any]]:
    """Return the summary of a planned job's children that a picture is drawn from."""
    children = [plan.jobs[i] for i in plan.jobs[parent].children]
    rows, groups = plan.rows.get(parent), []
    runs = rows.runs() if rows is not None else None
    alike = [child.shown_as or (child.base, child.name) for child in children]
    for base, name, positions in group_siblings(alike, most_single=MOST_SINGLE if runs is None else 0):
        members = [children[i] for i in positions]
        policy = members[0].parents[parent]
        leaf = not any(member.children for member in members)
        first = [member.key for member in members[:MOST_SINGLE]]
        group = group_of(base, name, first, len(members), policy, leaf)
        if runs is not None:
            group["rows"] = sum(runs[i] for i in positions)
        groups.append(group)
    return groups


def _alone(children: int) -> Iterator[tuple[int, int, None]]:
    """Cut children that stand for no rows into pieces."""
    for start in range(0, children, CHILDREN_A_PIECE):
        yield start, min(start + CHILDREN_A_PIECE, children), None


def group_of(base: str, name: str, first: list[str], count: int, policy: str, leaf: bool) -> dict[str, Any]:
    """Return one group of like siblings, as a parent's summary holds it; `leaf`: none of them has children."""
    return {
        "base": base,
        "name": name,
        "count": count,
        "first": first,
        "optional": policy in OPTIONAL,
        "leaf": leaf,
    }
