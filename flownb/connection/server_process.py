"""The server process of one folder, as its supervisor sees it: start and settings, readiness, end; and the guard.

Pure standard library, like supervisor.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flownb.connection import server_files
else:  # run isolated from the package: what it shares with the package lies beside it
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import server_files

STOP_PATIENCE = 5.0  # seconds a server gets to end by itself before it is killed
SHORT_LIFE = 0.5  # seconds: a server that dies sooner after its start has had a short life
SHORT_LIVES = 5  # in a row, after which a server counts as one that cannot live
LOG_LIMIT = 1_000_000  # bytes of log kept from one start to the next
SMALL_FILE = 4_000_000  # bytes of an append-only file that is left as it is
# Bytes of an append-only file for one of memory, above which it is mostly of what was removed:
MOST_FOR_A_BYTE = 2

OPTIONS = (
    *("--port", "0", "--unixsocketperm", "700"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    *("--maxmemory-policy", "noeviction"),
    # A job is a hash of some 15 fields, one of them its data. Within these limits the server keeps it as one
    # compact block, in a fraction of the memory. Old and new servers understand the old spelling "ziplist".
    *("--hash-max-ziplist-value", "512", "--hash-max-ziplist-entries", "128"),
)

# What whoever holds the address may do: read and write data, run scripts, and ask what BullMQ's clients and dashboards
# ask for. Nothing that changes the server, reads its settings, looks over others' shoulders or takes all data at once.
RIGHTS = "~* resetchannels -@all +@read +@write +@connection +@transaction +@scripting -@admin -@dangerous +time +info"
# Rules that not every server understands, each by itself: subcommands came with Redis 7, FUNCTION as well.
FURTHER_RIGHTS = ("+client|list", "-function", "-fcall", "-fcall_ro", "-script|flush", "-script|kill")


class ServerProcess:
    """One server process after the other on the same data, socket and passwords."""

    def __init__(self, folder: str, program: str, lock_fd: int) -> None:
        self.folder, self.program, self.lock_fd = folder, program, lock_fd
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = self.was_ready = False
        self.started = float("-inf")  # monotonic time of the last start
        self.short_lives = 0  # in a row
        self.password, self.admin_password = os.urandom(16).hex(), os.urandom(16).hex()
        self.log = os.path.join(folder, server_files.LOG_FILE)
        self.guard_pipe = start_guard()

    def settle(self) -> None:
        """Choose the sockets' folder and take the old link file away.

        The folder a dead supervisor left is used again, with its socket names and its passwords: whoever was
        connected to its server then simply reconnects.
        """
        left = server_files.read_link(self.folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, server_files.LINK_FILE))
        if left and server_files.is_private_folder(str(left.get("runtime", ""))):
            self.runtime, self.password = str(left["runtime"]), str(left["password"])
            self.admin_password = str(left["admin_password"])
        else:
            self.runtime = server_files.make_private_folder()
        server_files.point_to_data(self.runtime, self.folder)
        self.socket = os.path.join(self.runtime, "server")
        self.users_socket = os.path.join(self.runtime, "users")
        for path in (self.socket, self.users_socket):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def start(self) -> None:
        """Start it, once or again; CannotStart if that was tried too often."""
        now = time.monotonic()
        self.short_lives = self.short_lives + 1 if now - self.started < SHORT_LIFE else 0
        self.started = now
        if self.short_lives >= SHORT_LIVES:
            raise server_files.CannotStart(f"the server keeps dying: {self.why_it_died()}")
        self.ready = False
        self.loads_data = server_files.holds_data(self.folder)
        with open(self.log, "ab") as log:
            if log.tell() > LOG_LIMIT:
                log.truncate(0)
            self.log_start = os.path.getsize(self.log)
            self.process = self._spawn(log.fileno())
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard
            os.write(self.guard_pipe, b"%d\n" % self.process.pid)
        self._write_link(self.process.pid)

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        # "-": more configuration comes on stdin, for a command line can be read by everybody
        command = [self.program, "-", *OPTIONS, "--unixsocket", self.socket, "--dir", self.folder]
        try:
            process = subprocess.Popen(
                [*command, "--logfile", self.log],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[self.lock_fd],
            )
        except OSError as error:
            raise server_files.CannotStart(f"cannot run {self.program}: {error.strerror}") from None
        assert process.stdin
        with contextlib.suppress(BrokenPipeError), process.stdin as configuration:
            users = [f"user default on >{self.password} {RIGHTS}"]
            users += [f"user {server_files.ADMIN} on >{self.admin_password} ~* +@all"]
            configuration.write("\n".join([*users, ""]).encode())
        return process

    def _write_link(self, pid: int) -> None:
        link = {
            "identity": server_files.identity_of(self.folder),
            "runtime": self.runtime,
            "users_socket": self.users_socket,
            **self.address(),
            "admin_password": self.admin_password,
            "supervisor_pid": os.getpid(),
            "server_pid": pid,
            "server_birth": server_files.birth_of(pid),
        }
        path = os.path.join(self.folder, server_files.LINK_FILE)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(link, file)
        os.replace(f"{path}.new", path)

    def address(self) -> dict[str, object]:
        return {"unix_socket_path": self.socket, "password": self.password}

    def died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def why_it_died(self) -> str:
        words = server_files.last_words(self.folder, self.log_start) or "it left no word in its log"
        return server_files.why_unreadable(self.folder, words, self.program) or words

    def look_whether_ready(self) -> bool:
        """Whether it answers for the first time since its start; while it reads its data it does not."""
        with contextlib.suppress(OSError):
            if self.ask("PING") == "+PONG":
                for rule in FURTHER_RIGHTS:
                    self.ask(f"ACL SETUSER default {rule}")
                self._rewrite_what_was_loaded()
                self.ready = self.was_ready = True
        return self.ready

    def ask(self, command: str) -> str:
        return server_files.ask(self.socket, server_files.login(self.admin_password), command)[-1]

    def shrink_file(self) -> None:
        """Have the append-only file written anew where it holds mostly what was removed since.

        By itself the server does that only when the file has grown to twice its size.
        """
        with contextlib.suppress(OSError, KeyError):
            told = server_files.facts(self.ask("INFO everything"))
            size = int(told["aof_current_size"])
            if size > SMALL_FILE and size > MOST_FOR_A_BYTE * int(told["used_memory_dataset"]):
                self.ask("BGREWRITEAOF")

    def _wait_for_rewrite(self) -> None:
        give_up = time.monotonic() + STOP_PATIENCE
        while time.monotonic() < give_up:
            state = self.ask("INFO persistence")
            if "rewrite_in_progress:0" in state and "rewrite_scheduled:0" in state:
                return
            time.sleep(0.01)

    def _rewrite_what_was_loaded(self) -> None:
        """Have the append-only file written anew if one was loaded.

        Where a crash has torn its end, servers go on writing behind the torn place, and the next start cuts
        all of that off. Then nobody may write before the rewrite is done; otherwise it runs beside the work.
        """
        if not self.loads_data:
            return
        self.ask("BGREWRITEAOF")
        if self._log_was_torn():
            self._wait_for_rewrite()

    def _log_was_torn(self) -> bool:
        with open(self.log, "rb") as log:
            log.seek(self.log_start)
            return b"aof-load-truncated is enabled" in log.read()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self._wait_for_rewrite()  # a server that ends gives one up
            self.process.terminate()
            try:
                self.process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(OSError):
            os.write(self.guard_pipe, b"0\n")
        os.close(self.guard_pipe)


# -- the guard: a forked child that outlives a killed supervisor by one deed --------------------------------


def start_guard() -> int:
    """Fork the guard; the end of the pipe on which it is told the server's pid, 0 for none."""
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(read_end)
        return write_end
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    # Everything but the pipe is the supervisor's: its lock, its users.
    os.closerange(3, read_end)
    os.closerange(read_end + 1, 1024)
    _stand_guard(read_end)
    os._exit(0)


def _stand_guard(pipe: int) -> None:
    told = b"0\n"
    while chunk := os.read(pipe, 4096):  # ends with the supervisor
        told = (told + chunk)[-64:]
    server = int(told.split()[-1])
    birth = server_files.birth_of(server) if server else ""
    if not birth:
        return
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, deadly)
        patience = time.monotonic() + STOP_PATIENCE
        while server_files.birth_of(server) == birth and time.monotonic() < patience:
            time.sleep(0.02)
        if server_files.birth_of(server) != birth:
            return
