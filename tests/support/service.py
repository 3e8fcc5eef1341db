"""A service to call, as models and web services are: it limits, refuses, fails, is slow, and counts who asked for what.

    with Service(calls=(50, 1.0), tokens=(6000, 1.0), seconds=0.05) as service:
        service.script({"r17": ["500", "429 date", "cut", "garbage", "slow 2"]})   # then it answers
        ...                                                                # tests.support.service_calls asks it
        assert service.asked() == Counter({"r1": 1, "r17": 6, ...})

It runs in a process of its own, so that no test holds its interpreter and no killed worker takes it along.
"""

from __future__ import annotations

import asyncio
import collections
import email.utils
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from aiohttp import web

ROOT = str(Path(__file__).parents[2])
USD_A_TOKEN = 0.0001
#: how a 429 says when to come again: a whole number of seconds, an HTTP date, or not at all
RETRY_AFTER = ("seconds", "date", "absent")


class Heard(NamedTuple):
    """A call that reached the service, and how it was answered."""

    key: str
    at: float  #: seconds since 1970, by the clock that the tests have too
    tokens: int
    status: int  #: what the caller got; of one that was cut off or got garbage 200
    how: str  #: `ok`, `limited`, `quota`, or the word of its script


class Service:
    """The process, and what a test tells and asks it.

    `calls` and `tokens` are how many it answers in a window of so many seconds, which begins with the first call after
    the last one's end. `seconds` is how long an answer takes. `retry_after` is how its 429 say when to come again.
    `quota`: after so many answers it says 429 for good.
    """

    def __init__(
        self,
        *,
        calls: tuple[int, float] | None = None,
        tokens: tuple[int, float] | None = None,
        seconds: float = 0.0,
        retry_after: str = "seconds",
        quota: int | None = None,
    ) -> None:
        rules = {"calls": calls, "tokens": tokens, "seconds": seconds}
        self._rules = {**rules, "retry_after": retry_after, "quota": quota}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start the process; return when it listens, at `url`."""
        command = [sys.executable, "-m", "tests.support.service"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the service ended with {self._process.wait()} before it listened"
        self.url = f"http://127.0.0.1:{int(line)}"
        self.change(**self._rules)
        return self

    def close(self) -> None:
        """End the process."""
        self._process.communicate()  # it ends with its stdin

    def change(self, **rules: Any) -> None:
        """Let other rules hold from now on; those that are not named stay."""
        assert not rules.keys() - self._rules.keys(), rules
        self._ask("rules", rules)

    def script(self, answers: Mapping[str, str | Sequence[str]]) -> None:
        """Say how the next calls of a key are answered, whatever the limits are; then it is answered as any other.

        Words: `ok`, `500` or any other status, `429 seconds`, `429 date`, `429 absent`, `429 <text of the header>`,
        `slow <seconds>`, `cut` (off in the middle of the answer), `closed` (before any answer), `garbage`.
        """
        listed = {key: [some] if isinstance(some, str) else list(some) for key, some in answers.items()}
        self._ask("script", listed)

    def heard(self) -> list[Heard]:
        """Return every call that has reached it, the first first."""
        return [Heard(*one) for one in self._ask("heard")["calls"]]

    def asked(self) -> Counter[str]:
        """Return how often each key was asked for, whatever the answer was."""
        return Counter(call.key for call in self.heard())

    def answered(self) -> Counter[str]:
        """Return how often each key was answered."""
        return Counter(call.key for call in self.heard() if call.how == "ok")

    def most_at_once(self) -> int:
        """Return how many calls it has had open at a time, at most."""
        return int(self._ask("heard")["most"])

    def open_now(self) -> int:
        """Return how many calls wait for their answer."""
        return int(self._ask("heard")["open"])

    def _ask(self, what: str, body: Any = None) -> Any:
        data = json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}/{what}", data, timeout=60) as answer:
            return json.loads(answer.read())


class _Window:
    """So many a window, which begins with the first call after the last one's end."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.used, self.ends = 0, 0.0

    def left(self, now: float) -> float:
        """Return the seconds until the window ends; 0 where none is open."""
        return max(self.ends - now, 0.0)

    def has_room(self, amount: int, now: float) -> bool:
        return not self.left(now) or self.used + amount <= self.most

    def take(self, amount: int, now: float) -> None:
        if not self.left(now):
            self.used, self.ends = 0, now + self.seconds
        self.used += amount


