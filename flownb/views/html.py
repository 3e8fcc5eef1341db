"""A flow as HTML: what a notebook shows, and a report in one file to hand on. Never with a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flownb.views import failure_groups, progress_words, text
from flownb.views.dot import picture
from flownb.views.failure_groups import FailureGroup
from flownb.views.html_table import Count, frame_html, table
from flownb.views.long_texts import panel_json
from flownb.views.markup import Markup, fill, joined
from flownb.views.palette import style_colours
from flownb.views.picture_image import image
from flownb.views.words import (
    SYMBOLS,
    counts_in_words,
    cut,
    duration,
    ended_and_left,
    first_line,
    flow_state_words,
    flow_tone,
    in_reading_order,
    known_state,
    left_in_words,
    rows,
    shown,
    size,
    state_word,
)
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, STATES, FlowCounts, JobRecord, Snapshot

if TYPE_CHECKING:
    import pandas as pd

MAX_MESSAGES = 20  #: of failures, in a report
_MESSAGES_IN_NOTEBOOK = 5
_PRINTED_ROWS = 40  # of a table: as in page.css
_BEGUN = (COMPLETED, FAILED, ACTIVE)
MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS = 600, 6000


def flow_html(snapshot: Snapshot, *, dated: bool = False) -> str:
    """What a flow shows of itself in a notebook: heading, progress, tree, failures. No ids, no times.

    With `dated` a flow that has not ended says of when the picture is.
    """
    unread = failure_groups.unread(snapshot)
    failed = _failures(snapshot.failures, unread, most=_MESSAGES_IN_NOTEBOOK, tracebacks=False)
    style = Markup(notebook_style())
    heading = _heading(snapshot)
    if dated and snapshot.finished is None:
        heading["runs"] = " · ".join(filter(None, [heading["runs"], f"as of {_moment(snapshot.now)}"]))
    shown_picture = image(picture(snapshot), text.tree(snapshot))
    return str(fill("flow.html", style=style, picture=shown_picture, failures=failed, **heading))


def notebook_style() -> str:
    """The style of a flow in a notebook, by the notebook's theme."""
    return f"{_style()}\n{fill('notebook.css', **style_colours())}"


def live_style() -> str:
    """The style of a live view, which also finds out itself whether its page is dark."""
    return f"{notebook_style()}\n{fill('live.css', **style_colours())}"


def report(
    snapshot: Snapshot,
    *,
    table_html: str | pd.DataFrame | None = None,
    table_of: int | None = None,
    value: str | None = None,
    failures: Iterable[JobRecord] | None = None,
    timelines: Sequence[str] = (),
    title: str | None = None,
) -> str:
    """One complete HTML file: how the flow ended, its result, what failed, then its tree, stages and timeline.

    `timelines` are what `timeline_svg` made for wide screens, for narrow ones and paper, for telephones. The result is
    `table_html`, a DataFrame, of `table_of` rows where it has but the first, or markup the caller answers for; else
    `value`, as JSON text. `failures` are the snapshot's own unless given.
    """
    sections = []
    if table_html is not None:
        sections.append(_section("Result", _result(table_html, table_of)))
    elif value is not None:
        sections.append(_section("Result", fill("value.html", text=panel_json(value))))
    if failures is None:
        failed = _failures(snapshot.failures, failure_groups.unread(snapshot), most=MAX_MESSAGES)
    else:
        failed = _failures(failures, 0, most=MAX_MESSAGES)
    if failed:
        sections.append(_section("Failures", failed))
    sections.append(_section("Tree", fill("tree.html", body=Markup(picture(snapshot)))))
    if len(stages := _stages(snapshot.counts)) > 1:  # of one the heading has said all
        of_rows = rows(snapshot) > 0
        name = "step" if of_rows else "queue"
        sections.append(_section("Steps" if of_rows else "Queues", _stage_table(name, stages)))
    if timelines:
        sections.append(_section("Timeline", _timelines(timelines)))
    heading = _heading(snapshot)
    name = heading["name"] if title not in (None, snapshot.name) else ""
    page = fill(
        "report.html",
        title=shown(title if title is not None else snapshot.name, 200),
        facts=" · ".join(filter(None, [name, heading["size"], _when(snapshot), heading["runs"]])),
        style=joined([_style(), fill("page.css", **style_colours())]),
        sections=joined(sections),
        **heading,
    )
    return f"{page}\n"


def _result(table_html: str | pd.DataFrame, of: int | None) -> Markup:
    """The result as a table; on paper its first rows."""
    if isinstance(table_html, str):
        return Markup(table_html)
    made = fill("result.html", table=frame_html(table_html, of=of))
    if len(table_html) <= _PRINTED_ROWS:
        return made
    words = f"on paper the first {_PRINTED_ROWS} of {of or len(table_html):,} rows"
    return joined([made, fill("on_paper.html", words=words)])


