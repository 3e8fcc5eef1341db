"""The failures of a flow as a live page lists them: by the kind of their error, the most frequent first.

An entry is ``{kind, message, example, count, where, source, jobs, rows, debug}``: a few of the jobs by key and name, or
of the rows by position, label and inputs. What is not among the entries is counted in a last one, without a kind.
"""

from __future__ import annotations

from typing import Any

from flownb.views import failure_groups
from flownb.views.failure_groups import FailureGroup
from flownb.views.last_frame import last_user_frame
from flownb.views.words import cut, first_line, shown
from flownb.wire.records import Snapshot

MOST_KINDS = 8  #: that are listed
SAMPLE_ROWS = 5  #: of each
MESSAGE_CHARACTERS, NAME_CHARACTERS = 300, 40

Entry = dict[str, Any]


def of_jobs(snapshot: Snapshot) -> list[Entry]:
    """The failed jobs that a snapshot holds."""
    groups = failure_groups.by_kind(snapshot.failures)
    shown_groups = [of_group(group) for group in groups[:MOST_KINDS]]
    rest = sum(len(group.records) for group in groups[MOST_KINDS:])
    return with_rest(shown_groups, rest + failure_groups.unread(snapshot))


def of_group(group: FailureGroup) -> Entry:
    first = group.records[0]
    return {
        "kind": failure_groups.kind_of_record(first),
        "message": cut(group.message, MESSAGE_CHARACTERS),
        "example": first_line(group.example, MESSAGE_CHARACTERS) if group.example else "",
        "count": len(group.records),
        **frame_of(failure_groups.last_traceback(first)),
        "jobs": [[job.key, shown(job.name, NAME_CHARACTERS)] for job in group.records[:SAMPLE_ROWS]],
        "rows": [],
        "debug": "",
    }


def frame_of(traceback: str) -> dict[str, str]:
    frame = last_user_frame(traceback)
    return {"where": frame.where, "source": frame.source} if frame else {"where": "", "source": ""}


def with_rest(entries: list[Entry], rest: int) -> list[Entry]:
    left_out = {"kind": "", "message": "", "example": "", "count": rest, "jobs": [], "rows": [], "debug": ""}
    return [*entries, left_out] if rest > 0 else entries
