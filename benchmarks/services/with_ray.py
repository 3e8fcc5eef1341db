"""Rows that call a service, with an asynchronous actor of ray and tenacity."""

import os

import aiohttp
import ray
from tenacity import retry, stop_after_delay

from tests.support.service_calls import ask_async


def seconds_to_wait(state):
    return float(getattr(state.outcome.exception(), "retry_after", None) or 0)


@ray.remote(max_concurrency=32)
class Caller:
    async def open(self):
        self.session = aiohttp.ClientSession()

    @retry(wait=seconds_to_wait, stop=stop_after_delay(60))
    async def ask(self, key):
        return (await ask_async(self.session, os.environ["SERVICE"], key, text=key))["text"]


def answers(keys):
    caller = Caller.remote()
    ray.get(caller.open.remote())
    return ray.get([caller.ask.remote(key) for key in keys])
