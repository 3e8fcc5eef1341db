"""What a server leaves to be found: its link file, its log, its socket, its runtime folder.

The supervisor writes and those who join read, so both import this file. The supervisor runs without the
package and without site-packages: pure standard library, and nothing of flownb.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
from typing import BinaryIO

LOCK_FILE = "lock"
LINK_FILE = "server.json"  # names the sockets of the running server; 0600, because of the passwords
# The user that may all; nobody but the supervisor and who ends an orphan needs it:
ADMIN = "flownb-supervisor"
LOG_FILE = "server.log"
DATA_LINK = "data"  # beside the socket: a link to the folder, by which who knows the socket alone finds it
LONGEST_SOCKET_PATH = 100  # bytes; Linux ends at 107, macOS at 103


class CannotStart(Exception):
    """The server cannot be started or kept alive; the text is one line for the user."""


def birth_of(pid: int) -> str:
    """When the process began, as text to compare ('' if it ended): its pid may be somebody else's by now."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]  # a zombie is only waiting for its parent to notice
    except (OSError, IndexError):
        if os.path.isdir("/proc/self"):
            return ""
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def identity_of(folder: str) -> dict[str, object]:
    """What tells this folder on this machine from a copy of it: a copied link file must not be believed."""
    return {"host": socket.gethostname(), "inode": os.stat(os.path.join(folder, LOCK_FILE)).st_ino}


def read_link(folder: str) -> dict[str, object] | None:
    """The link file, unless there is none or it was written elsewhere (a copied folder, another machine)."""
    try:
        with open(os.path.join(folder, LINK_FILE), encoding="utf-8") as file:
            link = json.load(file)
        return link if link["identity"] == identity_of(folder) and link["admin_password"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def last_words(folder: str, since: int = 0) -> str:
    """The last line that the server (or a supervisor's traceback) left in the log after byte `since`."""
    try:
        with open(os.path.join(folder, LOG_FILE), "rb") as file:
            file.seek(since)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return _likely_reason(lines)


def _likely_reason(lines: list[str]) -> str:
    """Pick from a log's lines the last one that is no server's, else the last warning, else the last one.

    >>> _likely_reason(["4711:M 23 Nov 2026 15:00:00.000 # Fatal error", "4711:M 23 Nov 2026 15:00:00.001 * Bye"])
    'Fatal error'
    """
    found = {None: "", "#": "", "any": ""}  # the mark of a line -> its last text; '#' marks a warning
    for line in lines:
        if match := re.match(r"(?:\d+:\w \d+ \w+ \d+ [\d:.]+ (\S) )?(.*\S)", line):
            found[match[1]] = found["any"] = match[2]
    return found[None] or found["#"] or found["any"]


def why_unreadable(folder: str, words: str, program: str) -> str:
    """Keep a copy of data that the server could not read; return which file it is and what repairs it ('' if none is).

    Nothing is repaired unasked: a repair cuts off all that was written after the damage.
    """
    named = re.search(r"the append only file (\S+?):", words)
    if "Bad file format" not in words or not named:
        return ""
    path = next((p for p in _data_files(folder) if os.path.basename(p) == named[1]), "")
    if not path:
        return ""
    copy = f"{path}.damaged"
    with contextlib.suppress(OSError):
        shutil.copyfile(path, copy)
        os.chmod(copy, 0o600)
    check = f'bash -c \'exec -a redis-check-aof "$0" --fix "$1"\' {shlex.quote(program)} {shlex.quote(path)}'
    return (
        f"{path} is damaged in its middle; it was not changed, and {copy} is a copy of it. To keep what was written "
        f"before the damage and lose what came after it, run: {check}"
    )


def _data_files(folder: str) -> list[str]:
    inner = os.path.join(folder, "appendonlydir")
    names = os.listdir(inner) if os.path.isdir(inner) else []
    return [*(os.path.join(inner, name) for name in names), os.path.join(folder, "appendonly.aof")]


def login(admin_password: str) -> str:
    """The command that makes a connection the supervisor's."""
    return f"AUTH {ADMIN} {admin_password}"


def ask(socket_path: str, *commands: str, timeout: float = 1.0) -> list[str]:
    """Send inline commands to the server and return one reply each, as text; OSError if nobody answers."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        line.connect(socket_path)
        line.sendall("".join(f"{command}\r\n" for command in commands).encode())
        with line.makefile("rb") as replies:
            return [_next_reply(replies) for _ in commands]


def facts(info: str) -> dict[str, str]:
    r"""Return what INFO has told, name -> value.

    >>> facts("# Memory\r\nused_memory:1\r\n")
    {'used_memory': '1'}
    """
    pairs = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


def _next_reply(replies: BinaryIO) -> str:
    head = replies.readline()
    if not head:
        raise ConnectionError("the server closed the connection")
    if head.startswith(b"$"):
        return replies.read(int(head[1:]) + 2).decode("utf-8", "replace")
    return head.decode("utf-8", "replace").strip()


def holds_data(folder: str) -> bool:
    """Whether a server started here will load an append-only file (a folder of them since Redis 7)."""
    paths = (os.path.join(folder, name) for name in ("appendonlydir", "appendonly.aof"))
    return any(os.path.exists(path) for path in paths)


def is_private_folder(path: str) -> bool:
    """Whether a runtime folder named by an old link file is still the one we made: no symlink, ours, 0700."""
    try:
        state = os.lstat(path)
    except (OSError, ValueError):
        return False
    private = stat.S_ISDIR(state.st_mode) and not state.st_mode & 0o077
    return private and state.st_uid == os.getuid() and os.path.basename(path).startswith("flownb-")


def point_to_data(runtime: str, folder: str) -> None:
    """Let a link beside the socket name the folder of the data, which may have been moved since the last start."""
    link = os.path.join(runtime, DATA_LINK)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(folder, link)


def make_private_folder() -> str:
    """A new 0700 folder under XDG_RUNTIME_DIR or /tmp whose sockets' paths are short enough for a socket."""
    for base in filter(None, (os.environ.get("XDG_RUNTIME_DIR"), "/tmp")):
        path = os.path.join(base, f"flownb-{os.urandom(6).hex()}")
        if not os.path.isabs(path) or len(os.fsencode(f"{path}/server")) > LONGEST_SOCKET_PATH:
            continue
        with contextlib.suppress(OSError):
            os.mkdir(path, 0o700)
            return path
    raise CannotStart("no folder for the server's socket: make /tmp writable or set XDG_RUNTIME_DIR")
