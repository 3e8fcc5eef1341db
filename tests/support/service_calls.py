"""How a task calls the service of tests.support.service: what it returns, and what it raises, also in a worker process."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import flownb as fn

if TYPE_CHECKING:
    import aiohttp

SECONDS = 60.0  #: for which an answer is waited for


class ServiceError(Exception):
    """The service refused, failed, or its answer cannot be used; `status` is 200 of the last."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(status, text)
        self.status = status


def ask(url: str, key: Any, tokens: int = 0, text: str = "") -> dict[str, Any]:
    """Call the service and wait: ``{"key", "text" (turned round), "tokens", "usd"}``.

    Raises `flownb.RateLimitError` for a 429, with the text of its Retry-After, and `ServiceError` for the others.
    """
    request = urllib.request.Request(f"{url}/answer", _body(key, tokens, text))
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return _read(answer.status, answer.headers.get("Retry-After"), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return _read(error.code, error.headers.get("Retry-After"), error.read())
    except (http.client.HTTPException, OSError) as error:
        raise ServiceError(200, f"cut off: {error!r}") from None


async def ask_async(
    session: aiohttp.ClientSession, url: str, key: Any, tokens: int = 0, text: str = ""
) -> dict[str, Any]:
    """Do as `ask`, on the caller's event loop."""
    import aiohttp

    try:
        async with session.post(f"{url}/answer", data=_body(key, tokens, text)) as answer:
            return _read(answer.status, answer.headers.get("Retry-After"), await answer.read())
    except aiohttp.ClientError as error:
        raise ServiceError(200, f"cut off: {error!r}") from None


def _body(key: Any, tokens: int, text: str) -> bytes:
    return json.dumps({"key": str(key), "tokens": tokens, "text": text}).encode()


def _read(status: int, retry_after: str | None, body: bytes) -> dict[str, Any]:
    if status == 429:
        raise fn.RateLimitError(retry_after)
    if status != 200:
        raise ServiceError(status, body.decode("latin-1"))
    try:
        found: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise ServiceError(200, f"garbage: {error}") from None
    return found
