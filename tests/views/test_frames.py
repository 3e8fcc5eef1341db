"""Tables and the timeline: dtypes, missing values, bounded pictures."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from flownb.views.box_parts import text_width
from flownb.views.phases import Phase, phases
from flownb.views.queue_lanes import STEPS, levels
from flownb.views.table import counts_frame, jobs_frame, timeline_frame
from flownb.views.time_axis import Span
from flownb.views.timeline import timeline_svg
from flownb.views.words import duration
from flownb.wire.records import FlowCounts, JobRecord
from tests.support import example_snapshots as scenes

T = scenes.START
DTYPES = {
    "name": "object",
    "queue": "object",
    "state": "object",
    "attempts": "Int64",
    "wait_s": "Float64",
    "run_s": "Float64",
    "error": "object",
}


def ran(name: str, start: int, end: int, state: str = "completed", queue: str = "work") -> JobRecord:
    return scenes.record(name, state, queue, processed_on=T + start, finished_on=T + end)


def test_jobs_have_one_row_each_with_settled_dtypes():
    frame = jobs_frame(
        [
            scenes.record(
                "a", "failed", processed_on=T + 500, finished_on=T + 2000, attempts_made=3, failed_reason="no"
            ),
            scenes.record("b", "waiting"),
        ]
    )
    assert frame.dtypes.astype(str).to_dict() == DTYPES
    assert frame.index.equals(pd.RangeIndex(2))
    assert frame.loc[0].tolist() == ["a", "work", "failed", 3, 0.5, 1.5, "no"]
    assert frame.loc[1, ["wait_s", "run_s"]].isna().all()
    assert frame.loc[1, "error"] is None


def test_no_jobs_have_the_same_columns_and_dtypes():
    frame = jobs_frame([])
    assert frame.dtypes.astype(str).to_dict() == DTYPES
    assert len(frame) == 0
    assert timeline_frame([]).columns.tolist() == ["name", "queue", "phase", "start", "end", "seconds"]


def test_a_clock_that_went_back_gives_no_negative_duration():
    frame = jobs_frame([ran("a", 500, 100)])
    assert frame.loc[0, "run_s"] == 0
    assert (timeline_frame([ran("a", -500, -900)])["seconds"] >= 0).all()


def test_counts_have_a_column_a_state_present():
    frame = counts_frame(
        FlowCounts(by_stage={"b": {"failed": 1, "waiting": 2, "active": 0}, "a": {"completed": 4}})
    )
    assert frame.columns.tolist() == ["waiting", "completed", "failed", "total"]
    assert frame.index.tolist() == ["b", "a"]
    assert frame.index.name == "queue"
    assert frame["total"].tolist() == [3, 4]
    assert set(frame.dtypes.astype(str)) == {"int64"}


def test_counts_of_nothing_are_an_empty_table():
    assert counts_frame(FlowCounts(by_stage={})).columns.tolist() == ["total"]


def test_a_timeline_has_a_row_a_phase():
    frame = timeline_frame(
        [ran("a", 500, 2000), scenes.record("b", "active", processed_on=T + 100)], now=T + 1100
    )
    assert frame["phase"].tolist() == ["waiting", "running", "waiting", "running"]
    assert frame["seconds"].tolist() == [0.5, 1.5, 0.1, 1.0]
    assert str(frame["start"].dtype) == str(frame["end"].dtype) == "datetime64[ms, UTC]"
    assert frame.loc[0, "start"] == pd.Timestamp(T, unit="ms", tz="UTC")
    assert frame["end"].isna().tolist() == [False, False, False, True]
    assert str(frame["seconds"].dtype) == "Float64"


def test_a_job_put_back_counts_as_waiting():
    frame = timeline_frame([scenes.record("a", "waiting-children", processed_on=T + 100)])
    assert frame["phase"].tolist() == ["waiting"]


def many(count: int, queues: int = 3) -> list[JobRecord]:
    dice = random.Random(7)
    rows = []
    for number in range(count):
        start = dice.randrange(1_000_000)
        state = "failed" if dice.random() < 0.02 else "completed"
        rows.append(ran(f"row-{number}", start, start + dice.randrange(5000), state, f"q{number % queues}"))
    return rows


def lanes(picture: str) -> int:
    ET.fromstring(picture)
    return picture.count('class="fn-lane"')


def test_few_jobs_get_a_lane_each():
    picture = timeline_svg(many(40), now=T)
    assert lanes(picture) == 40
    assert "row-39" in picture


def test_thirty_thousand_jobs_make_a_small_picture():
    picture = timeline_svg(many(30_000), now=T)
    assert len(picture.encode()) < 60_000
    assert lanes(picture) == 3
    assert "10,000 jobs" in picture


def test_many_queues_share_the_last_lane():
    picture = timeline_svg(many(30_000, queues=100), now=T)
    assert lanes(picture) == 40
    assert "61 other queues" in picture
    assert len(picture.encode()) < 250_000


def test_a_folded_lane_says_how_many_ran_at_once():
    rows = [ran(f"r{n}", 1000 * (n // 3), 1000 * (n // 3) + 1000) for n in range(90)]
    assert "up to 3 at once" in timeline_svg(rows, now=T)


def test_how_many_ended_in_a_second_stands_above_the_lanes():
    rows = [
        ran(f"r{n}", 1000 * (n // 3), 1000 * (n // 3) + 1000, "failed" if n == 4 else "completed")
        for n in range(600)
    ]
    picture = timeline_svg(rows, now=T)
    ends, first_lane = picture.index('class="fn-ends"'), picture.index('class="fn-lane"')
    assert ends < first_lane
    (most,) = re.findall(r"up to ([\d.]+) a second", picture[ends:first_lane])
    assert 3 <= float(most) <= 6  # two seconds may fall into one step


@pytest.mark.parametrize("width", [360, 900, 2300])
def test_a_timeline_is_as_wide_as_its_page_and_its_words_have_eleven_pixels(width):
    picture = ET.fromstring(timeline_svg(many(500), now=T, width=width))
    assert picture.get("width") == str(float(width)).removesuffix(".0")
    sizes = {float(text.get("font-size")) for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert sizes == {11}


def test_what_a_lane_shows_adds_up():
    dice = random.Random(3)
    its = [Phase("running", start := dice.randrange(9000), start + dice.randrange(999)) for _ in range(500)]
    found = levels(its, Span(0, 10_000))
    worked = sum(phase.end - phase.start for phase in its if phase.end is not None)
    assert sum(found) * 10_000 / STEPS == pytest.approx(worked)
    assert min(found) > -1e-9


@pytest.mark.parametrize("records", [[], [scenes.record("a", "waiting")], [ran("a", 0, 0)]])
def test_a_timeline_of_next_to_nothing_is_a_picture(records):
    picture = timeline_svg(records, now=T)
    assert lanes(picture) == len(records)
    assert not re.search(r"nan|inf\b", picture)


@pytest.mark.parametrize("count", [3, 60])
def test_no_line_of_the_axis_runs_through_words(count):
    picture = ET.fromstring(timeline_svg(many(count), now=T))
    svg = "{http://www.w3.org/2000/svg}"
    lines = [
        path.get("d") for path in picture.findall(f".//{svg}path[@class='fn-line']") if "V" in path.get("d")
    ]
    assert len(lines) > 3
    drawn = [tuple(map(float, part.split()[1].split("V"))) for line in lines for part in line.split("M")[1:]]
    for lane in [*picture.iter(f"{svg}g")]:
        if lane.get("class") in ("fn-lane", "fn-ends"):
            for words in lane.iter(f"{svg}text"):
                baseline = float(words.get("y"))
                assert all(bottom <= baseline - 8 or top >= baseline + 3 for top, bottom in drawn)


def test_the_same_jobs_give_the_same_picture():
    assert timeline_svg(many(500), now=T) == timeline_svg(many(500), now=T)


def test_durations_read_well():
    said = [duration(ms) for ms in (0, 250, 1000, 12_340, 250_000, 3_600_000, 7_500_000, 90_000_000)]
    assert said == ["0 s", "250 ms", "1 s", "12.3 s", "4 min 10 s", "1 h", "2 h 5 min", "1 d 1 h"]


def test_the_critical_path_is_marked_and_has_lanes_of_its_own():
    def ended(key, at, parent=None, **more):
        return scenes.record(
            key, key=key, processed_on=scenes.START, finished_on=scenes.START + at, parent_key=parent, **more
        )

    root, slow, fast = ended("root", 90), ended("slow", 80, "root"), ended("fast", 20, "root")
    picture = timeline_svg([root, slow, fast], now=scenes.START + 100)
    assert [name for name in ("root", "slow", "fast") if f">{name} ◆<" in picture] == ["root", "slow"]
    many = [ended(f"row-{n}", n % 70, "root") for n in range(100)]
    assert ">slow ◆<" in timeline_svg([root, slow, *many], now=scenes.START + 100)


def test_a_job_that_waits_for_another_attempt_is_retrying():
    again = scenes.record("a", "delayed", processed_on=scenes.START + 5, attempts_made=1)
    assert timeline_frame([again])["phase"].tolist() == ["retrying"]
    assert "retrying<" in timeline_svg([again], now=scenes.START + 100)


def twice_failed(state="completed", **more):
    runs = f"{T + 10}-{T + 20} {T + 40}-{T + 45}"
    return scenes.record("a", state, runs=runs, attempts_made=2, **more)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (twice_failed(processed_on=T + 80, finished_on=T + 90), [("retrying", 45, 80), ("running", 80, 90)]),
        (twice_failed("failed", processed_on=T + 80, finished_on=T + 90), [("retrying", 45, 80), ("running", 80, 90)]),
        (twice_failed("active", processed_on=T + 80), [("retrying", 45, 80), ("running", 80, None)]),
        (twice_failed("delayed", processed_on=T + 40), [("retrying", 45, None)]),
        (twice_failed("waiting"), [("retrying", 45, None)]),
        (twice_failed("failed", processed_on=T + 40, finished_on=T + 60), [("retrying", 45, 60)]),  # cancelled
    ],
)  # fmt: skip
def test_each_run_and_each_wait_between_two_is_told(record, told):
    before = [("waiting", 0, 10), ("running", 10, 20), ("retrying", 20, 40), ("running", 40, 45)]
    found = [(p.kind, p.start - T, None if p.end is None else p.end - T) for p in phases(record)]
    assert found == before + told


def test_a_lane_shows_failed_runs_and_the_waits_between_them():
    picture = timeline_svg([twice_failed(processed_on=T + 80, finished_on=T + 90)], now=T + 90)
    drawn = re.findall(r'class="fn-part fn-(\w+)"', picture.partition("fn-legend")[0])
    assert drawn[:6] == ["waiting", "failed", "delayed", "failed", "delayed", "completed"]


def test_a_folded_lane_says_how_many_jobs_were_retried():
    rows = [ran(f"r{n}", 0, 1000) for n in range(50)] + [
        twice_failed(processed_on=T + 80, finished_on=T + 90)
    ]
    assert "1 retried" in timeline_svg(rows, now=T + 1000)


@pytest.mark.parametrize(
    ("record", "wait_s", "run_s"),
    [
        pytest.param(twice_failed(processed_on=T + 80, finished_on=T + 90), 0.065, 0.025, id="completed"),
        pytest.param(twice_failed("active", processed_on=T + 80), 0.065, None, id="runs again"),
        pytest.param(twice_failed("delayed", processed_on=T + 40), 0.03, None, id="waits again"),
        pytest.param(
            twice_failed("failed", processed_on=T + 40, finished_on=T + 60), 0.03, 0.015, id="cancelled"
        ),
    ],
)
def test_a_job_that_ran_several_times_took_all_its_runs(record, wait_s, run_s):
    frame = jobs_frame([record])
    assert frame["wait_s"].tolist() == [wait_s]
    assert frame["run_s"].isna().all() if run_s is None else frame["run_s"].tolist() == [run_s]


def test_a_lane_says_how_long_all_runs_of_its_job_took():
    assert "25 ms in 3 runs" in timeline_svg(
        [twice_failed(processed_on=T + 80, finished_on=T + 90)], now=T + 90
    )
    foreign = scenes.record("a", attempts_made=3, processed_on=T + 80, finished_on=T + 90)
    assert "10 ms · attempt 3" in timeline_svg([foreign], now=T + 90)


@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize("wide", [320, 560, 1100])
def test_nothing_that_a_timeline_says_is_clipped(count, wide):
    runs = " ".join(f"{T + 9000 * n}-{T + 9000 * n + 5000}" for n in range(12))
    more = {"processed_on": T + 10**6, "finished_on": T + 2 * 10**6, "runs": runs, "attempts_made": 13}
    name = "W" * 40
    rows = [scenes.record(f"{name} {n}", "failed", "a queue " + name, **more) for n in range(count)]
    picture = ET.fromstring(timeline_svg(rows, now=T + 10**7, width=wide))
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        width = text_width(text.text, float(text.get("font-size")))
        share = {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
        left = float(text.get("x")) - share * width
        assert left >= 0
        assert left + width <= float(picture.get("width"))
    assert name in "".join(picture.itertext())  # whole, when it is pointed at
