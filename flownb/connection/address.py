"""Where a server is, as one JSON-able dict, and the clients made from it.

The dict holds ``url`` (without credentials) or ``unix_socket_path``, and beside it ``db``, ``username``,
``password`` and the ``ssl_*`` options in redis-py's words.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from flownb.errors import OptionError, ServerError, ServerRefused, ServerUnreachable

if TYPE_CHECKING:
    import redis

SCHEMES = ("redis", "rediss", "unix")
EXAMPLE = "a URL looks like redis://user@host:6379/0"
# What a URL's query or a given client may add; the rest (timeouts, decoding, retries) is flownb's business.
KEPT = (
    *("db", "username", "password", "client_name"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"),
    *("ssl_cert_reqs", "ssl_check_hostname"),
)

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 8.0  # a half-open connection is noticed in less than 10 s
RESENT_SECONDS = 4.0  # for an answer to a command that is sent again after it, on a new connection
CALL_SECONDS = 9.0  # for a call with all that it is sent again
LONGEST_BLOCK_SECONDS = 10.0  # that a blocking command takes
LATE_SECONDS = 5.0  # that the answer of a blocking command may be late
RESENDS = 7  # with the pauses between them some 2 to 4.5 s, in which an embedded server has been restarted
LONGEST_PAUSE_SECONDS = 1.0


def address_from_url(url: str, name: str = "the URL") -> dict[str, object]:
    """Parse a URL; `name` is what a message calls it, for the URL itself may contain a password.

    >>> address_from_url("redis://example.org:6380/2")
    {'url': 'redis://example.org:6380/2'}
    """
    parts = _split(url, name)
    from redis.connection import parse_url

    parse: Callable[[str], dict[str, Any]] = parse_url
    try:
        options = parse(url)
    except ValueError as error:  # only names an option of the query
        raise ServerUnreachable(f"{name} is wrong: {error}") from None
    address = {key: options[key] for key in KEPT if key in options}
    if parts.scheme == "unix":
        return {"unix_socket_path": options["path"], **address}
    address["url"] = _url(parts.scheme, parts.hostname or "", parts.port, address.pop("db", 0))
    if "password" not in address and (password := os.environ.get("FLOWNB_PASSWORD")):
        address["password"] = password
    return address


def _split(url: str, name: str) -> SplitResult:
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ServerUnreachable(f"{name} contains white space: {EXAMPLE}")
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no port
    except ValueError:
        raise ServerUnreachable(f"{name} has no valid host and port: {EXAMPLE}") from None
    if parts.scheme not in SCHEMES:
        raise ServerUnreachable(f"{name} does not begin with redis://, rediss:// or unix://: {EXAMPLE}")
    problem = _problem_with_socket(parts) if parts.scheme == "unix" else _problem_with_host(parts)
    if problem:
        raise ServerUnreachable(f"{name} {problem}")
    return parts


def _problem_with_socket(parts: SplitResult) -> str | None:
    if not parts.path.strip("/"):
        return "names no socket: it looks like unix:///path/to/socket?db=0"
    return None


def _problem_with_host(parts: SplitResult) -> str | None:
    if not parts.hostname:
        return f"names no host: {EXAMPLE}"
    if parts.port == 0:
        return f"has no valid host and port: {EXAMPLE}"
    if (db := parts.path.strip("/")) and not (db.isascii() and db.isdigit()):
        return f"must end in the number of a database: {EXAMPLE}"
    return None


def _url(scheme: str, host: str, port: int | None, db: object) -> str:
    """Put a URL together; an IPv6 address stands in brackets."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or 6379}/{db}"


def address_of_client(client: redis.Redis) -> dict[str, object]:
    """Return the address a redis client connects to; OptionError for what is no plain `redis.Redis`."""
    import redis

    options = _options_of_client(client)
    address = {key: options[key] for key in KEPT if options.get(key) is not None}
    if "ssl_cert_reqs" in address and not isinstance(address["ssl_cert_reqs"], str):
        address["ssl_cert_reqs"] = address["ssl_cert_reqs"].name.removeprefix("CERT_").lower()
    if "path" in options:
        return {"unix_socket_path": options["path"], **address}
    tls = issubclass(client.connection_pool.connection_class, redis.SSLConnection)
    scheme = "rediss" if tls else "redis"
    return {"url": _url(scheme, options["host"], options.get("port"), address.pop("db", 0)), **address}


