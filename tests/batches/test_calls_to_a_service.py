"""Shows that rows which call a service get its answers, whatever it does, and ask for no more than that takes."""

from __future__ import annotations

import email.utils
from collections import Counter

import pytest

import flownb as fn
from tests.support.service import Service
from tests.support.service_calls import ServiceError, ask, ask_async

pytestmark = pytest.mark.usefixtures("connection")


def test_the_service_limits_calls_and_tokens_and_counts_what_it_heard():
    with Service(calls=(3, 60.0), tokens=(100, 60.0)) as service:
        assert ask(service.url, "a", tokens=60, text="abc") == {
            "key": "a",
            "text": "cba",
            "tokens": 60,
            "usd": 0.006,
        }
        with pytest.raises(fn.RateLimitError) as too_many_tokens:
            ask(service.url, "a", tokens=41)
        assert 1 <= int(too_many_tokens.value.retry_after) <= 60
        ask(service.url, "b", tokens=40)
        ask(service.url, "c")
        service.change(retry_after="date")
        with pytest.raises(fn.RateLimitError) as too_many_calls:
            ask(service.url, "c")
        assert email.utils.parsedate_to_datetime(too_many_calls.value.retry_after)
        service.change(calls=None, retry_after="absent")
        ask(service.url, "c")
        assert service.asked() == Counter(a=2, b=1, c=3)
        assert service.answered() == Counter(a=1, b=1, c=2)
        assert [(call.status, call.how) for call in service.heard()][1] == (429, "limited")


def test_the_service_fails_in_every_way_that_it_was_told():
    answers = ["500", "429 7", "429 absent", "429 date", "cut", "closed", "garbage", "slow 0.01", "ok"]
    with Service() as service:
        service.script({"r": answers})
        raised = []
        for _ in answers:
            try:
                ask(service.url, "r")
                raised.append(None)
            except ServiceError as error:
                raised.append(error.status)
            except fn.RateLimitError as error:
                raised.append(error.retry_after)
        assert raised[:3] == [500, "7", None]
        assert email.utils.parsedate_to_datetime(raised[3])
        assert raised[4:] == [200, 200, 200, None, None]
        assert service.asked() == Counter(r=len(answers))
        service.change(quota=1)
        with pytest.raises(fn.RateLimitError):
            ask(service.url, "another")


def test_rows_get_their_answers_through_all_of_that_and_ask_no_more_than_it_takes():
    bad = {
        "r3": ["500"],
        "r7": ["cut", "429 0"],
        "r11": ["429 date", "garbage"],
        "r13": ["closed"],
        "r17": ["slow 0.2"],
    }
    with Service() as service:
        service.script(bad)

        @fn.task(attempts=3, retry_on=ServiceError)
        def call(key):
            return ask(service.url, key, text=key)["text"]

        keys = [f"r{n}" for n in range(40)]
        batch = fn.fan_out(keys, call)
        assert batch.results(timeout=60)["call"].tolist() == [key[::-1] for key in keys]
        extra = Counter({key: len(words) - ("slow" in words[0]) for key, words in bad.items()})
        assert service.asked() == Counter(keys) + extra
        attempts = batch.table()["_attempts"]
        assert attempts.tolist() == [2 if key in ("r3", "r7", "r11", "r13") else 1 for key in keys]


def test_coroutines_ask_it_side_by_side():
    import aiohttp

    with Service(seconds=0.2) as service:

        @fn.task
        async def call(key):
            async with aiohttp.ClientSession() as session:
                return (await ask_async(session, service.url, key))["key"]

        assert fn.fan_out(range(8), call).results(timeout=60)["call"].tolist() == list("01234567")
        assert service.most_at_once() > 1
