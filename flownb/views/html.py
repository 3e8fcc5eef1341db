"""A flow as HTML: what a notebook shows of it, and a report of one file for others. No script, ever."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flownb.views import progress_words
from flownb.views.dot import picture
from flownb.views.markup import Markup, fill, joined
from flownb.views.timeline import duration
from flownb.views.words import SIGNS, UNKNOWN, counts_in_words, cut, in_reading_order, jobs, shown, size
from flownb.wire.records import COMPLETED, FAILED, STATES, FlowCounts, JobRecord, Snapshot

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 200  #: of a result table; a report is to be read
MOST_MESSAGES = 20
MOST_MESSAGE, MOST_TRACEBACK, MOST_CELL = 600, 6000, 300


def flow_html(snapshot: Snapshot) -> str:
    """What a flow shows of itself in a notebook: heading, progress, tree, failures. No ids, no times."""
    failed = _failures(snapshot.failures, most=5, tracebacks=False)
    return fill(
        "flow.html",
        style=notebook_style(),
        failures=failed,
        **_heading(snapshot),
    )


def notebook_style() -> Markup:
    """The style of a flow in a notebook, by the notebook's theme."""
    return Markup(_style() + "\n" + fill("notebook.css", dark=fill("dark.css")))


def report(
    snapshot: Snapshot,
    *,
    table_html: str | pd.DataFrame | None = None,
    failures: Iterable[JobRecord] | None = None,
    timeline: str | None = None,
    title: str | None = None,
) -> str:
    """One complete HTML file: tree, counts, stages, failures, results, timeline.

    `timeline` is what `timeline_svg` made. `table_html` is a DataFrame, or markup the caller answers for.
    `failures` are the snapshot's own unless given.
    """
    dark = fill("dark.css")
    sections = [_section("Stages", _stages(snapshot.counts))]
    failed = _failures(snapshot.failures if failures is None else failures, most=MOST_MESSAGES)
    if failed:
        sections.append(_section("Failures", failed))
    if table_html is not None:
        body = Markup(table_html) if isinstance(table_html, str) else frame_html(table_html)
        sections.append(_section("Results", body))
    if timeline is not None:
        sections.append(_section("Timeline", fill("scroll.html", body=Markup(timeline))))
    return (
        fill(
            "report.html",
            title=shown(title if title is not None else snapshot.name, 200),
            when=_when(snapshot),
            style=Markup(_style() + "\n" + fill("page.css", dark=dark, light=fill("light.css"))),
            sections=joined(sections),
            **_heading(snapshot),
        )
        + "\n"
    )


def frame_html(frame: pd.DataFrame) -> Markup:
    """A DataFrame as a table: every cell escaped and cut, numbers to the right, at most `MOST_ROWS` rows."""
    head = frame.head(MOST_ROWS)
    labels = [str(name) if name is not None else "" for name in frame.index.names]
    columns: list[list[object]] = [
        # By place: two columns of one name would come out together.
        head.iloc[:, place].tolist()
        for place in range(head.shape[1])
    ]
    cells = zip(*columns, strict=True) if columns else [()] * len(head)
    keys = [label if isinstance(label, tuple) else (label,) for label in head.index.tolist()]
    rows = [[*key, *row] for key, row in zip(keys, cells, strict=True)]
    table = _table([*labels, *(str(column) for column in frame.columns)], rows)
    if len(frame) <= MOST_ROWS:
        return table
    return joined([table, fill("more.html", words=f"the first {MOST_ROWS} of {len(frame)} rows")])


def _heading(snapshot: Snapshot) -> dict[str, Any]:
    state = snapshot.state
    tone = FAILED if state == "failing" else state if state in STATES else UNKNOWN
    return {
        "name": shown(snapshot.name),
        "state": shown(state),
        "tone": tone,
        "size": size(snapshot.counts),
        "progress": _progress(snapshot.counts),
        "runs": progress_words.in_words(snapshot),
        "picture": Markup(picture(snapshot)),
    }


