"""Shows when ticks come and what their flows are called: over changes of the clock, after a standstill, for any interval."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flownb.api.timing import Timing, tick_name

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Santiago",
]
LINES = ["0 6 * * *", "*/20 * * * *", "30 2 * * *", "0 */3 * * mon-fri", "15 0 1 * *", "*/30 * * * * *"]
moments = st.integers(1_500_000_000_000, 1_900_000_000_000)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def ticks(line: str, zone: str, start: str, count: int) -> list[str]:
    timing, at, found = Timing.read(line, zone), ms(start), []
    for _ in range(count):
        at = timing.next(at, at)
        found.append(f"{datetime.fromtimestamp(at / 1000, UTC):%m-%d %H:%M}")
    return found


def test_a_morning_stays_a_morning_when_the_clocks_change():
    spring = ticks("0 6 * * *", "Europe/Berlin", "2026-03-27T12:00+00:00", 3)
    autumn = ticks("0 6 * * *", "Europe/Berlin", "2026-10-23T12:00+00:00", 3)

    assert spring == ["03-28 05:00", "03-29 04:00", "03-30 04:00"]
    assert autumn == ["10-24 04:00", "10-25 05:00", "10-26 05:00"]


def test_a_time_that_is_left_out_in_spring_comes_an_hour_later_and_one_that_comes_twice_once():
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+00:00", 2) == ["03-29 01:30", "03-30 00:30"]
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+00:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_an_hour_that_comes_twice_has_two_ticks_of_two_names():
    at = ticks("30 * * * *", "Europe/Berlin", "2026-10-24T23:59+00:00", 3)
    assert at == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]

    names = [tick_name("n", ms(f"2026-{one}+00:00".replace(" ", "T")), "Europe/Berlin") for one in at]

    assert names == ["n 2026-10-25 02:30 CEST", "n 2026-10-25 02:30 CET", "n 2026-10-25 03:30"]


@given(every=st.integers(1000, 400 * DAY), at=moments, pause=st.integers(0, 1000 * DAY))
def test_an_interval_keeps_its_step_and_misses_what_is_past(every, at, pause):
    timing, now = Timing(every_ms=every), at + pause

    following = timing.next(at, now)

    assert (following - at) % every == 0
    assert now < following <= max(now, at) + every


@settings(max_examples=40)
@given(line=st.sampled_from(LINES), zone=st.sampled_from(ZONES), at=moments, pause=st.integers(0, 40 * DAY))
def test_a_cron_line_has_one_tick_after_a_pause_and_it_is_the_first_that_is_to_come(line, zone, at, pause):
    timing, now = Timing.read(line, zone), at + pause

    following = timing.next(at, now)

    assert following > now
    assert timing.next(at, following - 1) == following
    assert timing.first(now) == following


@settings(max_examples=25)
@given(zone=st.sampled_from(ZONES), line=st.sampled_from(LINES), at=moments)
def test_no_two_ticks_of_a_schedule_have_one_name(zone, line, at):
    timing, due = Timing.read(line, zone), [at]
    for _ in range(8):
        due.append(timing.next(due[-1], due[-1]))

    assert all(before < after for before, after in pairwise(due))
    assert len({tick_name("n", one, zone) for one in due[1:]}) == 8


@given(every=st.integers(1000, 100 * DAY))
def test_an_interval_is_shown_as_it_can_be_typed(every):
    words = Timing(every_ms=every).words

    assert Timing.read(words, None).every_ms == every


@pytest.mark.parametrize(
    ("ms", "words"), [(DAY, "1d"), (36 * HOUR, "36h"), (90 * MINUTE, "90m"), (90_000, "90s"), (1500, "1.5s")]
)
def test_an_interval_is_shown_in_its_largest_unit(ms, words):
    assert Timing(every_ms=ms).words == words


def test_a_name_has_the_day_and_the_time_in_the_zone_of_the_schedule():
    due = ms("2026-11-29T23:30:00+00:00")

    assert tick_name("nightly", due, "UTC") == "nightly 2026-11-29 23:30"
    assert tick_name("nightly", due + 5_250, "Asia/Tokyo") == "nightly 2026-11-30 08:30:05"
    assert datetime.fromtimestamp(due / 1000, ZoneInfo("Asia/Tokyo")).day == 30
