"""Records that cross between Python and Lua have the same fields on both sides, in the same order; no server is asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flownb.arguments import read_limiter
from flownb.wire import scripts
from flownb.wire.job_rows import (
    DeduplicatedRow,
    Deduplication,
    FieldRow,
    FlowRecord,
    JobDetails,
    JobRow,
    ParentRow,
)
from flownb.wire.lease_records import FetchingWorker, Lease, OwnRun, QueueShare
from flownb.wire.outcomes import USUAL, Outcome, Retention, packed
from flownb.wire.records import CRASHED, crashed
from flownb.wire.requests import Detachment, Removal, Retry, ScheduledJob
from flownb.wire.store.accounts import SpentByRun
from flownb.wire.store.children import ChildrenCounts, JobOutline
from flownb.wire.store.job_records import FETCHED_FIELDS
from flownb.wire.store.shared_jobs import SharedJob

LUA = Path(scripts.__file__).parent / "lua"
FILES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(LUA.rglob("*.lua"))}

PACKED: dict[str, Any] = {
    "flow_record": FlowRecord(id="f"),
    "own_run": OwnRun(key="k", token="t", attempts_started=1),
    "worker": FetchingWorker(token="t", lock_ms=1),
    "removal": Removal(jobs=[]),
    "scheduled_job": ScheduledJob(name="tick", opts="{}"),
}
"""Maps, as instances of their classes."""
ROWS: dict[str, Any] = {
    "retention": Retention,
    "job_row": JobRow,
    "job_details": JobDetails,
    "deduplicated": DeduplicatedRow,
    "deduplication": Deduplication,
    "parent_row": ParentRow,
    "field_row": FieldRow,
    "lease": Lease,
    "told": SpentByRun,
    "queue_share": QueueShare,
    "retry": Retry,
    "detachment": Detachment,
    "shared_job": SharedJob,
    "children_counts": ChildrenCounts,
    "job_outline": JobOutline,
}
OTHERS = {  # made by functions, without a class
    "fetched": ("base", "ids", "rows"),
    "refused": ("position", "answer"),
    "outcome": (*Outcome._fields[:USUAL], "unusual"),
    "unusual": Outcome._fields[USUAL:],
    "limiter": tuple(read_limiter("5/s") or ()),
}


def python_records() -> dict[str, tuple[str, ...]]:
    found = {name: tuple(field.name for field in dataclasses.fields(one)) for name, one in PACKED.items()}
    return found | {name: row._fields for name, row in ROWS.items()} | OTHERS


def lua_records(files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in files.values():
        for name, (_, fields) in scripts.records(text).items():
            assert found.setdefault(name, fields) == fields, f"{name} is declared twice, in two ways"
    return found


def unknown_fields(files: Mapping[str, str]) -> list[str]:
    """Return the fields that a file reads of a record and that the record does not have.

    A record is a variable of its name, or what its reader (``<name>_of``) has returned; a run is an outcome with what the
    file ``end_run`` lists.
    """
    fields = lua_records(files)
    (facts,) = re.findall(r"A run is its outcome, with \{([^}]*)\}", files["end_run"])
    fields["run"] = (*fields["outcome"], *fields["unusual"], *re.findall(r"(?<!-)\b\w+", facts))
    found = []
    for file, text in files.items():
        code = re.sub(r"--[^\n]*", "", text)
        names = {name: name for name in fields}
        names |= {
            variable: name for variable, name in re.findall(r"(\w+) = (\w+?)_of\(", code) if name in fields
        }
        for variable, name in names.items():
            for field in re.findall(rf"(?<![\w.'\"]){variable}\.(\w+)", code):
                if field not in fields[name]:
                    found.append(f"{file}.lua: {variable}.{field}")
    return found


def test_both_sides_know_the_same_records():
    assert lua_records(FILES) == python_records()


@pytest.mark.parametrize("name", PACKED)
def test_a_map_is_packed_with_all_its_fields(name):
    one = PACKED[name]
    assert tuple(one.packed()) == tuple(field.name for field in dataclasses.fields(one))


def test_a_script_reads_no_field_that_a_record_has_not():
    assert unknown_fields(FILES) == []


def test_every_field_of_a_record_that_a_script_is_sent_is_read():
    code = re.sub(r"--[^\n]*", "", "\n".join(FILES.values()))
    # answers, and what is read by its position
    others = {"children_counts", "job_outline", "fetched", "refused", "outcome"}
    sent = {field for name, fields in lua_records(FILES).items() if name not in others for field in fields}
    assert sorted(field for field in sent if not re.search(rf"\.{field}\b", code)) == []


def test_the_parts_of_an_outcome_are_read_where_they_come():
    fields = lua_records(FILES)["outcome"]
    code = FILES["finish_and_fetch"] + FILES["outcome"]
    named = re.findall(r"(\w+) = outcomes\[at \+ (\d)\]", code)
    assert len(named) == len(re.findall(r"outcomes\[", code))
    assert {name for name, at in named} == set(fields)
    assert [(name, at) for name, at in named if fields[int(at) - 1] != name] == []
    assert f"PARTS_OF_AN_OUTCOME = {len(fields)}\n" in code
    one = Outcome("bull:q", "a", "t", 1, "failed")
    assert len(packed([one, one])) == 2 * len(fields)


def test_the_fields_of_a_fetched_job_come_in_the_order_in_which_they_are_read():
    (listed,) = re.findall(r"'HMGET', job, (.*?)\)", FILES["fetch"], re.DOTALL)
    assert tuple(re.findall(r"'(\w+)'", listed)) == FETCHED_FIELDS


def test_the_reason_of_a_crash_is_worded_once_in_each_language_and_alike():
    package = LUA.parents[1]
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".lua", ".js")]
    wording = {
        str(path.relative_to(package)) for path in files if CRASHED in path.read_text(encoding="utf-8")
    }
    assert wording == {"wire/records.py", "wire/lua/lib/stall.lua"}
    assert f"'{CRASHED} ' .. int(deaths) .. (deaths == 1 and ' time' or ' times')" in FILES["stall"]
    assert [crashed(1), crashed(2)] == [f"{CRASHED} 1 time", f"{CRASHED} 2 times"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("outcome", "@row     outcome base id", "@row     outcome id base"),
        ("outcome", "eager retention rows", "eager retention rows extra"),
        ("fetch", "@map     worker token lock_ms", "@map     worker token"),
        ("add_jobs", "-- @row     parent_row key link policy is_outside\n", ""),
    ],
)
def test_a_record_that_differs_is_found(file, old, new):
    assert old in FILES[file]
    assert lua_records(FILES | {file: FILES[file].replace(old, new)}) != python_records()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("outcome", "run.kind ==", "run.kinds =="),
        ("extend_leases", "lease.token", "lease.tokens"),
        ("add_jobs", "parent.is_outside", "parent.outside"),
    ],
)
def test_a_misspelt_field_is_found(file, old, new):
    assert old in FILES[file]
    assert unknown_fields(FILES | {file: FILES[file].replace(old, new)})
