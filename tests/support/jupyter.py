"""Drives a real Jupyter in a real Chromium: notebooks are opened, cells run, what is shown is read."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import nbformat
from playwright.sync_api import Browser, Page

import flownb as fn

PATIENCE = 60_000  #: ms; a loaded machine is slow, and nothing here measures by waiting


LAB, NOTEBOOK_7 = "doc/tree", "notebooks"  #: where one server shows a notebook in either front end


class Lab:
    """A Jupyter server on a free port, with JupyterLab, Notebook 7 and Voila, and the browser for it."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.folder, self.browser = folder, browser
        self.token = secrets.token_hex(16)

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        home = self.folder / "home"
        overrides = home / "s" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        overrides.parent.mkdir(parents=True)
        overrides.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "FLOWNB"))}
        environment |= {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
        environment |= {
            "JUPYTERLAB_SETTINGS_DIR": str(home / "s"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "w"),
        }
        options = [f"--ServerApp.port={port}", f"--IdentityProvider.token={self.token}", "--no-browser"]
        options += [f"--ServerApp.root_dir={self.folder}", "--ServerApp.ip=127.0.0.1", "--allow-root"]
        options += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
        log = (self.folder / "lab.log").open("wb")
        self.server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._stop)
        self._wait_for_server()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wait_for_server(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=2)
                return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "lab.log").read_text()
                time.sleep(0.1)

    def _stop(self) -> None:
        self.server.terminate()
        self.server.wait(30)


class Notebook:
    """One notebook in a page of its own. Its folder holds the embedded server that the test shares with it."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        cells: Sequence[str],
        *,
        front: str = LAB,
        dark: bool = False,
        width: int = 1180,
        height: int = 900,
    ) -> None:
        self.lab, self.front = lab, front
        self.folder = lab.folder / f"{name}-{secrets.token_hex(3)}"
        self.folder.mkdir()
        self.file = self.folder / "notebook.ipynb"
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(made, self.file)
        self.connection = fn.Connection(path=self.folder / ".flownb")
        self.connection.client().ping()
        self.context = lab.browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=1.5
        )
        self.context.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.frames: list[int] = []  # sizes of the messages from the kernel, in characters or bytes
        self.page = self.open_page()
        theme = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.app(f"app.commands.execute('apputils:change-theme', {{theme: {theme!r}}})")
        self.page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")

    def open_page(self) -> Page:
        """Open the notebook in a tab of its own, and wait for its kernel."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("websocket", lambda ws: ws.on("framereceived", lambda data: self.frames.append(len(data))))
        page.goto(self.address(self.front))
        self.wait_for_kernel(page)
        return page

    def address(self, front: str) -> str:
        """Return where a front end shows the notebook."""
        return f"{self.lab.url}/{front}/{self.file.relative_to(self.lab.folder)}?token={self.lab.token}"

    def wait_for_kernel(self, page: Page | None = None) -> None:
        """Wait until the kernel has nothing to do."""
        (page or self.page).wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=PATIENCE,
        )

    def app(self, script: str, page: Page | None = None) -> Any:
        """Run JavaScript that knows the front end as `app`."""
        return (page or self.page).evaluate(
            f"async () => {{ const app = window.jupyterapp; return await ({script}); }}"
        )

    def run(self, cell: int = 0, *, wait: bool = True) -> None:
        """Run a cell by its number, to its end or only begin to."""
        self.app(f"app.shell.currentWidget.content.activeCellIndex = {cell}")
        run = "app.commands.execute('notebook:run-cell')"
        self.app(f"{run}.then(() => null)" if wait else f"({run}, null)")

    def restart(self) -> None:
        """Restart the kernel without a question."""
        self.app("app.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.wait_for_kernel()

    def save(self) -> None:
        """Save the notebook."""
        self.app("app.shell.currentWidget.context.save()")

    def text(self, selector: str) -> str:
        """Return what the first such element says."""
        return self.page.locator(selector).first.inner_text()

    def see(self, selector: str, text: str | None = None, *, page: Page | None = None) -> None:
        """Wait until such an element is in sight, and says `text`."""
        found = (page or self.page).locator(selector)
        (found.filter(has_text=text) if text is not None else found).first.wait_for(state="visible")

    def close(self) -> None:
        """Close the page, its kernel and its server."""
        with contextlib.suppress(Exception):
            self.app("app.shell.currentWidget.sessionContext.shutdown()")
        self.context.close()
        self.connection.close()
