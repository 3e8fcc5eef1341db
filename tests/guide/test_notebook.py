"""The guide's notebook says the same a second time, on a server that holds what the first time left there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05_the_guide.ipynb"


@pytest.mark.timeout(300)
def test_run_twice_on_one_server_it_shows_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWNB_STATIC", "1")
    stored = shown(nbformat.read(NOTEBOOK, as_version=4))
    assert len(stored) > 12

    for _ in range(2):
        notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
        place = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()

        assert shown(notebook) == stored


def shown(notebook: Any) -> list[str]:
    """Return what each cell shows, pictures as the text that stands for them."""
    cells = [
        "".join(
            output["text"] if "text" in output else output["data"]["text/plain"] for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return [cell for cell in cells if cell]
