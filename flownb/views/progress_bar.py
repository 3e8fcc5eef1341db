"""A bar while somebody waits: one line of a terminal that is drawn over; elsewhere one line at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flownb.errors import printable
from flownb.views.progress_words import how_far_in_words
from flownb.wire.records import HowFar

_BAR_CHARACTERS = 20


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[HowFar], None]]:
    """Draw a bar of this name until the end of the block; the call that is given says how far it is."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    words = Column(no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=_BAR_CHARACTERS),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False, table_column=words),
    )
    with Progress(*columns) as bar:
        line = bar.add_task(printable(name), total=None, words="")

        def show(how_far: HowFar) -> None:
            ended = how_far.completed + how_far.failed
            said = printable(how_far_in_words(how_far))
            bar.update(line, completed=ended, total=how_far.total or None, words=said)

        yield show
