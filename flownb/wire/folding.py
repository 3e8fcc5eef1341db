"""Which siblings look alike: the template of a job's name, and groups of one template.

Pure text work on names, so that a wide flow can be counted and drawn as a few groups::

    process-item-0, process-item-1, ... process-item-999   ->   process-item-*
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_SINGLE = 4
"""Up to so many siblings of one template stand for themselves; more are folded."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"(?<![0-9a-z])(?=[a-f]*[0-9])[0-9a-f]{6,}(?![0-9a-z])", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]++(?![a-z+.-]{0,8}://)")  # not the 3 of s3://
_STARS = re.compile(r"\*(?:[-_.:T+ ]?\*)+")
_LAST_STEP = re.compile(r"[^/\\]*$")
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")


def template_of(name: str) -> str:
    """The name with its varying parts replaced by ``*``: numbers, hex runs, UUIDs, the file of a path.

    >>> template_of("process-item-7")
    'process-item-*'
    >>> template_of("thumb photos/cat.png")
    'thumb photos/*.png'
    >>> template_of("day 2024-11-03")
    'day *'
    >>> template_of("send_confirmation")
    'send_confirmation'
    """
    folded = _UUID.sub("*", _fold_file(name))
    folded = _DIGITS.sub("*", _HEX.sub("*", folded))
    return _STARS.sub("*", folded)


def _fold_file(name: str) -> str:
    """Fold the last step of what looks like a path or an address; ``check/order`` is neither."""
    last = _LAST_STEP.search(name)
    if last is None or last.start() == 0 or not last.group():
        return name
    suffix = _SUFFIX.search(last.group())
    steps = name.count("/") + name.count("\\")
    if suffix is None and "://" not in name and steps < 2:
        return name
    return name[: last.start()] + "*" + (suffix.group() if suffix else "")


def group_siblings(
    pairs: Iterable[tuple[str, str]], *, most_single: int = MOST_SINGLE
) -> list[tuple[str, str, list[int]]]:
    """Group ``(queue, name)`` pairs by queue and template, in order of first appearance.

    Each group is ``(queue, template, positions)``. A group of at most `most_single` members is handed out
    one by one, each under its own name; so is a longer one's name when all its members share it.

    >>> group_siblings([("q", f"row-{i}") for i in range(6)] + [("q", "total")])
    [('q', 'row-*', [0, 1, 2, 3, 4, 5]), ('q', 'total', [6])]
    >>> group_siblings([("q", "row-1"), ("q", "row-2")])
    [('q', 'row-1', [0]), ('q', 'row-2', [1])]
    """
    names: list[str] = []
    members: dict[tuple[str, str], list[int]] = {}
    # Siblings mostly differ in a number at their end: the template is made once for each stem.
    by_stem: dict[tuple[str, str, bool], list[int]] = {}
    for position, (queue, name) in enumerate(pairs):
        names.append(name)
        stem = name.rstrip("0123456789")
        key = (queue, stem, len(stem) < len(name))
        positions = by_stem.get(key)
        if positions is None:
            template = template_of(f"{stem}0" if key[2] else name)
            positions = by_stem[key] = members.setdefault((queue, template), [])
        positions.append(position)

    groups: list[tuple[str, str, list[int]]] = []
    for (queue, template), positions in members.items():
        if len(positions) <= most_single:
            groups += [(queue, names[position], [position]) for position in positions]
        else:
            one_name = len({names[position] for position in positions}) == 1
            groups.append((queue, names[positions[0]] if one_name else template, positions))
    # Members handed out one by one may stand between those of another group.
    return sorted(groups, key=lambda group: group[2][0])