class _Answers:
    """What the process does with each call."""

    def __init__(self) -> None:
        self.rules: dict[str, Any] = {}
        self.windows: dict[str, _Window] = {}
        self.scripts: dict[str, collections.deque[str]] = {}
        self.heard: list[list[Any]] = []
        self.answered = self.open = self.most = 0

    async def hear_rules(self, request: web.Request) -> web.Response:
        rules = await request.json()
        self.rules |= rules
        for unit in ("calls", "tokens"):
            if unit in rules:
                self.windows.pop(unit, None)
                if rules[unit]:
                    self.windows[unit] = _Window(*rules[unit])
        return _json({})

    async def hear_script(self, request: web.Request) -> web.Response:
        for key, words in (await request.json()).items():
            self.scripts.setdefault(key, collections.deque()).extend(words)
        return _json({})

    async def tell(self, request: web.Request) -> web.Response:
        return _json({"calls": self.heard, "most": self.most, "open": self.open})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            return await self._answer(request, asked)
        finally:
            self.open -= 1

    async def _answer(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        key, tokens, at = str(asked["key"]), int(asked.get("tokens", 0)), time.time()
        words = self.scripts.get(key)
        how = words.popleft() if words else self._by_limits(tokens)
        status = {"limited": 429, "quota": 429}.get(how) or int(how[:3] if how[:3].isdecimal() else 200)
        call = [key, at, tokens, status, how.partition(" ")[0]]
        self.heard.append(call)
        if how == "closed":
            return _closed(request)
        if status == 429:
            form = how.partition(" ")[2] if how.startswith("429 ") else self.rules["retry_after"]
            return _json({"error": how}, 429, self._retry_after(form, tokens))
        await asyncio.sleep(
            float(how.partition(" ")[2] or 1) if how.startswith("slow") else self.rules["seconds"]
        )
        if status != 200:
            return _json({"error": f"status {status}"}, status)
        if how in ("cut", "garbage"):
            return await (_cut if how == "cut" else _garbage)(request)
        call[4] = "ok"
        self.answered += 1
        text = str(asked.get("text", ""))[::-1]
        return _json({"key": key, "text": text, "tokens": tokens, "usd": tokens * USD_A_TOKEN})

    def _by_limits(self, tokens: int) -> str:
        quota, now = self.rules["quota"], time.monotonic()
        if quota is not None and self.answered >= quota:
            return "quota"
        amounts = {"calls": 1, "tokens": tokens}
        if not all(window.has_room(amounts[unit], now) for unit, window in self.windows.items()):
            return "limited"
        for unit, window in self.windows.items():
            window.take(amounts[unit], now)
        return "ok"

    def _retry_after(self, form: str, tokens: int) -> dict[str, str]:
        if form == "absent":
            return {}
        now = time.monotonic()
        amounts = {"calls": 1, "tokens": tokens}
        waits = [one.left(now) for unit, one in self.windows.items() if not one.has_room(amounts[unit], now)]
        seconds = max([*waits, 0.0]).__ceil__() or 1  # both forms of the header know whole seconds only
        if form == "date":
            return {"Retry-After": email.utils.formatdate(time.time().__ceil__() + seconds, usegmt=True)}
        return {"Retry-After": str(seconds) if form == "seconds" else form}


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    from aiohttp import web

    return web.json_response(value, status=status, headers=headers)


def _closed(request: web.Request) -> web.StreamResponse:
    from aiohttp import web

    assert request.transport
    request.transport.abort()
    return web.Response()


async def _cut(request: web.Request) -> web.StreamResponse:
    from aiohttp import web

    answer = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await answer.prepare(request)
    await answer.write(b'{"text": "the first half of')
    assert request.transport
    request.transport.close()  # what was written is sent before
    return answer


async def _garbage(_: web.Request) -> web.StreamResponse:
    from aiohttp import web

    return web.Response(body=b"\xff\xfe<html>502 Bad Gate", content_type="application/json")


async def _serve() -> None:
    from aiohttp import web

    answers = _Answers()
    app = web.Application()
    app.router.add_post("/answer", answers.answer)
    app.router.add_post("/rules", answers.hear_rules)
    app.router.add_post("/script", answers.hear_script)
    app.router.add_post("/heard", answers.tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the test is over
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