def _timelines(timelines: Sequence[str]) -> Markup:
    """The timelines, of which the page shows the one that fits."""
    if len(timelines) == 1:
        return fill("scroll.html", body=Markup(timelines[0]))
    kinds = zip(("wide", "narrow", "phone"), timelines, strict=False)
    return joined([fill("timeline.html", kind=kind, picture=Markup(picture)) for kind, picture in kinds])


def _heading(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "name": shown(snapshot.name),
        "state": shown(flow_state_words(snapshot)),
        "tone": flow_tone(snapshot),
        "size": size(snapshot.counts, rows(snapshot)),
        "progress": _progress(snapshot),
        "runs": progress_words.in_words(snapshot),
    }


def _progress(snapshot: Snapshot) -> Markup:
    """The stacked bar, and the same counts as text."""
    whole: Counter[str] = Counter()
    for states in snapshot.counts.by_stage.values():
        whole.update(states)
    ended, left = ended_and_left(in_reading_order(whole))
    pairs = ended + left
    of_rows = rows(snapshot) > 0
    shares, key = [], []
    for state, count in pairs:
        tone = known_state(state)
        pale = "" if state in _BEGUN else " fn-left"
        word = state_word(state, of_rows=of_rows)
        shares.append(fill("share.html", tone=tone, left=pale, count=count, state=word))
        since = progress_words.oldest_in_words(snapshot) if state == ACTIVE else ""
        key.append(fill("key.html", tone=tone, sign=SYMBOLS[tone], count=f"{count:,}", state=word + since))
    if words := left_in_words(left, of_rows=of_rows):
        key.insert(len(ended), fill("key_left.html", words=words))
    return fill(
        "progress.html",
        words=counts_in_words(pairs, of_rows=of_rows) or "no jobs",
        shares=joined(shares, ""),
        key=joined(key, " "),
    )


def _stages(counts: FlowCounts) -> Mapping[str, Mapping[str, int]]:
    """The states of each queue, or step of rows, by its name; those with most first."""
    stages: dict[str, Mapping[str, int]] = {}
    for queue, states in sorted(counts.by_stage.items(), key=lambda stage: -sum(stage[1].values())):
        stages |= counts.by_step.get(queue, {queue: states})
    return stages


def _stage_table(name: str, stages: Mapping[str, Mapping[str, int]]) -> Markup:
    present = {state for states in stages.values() for state, count in states.items() if count}
    ordered = [state for state in STATES if state in present] + sorted(present - set(STATES))
    lines = [
        [shown(stage), *(Count(states.get(state, 0)) for state in ordered), Count(sum(states.values()))]
        for stage, states in stages.items()
    ]
    return table([name, *map(state_word, ordered), "total"], lines)


def _failures(records: Iterable[JobRecord], unread: int, *, most: int, tracebacks: bool = True) -> Markup:
    """Failed jobs by the kind of their error, the most frequent first; the first of each shows its traceback."""
    groups = failure_groups.by_kind(records)
    if not groups:
        return Markup("")
    items = [_failure(group, tracebacks=tracebacks) for group in groups[:most]]
    rest = sum(len(group.records) for group in groups[most:]) + unread
    if rest:
        items.append(fill("rest.html", words=failure_groups.rest_in_words(rest)))
    return fill("failures.html", items=joined(items))


def _failure(group: FailureGroup, *, tracebacks: bool) -> Markup:
    records = group.records
    names = list(dict.fromkeys(shown(record.name) for record in records))
    queues = ", ".join(dict.fromkeys(shown(record.queue) for record in records))
    where = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    if not all(record.name.startswith(record.queue) for record in records):
        where = f"{where} in {queues}"
    example = f"such as {first_line(group.example, MESSAGE_CHARACTERS)}" if group.example else ""
    traceback = _end_of(failure_groups.last_traceback(records[0])) if tracebacks else ""
    return fill(
        "failure.html",
        count=f"{len(records):,}",
        message=cut(group.message, MESSAGE_CHARACTERS),
        example=fill("example.html", words=example) if example else Markup(""),
        where=where,
        details=fill("traceback.html", name=names[0], text=traceback) if traceback else Markup(""),
    )


def _end_of(traceback: str) -> str:
    """A traceback with its end kept: that is where the cause is."""
    return traceback if len(traceback) <= TRACEBACK_CHARACTERS else "…" + traceback[-TRACEBACK_CHARACTERS:]


def _when(snapshot: Snapshot) -> str:
    began = _moment(snapshot.created)
    if snapshot.finished is not None:
        return f"began {began}, took {duration(max(snapshot.finished - snapshot.created, 0))}"
    if snapshot.paused:
        return f"began {began}"
    return f"began {began}, running for {duration(max(snapshot.now - snapshot.created, 0))}"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _section(heading: str, body: Markup) -> Markup:
    return fill("section.html", heading=heading, body=body)


def _style() -> Markup:
    return fill("style.css", tones=fill("tones.css"), **style_colours())
