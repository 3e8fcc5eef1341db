"""Runs the tutorials as tests, each in a copy of this folder: its `.flownb/` is new, and nobody's data is touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbval.plugin
import pytest

NPM_PACKAGES = Path(__file__).parents[1] / "tests" / "interop" / "node" / "node_modules"


class FreshKernel(nbval.plugin.RunningKernel):
    """A notebook's kernel in a folder of its own, gone when the kernel is."""

    def __init__(self, kernel_name: str, cwd: str, **options: Any) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="flownb-nb-", ignore_cleanup_errors=True)
        left_behind = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
        shutil.copytree(cwd, self.folder.name, dirs_exist_ok=True, ignore=left_behind)
        super().__init__(kernel_name, cwd=self.folder.name, **options)

    def stop(self) -> None:
        """End the kernel, wait until its embedded server has stopped too, remove the folder."""
        super().stop()
        lock = Path(self.folder.name, ".flownb", "lock")
        if lock.exists():
            with lock.open() as held:
                fcntl.flock(held, fcntl.LOCK_EX)  # the server's supervisor holds it to the end
        self.folder.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    nbval.plugin.RunningKernel = FreshKernel
    config.option.nbval_current_env = True
    config.option.nbval_cell_timeout = 100
    config.option.nbval_sanitize_with = str(Path(__file__).with_name("nbval_sanitize.cfg"))
    # The developer's own server is not for tests.
    for name in ("FLOWNB_URL", "FLOWNB_PASSWORD"):
        os.environ.pop(name, None)
    os.environ["FLOWNB_STATIC"] = "1"  # a live view's updates cannot be compared
    os.environ["NODE_PATH"] = str(NPM_PACKAGES)  # in place of a reader's `npm install bullmq`
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # Node.js may be there
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> nbval.plugin.IPyNbFile | None:
    """Collect each notebook of this folder: a test a cell."""
    if file_path.suffix == ".ipynb":
        return nbval.plugin.IPyNbFile.from_parent(parent, path=file_path)
    return None
