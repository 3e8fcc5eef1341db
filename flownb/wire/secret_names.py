"""Names that look like those of secrets, and texts without them: what stands in a column is stored and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

MASK = "***"
FEWEST_CHARACTERS = 4  # of a secret that is looked for in other texts

_SECRET = re.compile(
    r"(?:^|_)(?:passwords?|passwd|passphrase|pwd|secrets?|token|credentials?|creds|api_?keys?|(?:private|access|secret)_?key|"
    r"authorization)(?:_|$)"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Say whether a column of this name holds secrets, by all that its name tells.

    >>> [name for name in ("api_key", "dbPassword", "GITHUB-TOKEN", "tokens", "keyword", "author") if is_secret(name)]
    ['api_key', 'dbPassword', 'GITHUB-TOKEN']
    """
    return _SECRET.search(_HUMP.sub("_", name).lower()) is not None


def masked_values(row: Any) -> Any:
    """Return a row, or any JSON value, without the texts whose names are those of secrets.

    >>> masked_values({"user": "ada", "password": "lovelace", "token": 3, "rows": [{"pwd": "x"}]})
    {'user': 'ada', 'password': '***', 'token': 3, 'rows': [{'pwd': '***'}]}
    """
    if isinstance(row, list):
        return [masked_values(value) for value in row]
    if not isinstance(row, Mapping):
        return row
    return {
        name: MASK if isinstance(value, str) and is_secret(str(name)) else masked_values(value)
        for name, value in row.items()
    }


def secrets_in(data: Any) -> list[str]:
    """Return the secrets of a job's data, the longest first; those of its rows, where it holds several.

    >>> secrets_in({"rows": [{"password": "lovelace"}, {"row": {"api_key": "k-123456"}}]})
    ['lovelace', 'k-123456']
    """
    found = dict.fromkeys(_secrets(data, depth=2))
    return sorted(found, key=len, reverse=True)


def _secrets(data: Any, depth: int) -> Iterable[str]:
    if not isinstance(data, Mapping):
        return
    for name, value in data.items():
        if isinstance(value, str):
            if len(value) >= FEWEST_CHARACTERS and is_secret(str(name)):
                yield value
        elif depth and name == "row":
            yield from _secrets(value, depth - 1)
        elif depth and name == "rows" and isinstance(value, list):
            for row in value:
                yield from _secrets(row, depth - 1)


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text, or the JSON of one, without these secrets.

    >>> without("logged in with lovelace", ["lovelace"])
    'logged in with ***'
    """
    for secret in secrets:
        text = text.replace(secret, MASK).replace(json.dumps(secret, ensure_ascii=False)[1:-1], MASK)
    return text
