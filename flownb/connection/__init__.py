"""Reaching the server: a URL, a redis client, or the embedded server flownb starts itself."""

from flownb.connection.connect import Connection, connect, current

__all__ = ["Connection", "connect", "current"]
