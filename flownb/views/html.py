"""A flow as HTML: what a notebook shows, and a report in one file to hand on. Never with a script."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flownb.views import progress_words
from flownb.views.dot import picture
from flownb.views.html_table import frame_html, table
from flownb.views.markup import Markup, fill, joined
from flownb.views.words import (
    SYMBOLS,
    UNKNOWN,
    counts_in_words,
    cut,
    duration,
    in_reading_order,
    jobs,
    shown,
    size,
)
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, STATES, FlowCounts, JobRecord, Snapshot

if TYPE_CHECKING:
    import pandas as pd

MAX_MESSAGES = 20  #: of failures, in a report
_MESSAGES_IN_NOTEBOOK = 5
_BEGUN = (COMPLETED, FAILED, ACTIVE)
MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS = 600, 6000


def flow_html(snapshot: Snapshot) -> str:
    """What a flow shows of itself in a notebook: heading, progress, tree, failures. No ids, no times."""
    failed = _failures(snapshot.failures, most=_MESSAGES_IN_NOTEBOOK, tracebacks=False)
    style = Markup(notebook_style())
    return str(fill("flow.html", style=style, failures=failed, **_heading(snapshot)))


def notebook_style() -> str:
    """The style of a flow in a notebook, by the notebook's theme."""
    return f"{_style()}\n{fill('notebook.css', dark=fill('dark.css'))}"


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
    sections = [_section("Stages", _stages(snapshot.counts))]
    failed = _failures(snapshot.failures if failures is None else failures, most=MAX_MESSAGES)
    if failed:
        sections.append(_section("Failures", failed))
    if table_html is not None:
        body = Markup(table_html) if isinstance(table_html, str) else frame_html(table_html)
        sections.append(_section("Results", body))
    if timeline is not None:
        sections.append(_section("Timeline", fill("scroll.html", body=Markup(timeline))))
    page = fill(
        "report.html",
        title=shown(title if title is not None else snapshot.name, 200),
        when=_when(snapshot),
        style=joined([_style(), fill("page.css", dark=fill("dark.css"), light=fill("light.css"))]),
        sections=joined(sections),
        **_heading(snapshot),
    )
    return f"{page}\n"


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
    whole: Counter[str] = Counter()
    for states in counts.by_stage.values():
        whole.update(states)
    pairs = in_reading_order(whole)
    shares, key = [], []
    for state, count in pairs:
        tone = state if state in STATES else UNKNOWN
        left = "" if state in _BEGUN else " fn-left"
        shares.append(fill("share.html", tone=tone, left=left, count=count, state=state))
        key.append(fill("key.html", tone=tone, sign=SYMBOLS[tone], count=count, state=state))
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
    return table(["queue", *ordered, "total"], rows)


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
    return cut((record.failed_reason or "").strip() or "no message", MESSAGE_CHARACTERS)


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
    """The last of a job's tracebacks, its end kept: that is where the cause is."""
    try:
        texts = json.loads(stacktrace or "[]")
    except ValueError:
        return ""
    if not isinstance(texts, list) or not texts or not isinstance(texts[-1], str):
        return ""
    last = texts[-1]
    return last if len(last) <= TRACEBACK_CHARACTERS else "…" + last[-TRACEBACK_CHARACTERS:]


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
