"""Shows that no kill of kernel, supervisor, guard or server loses data, leaves an orphan or doubles a server."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from flownb.connection import Connection, embedded
from flownb.errors import ServerUnreachable
from tests.support.skips import NOT_ON_THIS_SYSTEM


def running_servers(watch, folder):
    """The pids of all servers that ever logged in this folder and still live."""
    lines = (folder / "server.log").read_text().splitlines()
    started = {int(line.split(":")[0]) for line in lines if "just started" in line}
    return [pid for pid in started if watch.alive(pid)]


def test_a_killed_server_is_started_again_with_its_data(folder, watch):
    with Connection(path=folder) as connection:
        client = connection.client()
        client.set("a", 1)
        for _ in range(3):
            server = watch.link(folder)["server_pid"]
            os.kill(server, signal.SIGKILL)
            assert client.incr("b")  # the client has waited for the new one
            assert client.get("a") == b"1"
            assert watch.link(folder)["server_pid"] != server


def test_a_server_that_is_killed_once_a_second_comes_back_each_time(folder, watch):
    with Connection(path=folder) as connection:
        client, supervisor = connection.client(), watch.link(folder)["supervisor_pid"]
        for kills in range(1, 8):
            time.sleep(0.7)  # the fault itself
            os.kill(watch.link(folder)["server_pid"], signal.SIGKILL)
            assert client.incr("kills") == kills
        assert watch.link(folder)["supervisor_pid"] == supervisor


def test_after_a_server_was_given_up_old_clients_go_on_with_the_next(folder, watch):
    with Connection(path=folder) as connection:
        client, address = connection.client(), connection.address()
        client.set("a", 1)
        supervisor = watch.link(folder)["supervisor_pid"]
        deadline = time.monotonic() + 20
        while watch.alive(supervisor):
            assert time.monotonic() < deadline
            try:
                link = watch.link(folder)
                if link["supervisor_pid"] == supervisor:
                    os.kill(link["server_pid"], signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                time.sleep(0.01)
        assert client.get("a") == b"1"
        assert connection.address() == address
    watch.gone(folder)


def test_a_server_that_keeps_dying_is_given_up_with_a_reason(folder, watch, monkeypatch):
    monkeypatch.setattr(embedded.Hold, "_watch", lambda self, held: None)  # nobody calls for a new supervisor
    with Connection(path=folder):
        supervisor = watch.link(folder)["supervisor_pid"]
        deadline = time.monotonic() + 20
        while watch.alive(supervisor):
            assert time.monotonic() < deadline
            try:
                os.kill(watch.link(folder)["server_pid"], signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                time.sleep(0.01)
    with Connection(path=folder) as connection:  # another session may try again
        assert connection.client().ping()


def test_after_a_kill_of_everything_the_data_is_there(folder, start_user, watch):
    user = start_user()
    user.stdout.readline()
    with Connection(path=folder) as connection:
        connection.client().set("a", 1)
        connection._hold._socket, held = None, connection._hold._socket  # as if this process were killed too
        user.kill()
        watch.kill_everything(folder)
        held.close()
    assert (folder / "server.json").exists()
    with Connection(path=folder) as connection:
        assert connection.client().get("a") == b"1"
    assert len(running_servers(watch, folder)) <= 1


def test_a_killed_supervisor_is_replaced_and_old_clients_go_on(folder, watch):
    with Connection(path=folder) as connection:
        client, address = connection.client(), connection.address()
        client.set("a", 1)
        supervisor = watch.link(folder)["supervisor_pid"]
        os.kill(supervisor, signal.SIGKILL)
        watch.until(
            lambda: (folder / "server.json").exists() and watch.link(folder)["supervisor_pid"] != supervisor
        )
        assert client.get("a") == b"1"
        assert connection.address() == address
        assert len(running_servers(watch, folder)) == 1
    watch.gone(folder)
    assert not running_servers(watch, folder)


def test_the_guard_stops_the_server_when_user_and_supervisor_are_killed(folder, start_user, watch):
    user = start_user()
    server = int(user.stdout.readline())
    os.kill(user.pid, signal.SIGKILL)
    os.kill(watch.link(folder)["supervisor_pid"], signal.SIGKILL)
    watch.until(lambda: not watch.alive(server))


@pytest.mark.parametrize("frozen", [False, True])
def test_an_orphan_is_stopped_before_another_server_starts(folder, start_user, watch, frozen):
    user = start_user()
    orphan = int(user.stdout.readline())
    supervisor = watch.link(folder)["supervisor_pid"]
    (guard,) = [pid for pid in watch.children(supervisor) if pid != orphan]
    os.kill(user.pid, signal.SIGKILL)
    os.kill(guard, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    if frozen:
        os.kill(orphan, signal.SIGSTOP)
    assert watch.alive(orphan)
    with Connection(path=folder) as connection:
        assert connection.client().info("server")["process_id"] != orphan
        assert not watch.alive(orphan)
        assert len(running_servers(watch, folder)) == 1


@pytest.mark.parametrize("turn", range(3))
def test_ten_starters_at_once_get_one_server(folder, start_user, watch, turn):
    users = [start_user() for _ in range(10)]
    servers = {int(user.stdout.readline()) for user in users}
    assert len(servers) == 1
    assert running_servers(watch, folder) == list(servers)


def test_threads_that_start_at_once_get_one_server(folder, watch):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        connections = list(pool.map(lambda _: Connection(path=folder), range(8)))
    assert len({connection.client().info("server")["process_id"] for connection in connections}) == 1
    for connection in connections:
        connection.close()


def test_writes_after_a_torn_end_survive_the_next_crash(folder, watch):
    def log():
        return (folder / "server.log").read_text()

    def crash_with(key, check=lambda: True):
        connection = Connection(path=folder)
        assert check()
        connection.client().eval(f"for i = 1, 20 do redis.call('SET', '{key}' .. i, i) end", 0)
        held, connection._hold._socket = connection._hold._socket, None
        watch.kill_everything(folder)
        held.close()
        connection.close()

    crash_with("first")
    written = max((folder / "appendonlydir").glob("*.incr.aof"), key=os.path.getmtime)
    os.truncate(written, written.stat().st_size - 70)  # inside a command inside MULTI ... EXEC
    # Newer servers mend this by themselves, so look also whether the file was written anew before any use.
    crash_with("second", check=lambda: "Background AOF rewrite finished successfully" in log())
    assert "aof-load-truncated is enabled" in log()
    with Connection(path=folder) as connection:
        assert len(list(connection.client().scan_iter("second*"))) == 20


def test_damaged_data_is_refused_with_the_servers_words(folder, watch):
    with Connection(path=folder) as connection:
        for i in range(50):
            connection.client().set(f"key{i}", "x" * 100)
    watch.gone(folder)
    written = max((folder / "appendonlydir").glob("*.incr.aof"), key=os.path.getsize)
    data = bytearray(written.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = b"?" * 200
    written.write_bytes(data)
    with pytest.raises(ServerUnreachable, match=r"did not start: .*aof") as caught:
        Connection(path=folder)
    assert "\n" not in str(caught.value)
    assert written.read_bytes() == data


def test_a_program_that_is_no_server_is_told_in_one_line(folder, tmp_path, monkeypatch):
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho 'this is not a server'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "find_server", lambda: str(program))
    with pytest.raises(ServerUnreachable, match=r"did not start: this is not a server$"):
        Connection(path=folder)


def test_a_supervisor_that_does_not_answer_is_told_in_time(folder, start_user, watch):
    user = start_user()
    user.stdout.readline()
    supervisor = watch.link(folder)["supervisor_pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(ServerUnreachable, match="does not answer"):
            Connection(path=folder)
        assert time.monotonic() - began < 10
    finally:
        os.kill(supervisor, signal.SIGCONT)


@pytest.mark.skipif(sys.platform == "win32", reason=f"{NOT_ON_THIS_SYSTEM}flock")
def test_a_locked_folder_without_a_server_is_told_in_time(folder, monkeypatch):
    import fcntl

    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", 1.0)
    folder.mkdir()
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ServerUnreachable, match="in use, but no server answers"):
            Connection(path=folder)


def test_everybody_waits_while_a_lot_of_data_is_loaded(folder, watch, monkeypatch):
    with Connection(path=folder) as connection:
        connection.client().eval("for i = 1, 300 do redis.call('SET', i, i) end", 0)
    watch.gone(folder)
    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", 1.8)
    slow = slow_server(folder)
    monkeypatch.setattr(embedded, "find_server", lambda: slow)
    began = time.monotonic()
    with Connection(path=folder) as connection:
        assert connection.client().get("300") == b"300"
    assert time.monotonic() - began > 1.8


def slow_server(folder):
    """The real server, told to sleep 10 ms at each key it loads: 3 s in all, longer than the patience."""
    program = folder.parent / "slow-server"
    real = embedded.find_server()
    program.write_text(
        f'#!/bin/sh\nexec "{real}" "$@" --key-load-delay 10000 --loading-process-events-interval-bytes 1024\n'
    )
    program.chmod(0o755)
    return str(program)
