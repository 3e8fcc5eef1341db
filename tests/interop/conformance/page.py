"""What docs/compatibility.md says of the suite: how many scenarios there are, and everything that is meant to differ."""

from __future__ import annotations

from collections.abc import Iterator

from tests.interop.conformance.areas import AREAS
from tests.interop.conformance.play import EVERYWHERE
from tests.interop.conformance.steps import Differs
from tests.support.peers.process import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- written by the suite -->\n", "<!-- to here -->\n"


def stands_there() -> str:
    """Return what the page has between its marks."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0]


def write() -> None:
    """Bring the page up to date."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + text() + END + rest.split(END)[1])


def text() -> str:
    """Return what the page should have there."""
    return "".join([*_counts(), *_everywhere(), *_differences()])


def _counts() -> Iterator[str]:
    total = sum(map(len, AREAS.values()))
    differ = sum(
        any(isinstance(step, Differs) for step in steps)
        for named in AREAS.values()
        for steps in named.values()
    )
    yield f"{total} scenarios: {total - differ} end the same, {differ} differ as listed.\n\n"
    yield "| area | scenarios |\n|---|---|\n"
    for area, named in AREAS.items():
        yield f"| {area} | {len(named)} |\n"


def _everywhere() -> Iterator[str]:
    yield "\nIn every scenario flownb has these in a way of its own:\n\n"
    for line in EVERYWHERE:
        yield f"- {line}\n"


def _differences() -> Iterator[str]:
    yield "\nWhat differs in single scenarios; each line says where, what BullMQ has, and what flownb has:\n"
    by_reason: dict[str, list[str]] = {}
    for area, named in AREAS.items():
        for name, steps in named.items():
            for step in steps:
                if isinstance(step, Differs):
                    by_reason.setdefault(step.why, []).append(f"{area}: {name}: {step.line}")
    for why, lines in by_reason.items():
        yield "".join([f"\n{why}\n\n```\n", *[f"{line}\n" for line in lines], "```\n"])
