"""Run the tutorials and store their outputs: `python scripts/run_notebooks.py [NOTEBOOK ...]`.

Each runs in a copy of their folder with a server of its own, as the tests run it, so that what is stored is what
a reader's first run shows. Timings and other metadata of the run are left out.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NPM_PACKAGES = ROOT / "tests" / "interop" / "node" / "node_modules"


def run(path: Path) -> None:
    """Run one notebook and write it back with its outputs."""
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="flownb-notebook-", ignore_cleanup_errors=True) as folder:
        left_behind = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
        shutil.copytree(FOLDER, folder, dirs_exist_ok=True, ignore=left_behind)
        NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
        ).execute()
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags"}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    print(f"ran {path.name}")


if __name__ == "__main__":
    os.environ.pop("FLOWNB_URL", None)
    os.environ["FLOWNB_STATIC"] = "1"  # pictures alone: a widget dies with its kernel
    os.environ["NODE_PATH"] = str(NPM_PACKAGES)
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # Node.js may be there
    )
    for chosen in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        run(chosen)