def _options_of_client(client: redis.Redis) -> dict[str, Any]:
    """Return what a client's connections are made with, its present credentials among them."""
    import redis

    options: dict[str, Any] = {}
    if isinstance(client, redis.Redis):
        options = dict(client.connection_pool.connection_kwargs)
    if "path" not in options and "host" not in options:
        raise OptionError("pass a URL or a redis.Redis client (no Sentinel, no Cluster, no asyncio client)")
    if provider := options.get("credential_provider"):
        username, password = (*provider.get_credentials(), None)[:2]
        options.update({"username": username, "password": password} if password else {"password": username})
    return options


def make_client(
    address: dict[str, object], *, timeout: float = COMMAND_SECONDS, resends: int = 0
) -> redis.Redis:
    """Return a new client of bytes; it opens no connection before its first command."""
    import redis
    from redis.backoff import EqualJitterBackoff

    from flownb.connection.limited import PatientRetry, limit

    backoff = EqualJitterBackoff(cap=LONGEST_PAUSE_SECONDS, base=0.05)
    options: dict[str, Any] = {key: value for key, value in address.items() if key != "url"}
    options |= {
        "decode_responses": False,
        "protocol": 2,  # replies of one shape with every redis-py and server
        "socket_timeout": RESENT_SECONDS if resends else timeout,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": PatientRetry(backoff, resends, CALL_SECONDS if resends else timeout + 1),
    }
    url = address.get("url")
    if url is None:
        return limit(redis.Redis(**options))
    options["socket_keepalive"] = True
    if str(url).startswith("rediss:"):
        # old redis-py versions leave the host name unchecked
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs", "required") != "none")
    else:
        options = {key: value for key, value in options.items() if not key.startswith("ssl_")}
    return limit(redis.Redis.from_url(str(url), **options))


def shown(address: dict[str, object]) -> str:
    """Return the address as messages show it: without credentials."""
    return str(address.get("url") or f"the socket {address['unix_socket_path']}")


def knock(address: dict[str, object]) -> None:
    """Send one PING; whatever prevents the PONG is raised as one line that says what to do."""
    import redis

    client = make_client(address, timeout=CONNECT_SECONDS)
    try:
        client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        raise explain(error, address) from None
    finally:
        client.close()


def explain(error: Exception, address: dict[str, object]) -> ServerError:
    """Return flownb's error for one of redis-py: one line that says what to do, without the password."""
    import redis

    where = shown(address)
    said = " ".join(str(error).split())
    if password := address.get("password"):
        said = said.replace(str(password), "***")
    if isinstance(error, redis.AuthenticationError):
        return ServerRefused(_why_no_login(where, has_password=bool(password)))
    if isinstance(error, redis.ResponseError):
        return ServerRefused(_why_refused(error, where, said))
    if isinstance(error, redis.BusyLoadingError):
        return ServerUnreachable(f"{where} is still loading its data: try again in a moment")
    if isinstance(error, redis.TimeoutError):
        other = (
            "if it has no TLS, write redis://"
            if where.startswith("rediss")
            else "if it wants TLS, write rediss://"
        )
        hint = f"check host and port; {other}"
        return ServerUnreachable(f"{where} did not answer within {CONNECT_SECONDS:g} s: {hint}")
    return ServerUnreachable(_why_no_connection(error, where, said))


def _why_no_login(where: str, *, has_password: bool) -> str:
    if has_password:
        return f"{where} refused the user name or password: correct the URL or FLOWNB_PASSWORD"
    return f"{where} wants a password: set FLOWNB_PASSWORD, and the user name in the URL"


def _why_refused(error: Exception, where: str, said: str) -> str:
    import redis

    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"{where} does not allow flownb's commands ({said}): ask for them with ACL SETUSER"
    if "DB index" in said:
        return f"{where} has no database of that number: end the URL in /0"
    return f"{where} refused ({said}): check that it is a Redis or Valkey server"


def _why_no_connection(error: Exception, where: str, said: str) -> str:
    import redis

    if "CERTIFICATE" in said or "certificate" in said:
        hint = "name its authority with ?ssl_ca_certs=FILE in the URL"
        return f"{where} shows a certificate that cannot be verified: {hint}"
    if "SSL" in said:
        return f"{where} does not speak TLS as expected: if it has none, write redis://"
    if isinstance(error, redis.ConnectionError) and "closed" in said:
        return f"{where} closed the connection: if it wants TLS, write rediss://"
    return f"no server at {where}: start it, or correct the URL ({said})"
