"""A Python of the worker's own: it starts whatever lies in the current folder or on PYTHONPATH."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

# The first argument is PYTHONPATH.
_CODE = "import sys; sys.path += sys.argv[2:]; from {0} import main; main()"


def start_python(
    module: str, *, isolated: bool, stderr: int | IO[Any] | None = None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Run ``main()`` of a module of flownb in another process, with pipes to its stdin and from its stdout.

    The standard library comes first there, so no file of a user's hides a part of it. `isolated` leaves out what the
    environment says of Python; where it is not set, `main` calls `take_over_path` before it runs a user's code. The
    session is the process's own: an interrupt of the kernel's process group does not reach it, and a kill of its group
    reaches what it has started. It inherits `pass_fds`. Raises OSError.
    """
    environment = dict(os.environ)
    before = environment.pop("PYTHONPATH", "")
    flags = ["-I" if isolated else "-P", "-S"]
    return subprocess.Popen(
        [sys.executable, *flags, "-c", _CODE.format(module), before, *_folders(isolated)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        env=environment,
        pass_fds=pass_fds,
    )


def take_over_path() -> None:
    """In the other process, once the modules of its own are loaded: import further ones as the starter does."""
    _, before, *folders = sys.argv
    sys.argv[1:] = []
    if before:
        os.environ["PYTHONPATH"] = before
    sys.path[:] = dict.fromkeys([*folders, *sys.path])
    site.main()


def _folders(isolated: bool) -> Iterable[str]:
    """Return where the process looks: first where flownb itself and its client were loaded from."""
    import redis

    own = [str(Path(__file__).parents[2])]
    if not isolated:
        return [*own, *(folder or os.getcwd() for folder in sys.path)]
    own.append(str(Path(redis.__file__).parents[1]))
    return dict.fromkeys([*own, *filter(os.path.isabs, sys.path)])
