"""A bar while somebody waits: one line of a terminal that is drawn over; elsewhere one line at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flownb.errors import printable

Show = Callable[[int, int, int], None]  # how many have ended, how many of these failed, how many there are


@contextmanager
def progress_bar(name: str) -> Iterator[Show]:
    """Draw a bar of this name until the end of the block; the call that is given says how far it is."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        line = bar.add_task(printable(name), total=None, failed="")

        def show(ended: int, failed: int, total: int) -> None:
            bar.update(
                line, completed=ended, total=total or None, failed=f"{failed:,} failed" if failed else ""
            )

        yield show
