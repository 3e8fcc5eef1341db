"""Rows that call a service, with flownb."""

import os

import aiohttp

import flownb as fn
from tests.support.service_calls import ServiceError, ask_async


async def session():
    return aiohttp.ClientSession()


@fn.task(concurrency=32, limiter="200/s", attempts=5, retry_on=ServiceError, setup={"session": session})
async def ask(session, key):
    return (await ask_async(session, os.environ["SERVICE"], key, text=key))["text"]


def answers(keys):
    return fn.fan_out(keys, ask, name="answers").results()["ask"].tolist()
