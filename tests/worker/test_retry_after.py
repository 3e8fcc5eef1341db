"""Shows that a service's own word for when to come again is understood, and that nonsense costs one attempt, not the job."""

from __future__ import annotations

import datetime as dt
import email.utils

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from flownb.errors import OptionError
from flownb.worker.retry_after import hold_seconds

NOW = dt.datetime(2024, 2, 29, 12, 0, tzinfo=dt.UTC)
UNDERSTOOD = {
    "1": 1.0,
    " 1.5 ": 1.5,
    b"2": 2.0,
    "0": 0.0,
    "30s": 30.0,
    "20ms": 0.02,
    "6m0s": 360.0,
    "1h2m3.5s": 3723.5,
    "Thu, 29 Feb 2024 12:00:07 GMT": 7.0,
    "Thursday, 29-Feb-24 12:00:07 GMT": 7.0,
    "Thu Feb 29 12:00:07 2024": 7.0,
    "Thu, 29 Feb 2024 13:00:07 +0100": 7.0,
    "2024-02-29T12:00:07Z": 7.0,
    "Thu, 29 Feb 2024 11:00:00 GMT": 0.0,
    dt.timedelta(minutes=2): 120.0,
    NOW + dt.timedelta(seconds=5): 5.0,
    np.int64(3): 3.0,
    np.float32(0.5): 0.5,
}
NONSENSE = ["-1", "nan", "inf", "soon", "1 2", -1, float("nan"), float("inf"), 10**400, True, [1], "9" * 30]


@pytest.mark.parametrize("asked", UNDERSTOOD, ids=repr)
def test_a_header_says_for_how_long(asked):
    assert hold_seconds(asked, NOW) == pytest.approx(UNDERSTOOD[asked])


@pytest.mark.parametrize("asked", [None, "", "  ", b""], ids=repr)
def test_a_header_may_say_nothing(asked):
    assert hold_seconds(asked, NOW) is None


@pytest.mark.parametrize("asked", NONSENSE, ids=lambda asked: repr(asked)[:9])
def test_what_says_no_time_is_refused(asked):
    with pytest.raises(OptionError, match="RateLimitError"):
        hold_seconds(asked, NOW)


@pytest.mark.parametrize("rows_per_job", [1, 10])
def test_rows_go_on_after_whatever_a_service_said(connection, rows_per_job):
    headers = ["0.01", "", email.utils.formatdate(0, usegmt=True), "-1", "nan", "inf", "soon"]
    asked = dict.fromkeys(headers, 0)

    @fn.task(attempts=3)
    def call(header):
        asked[header] += 1
        if asked[header] == 1:
            raise fn.RateLimitError(header)
        return asked[header]

    batch = fn.fan_out(pd.DataFrame({"header": headers}), call, rows_per_job=rows_per_job)
    table = batch.wait(timeout=60).table()
    assert table["call"].tolist() == [2] * len(headers)
    assert table["_attempts"].tolist()[3:] == [2] * 4  # a failed attempt, as any other
    if rows_per_job == 1:
        assert table["_attempts"].tolist()[:3] == [1] * 3


def test_nonsense_alone_fails_the_row_with_what_was_wrong(connection):
    @fn.task(attempts=2)
    def call(header):
        raise fn.RateLimitError(header)

    failures = fn.fan_out(["-1"], call).wait(timeout=60).failures
    assert failures[["error", "attempts"]].values.tolist() == [["RateLimitError", 2]]
    assert "'-1' is no duration" in failures["message"][0]
    assert "raise fn.RateLimitError(header)" in failures["traceback"][0]