def _progress(counts: FlowCounts) -> Markup:
    """The stacked bar, and the same counts as text."""
    whole: dict[str, int] = {}
    for states in counts.by_stage.values():
        for state, count in states.items():
            whole[state] = whole.get(state, 0) + count
    pairs = in_reading_order(whole)
    shares, key = [], []
    for state, count in pairs:
        tone = state if state in STATES else UNKNOWN
        left = "" if state in (COMPLETED, FAILED, "active") else " fn-left"
        shares.append(fill("share.html", tone=tone, left=left, count=count, state=state))
        key.append(fill("key.html", tone=tone, sign=SIGNS[tone], count=count, state=state))
    return fill(
        "progress.html",
        words=counts_in_words(pairs) or "no jobs",
        shares=joined(shares, ""),
        key=joined(key, " "),
    )


def _stages(counts: FlowCounts) -> Markup:
    present = {state for states in counts.by_stage.values() for state, count in states.items() if count}
    ordered = [state for state in STATES if state in present] + sorted(present - set(STATES))
    rows = [
        [shown(queue), *(states.get(state, 0) for state in ordered), sum(states.values())]
        for queue, states in counts.by_stage.items()
    ]
    return _table(["queue", *ordered, "total"], rows)


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> Markup:
    lines = [list(row) for row in rows]
    numeric = [all(_is_number(line[place]) for line in lines) and bool(lines) for place in range(len(head))]
    kinds = ["fn-number" if number else "fn-text" for number in numeric]
    return fill(
        "table.html",
        head=joined(
            (
                fill("head.html", kind=k, text=shown(h, 80) if h else "")
                for k, h in zip(kinds, head, strict=True)
            ),
            "",
        ),
        rows=joined(
            fill(
                "row.html",
                cells=joined(
                    (fill("cell.html", kind=k, text=_cell(v)) for k, v in zip(kinds, line, strict=True)), ""
                ),
            )
            for line in lines
        ),
    )


def _is_number(value: object) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or _is_missing(value)


def _is_missing(value: object) -> bool:
    """NaN, NaT and NA, told without pandas: none of them equals itself."""
    if value is None:
        return True
    try:
        return not bool(value == value)
    except (TypeError, ValueError):  # NA refuses; an array has no one answer
        return type(value).__name__ == "NAType"


def _cell(value: object) -> str:
    if _is_missing(value):
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return cut(text, MOST_CELL)


def _failures(records: Iterable[JobRecord], *, most: int, tracebacks: bool = True) -> Markup:
    """Failed jobs by message, the most frequent first; the first of each shows its traceback."""
    groups: dict[str, list[JobRecord]] = {}
    for record in records:
        groups.setdefault(_message(record), []).append(record)
    if not groups:
        return Markup("")
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    items = [_failure(message, its, tracebacks=tracebacks) for message, its in ranked[:most]]
    if len(ranked) > most:
        rest = sum(len(its) for _, its in ranked[most:])
        items.append(fill("rest.html", words=f"and {jobs(rest)} with other messages"))
    return fill("failures.html", items=joined(items))


def _message(record: JobRecord) -> str:
    return cut((record.failed_reason or "").strip() or "no message", MOST_MESSAGE)


def _failure(message: str, records: list[JobRecord], *, tracebacks: bool) -> Markup:
    names = list(dict.fromkeys(shown(record.name) for record in records))
    queues = ", ".join(dict.fromkeys(shown(record.queue) for record in records))
    where = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    if not all(record.name.startswith(record.queue) for record in records):
        where = f"{where} in {queues}"
    text = _traceback(records[0].stacktrace) if tracebacks else ""
    details = fill("traceback.html", name=names[0], text=text) if text else Markup("")
    return fill("failure.html", count=len(records), message=message, where=where, details=details)


def _traceback(stacktrace: str) -> str:
    """The last of a job's tracebacks, its end kept: that is where the cause stands."""
    try:
        texts = json.loads(stacktrace or "[]")
    except ValueError:
        return ""
    if not isinstance(texts, list) or not texts or not isinstance(texts[-1], str):
        return ""
    last = texts[-1]
    return last if len(last) <= MOST_TRACEBACK else "…" + last[-MOST_TRACEBACK:]


def _when(snapshot: Snapshot) -> str:
    began = _moment(snapshot.created)
    if snapshot.finished is not None:
        return f"{began}, took {duration(max(snapshot.finished - snapshot.created, 0))}"
    return f"{began}, running for {duration(max(snapshot.now - snapshot.created, 0))}"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _section(heading: str, body: Markup) -> Markup:
    return fill("section.html", heading=heading, body=body)


def _style() -> Markup:
    return fill("style.css", light=fill("light.css"))
