"""Shows that the first example of rows that call a service runs as it stands: wide, limited, weighed, braked, resumed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


class Client:
    """A client as services have them: it answers a moment later, and says what that cost."""

    async def create(self, text):
        await asyncio.sleep(0.001)
        return SimpleNamespace(text=text.upper(), cost=0.01, tokens=len(text))


def test_the_example_of_rows_that_call_a_service(redis):
    client, df = Client(), pd.DataFrame({"text": [f"text {n}" for n in range(100)]})

    @fn.task(
        queue="provider",
        concurrency=100,
        limiter=("500/min", "60000 tokens/min"),
        weight={"tokens": lambda text: len(text) // 4},
        attempts=5,
        retry_on=lambda error: getattr(error, "status", 500) >= 429,
    )
    async def ask(text):
        answer = await client.create(text)
        fn.spend(usd=answer.cost, tokens=answer.tokens)
        return answer.text

    batch = fn.fan_out(df, ask, name="nov", pilot=20, budget={"usd": 5}, max_failures="5%")
    batch.wait(timeout=60)
    assert batch.progress().completed == 20
    assert batch.estimate().loc["usd", "likely"] == pytest.approx(1.0)
    batch.resume(budget={"usd": 10})
    assert batch.result(timeout=60)["ask"].tolist() == df["text"].str.upper().tolist()
    assert batch.progress().spent["usd"] == pytest.approx(1.0)
    assert redis.hget("bull:provider:meta", "concurrency") == b"100"
