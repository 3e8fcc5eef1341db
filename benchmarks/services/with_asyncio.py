"""Rows that call a service, with asyncio, a semaphore and tenacity."""

import asyncio
import os

import aiohttp
from tenacity import retry, stop_after_delay

from tests.support.service_calls import ask_async


def seconds_to_wait(state):
    return float(getattr(state.outcome.exception(), "retry_after", None) or 0)


async def answers_of(keys):
    semaphore = asyncio.Semaphore(32)
    async with aiohttp.ClientSession() as session:

        @retry(wait=seconds_to_wait, stop=stop_after_delay(60))
        async def ask(key):
            async with semaphore:
                return (await ask_async(session, os.environ["SERVICE"], key, text=key))["text"]

        return await asyncio.gather(*map(ask, keys))


def answers(keys):
    return asyncio.run(answers_of(keys))
