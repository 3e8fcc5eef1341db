"""A process that runs rows which call a service, for tests/faults/test_calls_and_kills.py; the test kills it."""

from __future__ import annotations

import os
import sys

import aiohttp

import flownb as fn
from tests.support.service_calls import ServiceError, ask, ask_async

CALLS_A_SECOND, TOKENS_A_SECOND = 150, 1100
WIDTH = 16  # calls that run at a time, of all workers and steps
#: what the three steps have in common: they call one provider, so they share its queue and its limits
PROVIDER = {
    "queue": "provider",
    "concurrency": WIDTH,
    "limiter": (f"{CALLS_A_SECOND}/s", f"{TOKENS_A_SECOND} tokens/s"),
    "attempts": 5,
    "retry_on": ServiceError,
}


async def session():
    return aiohttp.ClientSession()


def fetch_tokens(key):
    return 5 + int(key) % 10


def read_tokens(text):
    return len(text)


def judge_tokens(number):
    return 3 + number % 5


@fn.task(**PROVIDER, setup={"session": session}, weight={"tokens": fetch_tokens})
async def fetch(session, key):
    """Ask for a row's text, which comes turned round."""
    answer = await ask_async(session, _url(), f"fetch {key}", fetch_tokens(key), f"row {key}")
    return {"text": _paid(answer)}


@fn.task(**PROVIDER, weight={"tokens": read_tokens})
def read(key, text):
    """Have the text turned round once more, in a thread, and read the number in it."""
    what, number = _paid(ask(_url(), f"read {key}", read_tokens(text), text)).split()
    return {"what": what, "number": int(number)}


@fn.task(**PROVIDER, setup={"session": session}, weight={"tokens": judge_tokens})
async def judge(session, key, text, number):
    """Ask about what both steps before have found."""
    answer = await ask_async(session, _url(), f"judge {key}", judge_tokens(number), f"{number} in {text}")
    return _paid(answer)


def _url():
    return os.environ["SERVICE"]


def _paid(answer):
    fn.spend(usd=answer["usd"], tokens=answer["tokens"])
    return answer["text"]


def main() -> None:
    """Serve until stdin ends."""
    fn.connect(path=sys.argv[1])
    with fn.workers():
        print("serves", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    from tests.faults import service_worker  # under its own name, as the test imports it

    service_worker.main()
