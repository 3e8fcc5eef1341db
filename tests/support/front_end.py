"""A front end of the tests' own: it knows ipywidgets' documented messages (2.1.0) and anywidget's module, and no Jupyter.

VS Code and Colab have front ends of their own, which know the same two documents. What works here uses no more than
these: the page may load nothing, from nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ipywidgets
from comm.base_comm import BaseComm
from playwright.sync_api import Browser, Page

from flownb.widgets.view import FlowView

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src
'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data:"></head><body style="margin:0"></body></html>"""

# The documented front end of an anywidget: a model of `get`, `set`, `on`, `off`, `send`, and the module's `render`.
HOST = """
(() => {
  const models = new Map();
  const blocked = [];
  document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.blockedURI || event.violatedDirective));
  class Model {
    #listeners = new Map();
    constructor(id) { Object.assign(this, { id, state: {}, outbox: [], alive: true }); }
    get(name) { return this.state[name]; }
    set(name, value) { this.state[name] = value; }
    save_changes() {}
    on(event, call) { this.#listeners.set(event, [...(this.#listeners.get(event) || []), call]); }
    off(event, call) { this.#listeners.set(event, (this.#listeners.get(event) || []).filter((it) => it !== call)); }
    tell(event, ...said) { for (const call of this.#listeners.get(event) || []) call(...said); }
    send(content) {
      if (!this.alive) throw new Error("no comm");
      this.outbox.push({ method: "custom", content: JSON.parse(JSON.stringify(content)) });
    }
  }
  const model = (id) => models.get(id) || models.set(id, new Model(id)).get(id);
  window.host = {
    blocked,
    hear({ type, comm_id, data }) {
      const it = model(comm_id);
      if (type === "comm_close") { it.alive = false; return; }
      if (data.method === "custom") { it.tell("msg:custom", data.content, []); return; }
      for (const [name, value] of Object.entries(data.state)) it.state[name] = value;
      for (const name of Object.keys(data.state)) it.tell(`change:${name}`);
    },
    async show(id) {
      const it = model(id);
      const url = URL.createObjectURL(new Blob([it.get("_esm")], { type: "text/javascript" }));
      const style = Object.assign(document.createElement("style"), { textContent: it.get("_css") });
      const el = document.createElement("div");
      document.head.append(style);
      document.body.append(el);
      const module = await import(url);
      const end = await module.default.render({ model: it, el });
      el.end = () => { end?.(); el.remove(); };
    },
    sent() { return [...models.values()].flatMap((it) => it.outbox.splice(0).map((data) => [it.id, data])); },
  };
})();
"""


@dataclass
class Message:
    """One message of a kernel to its front ends."""

    type: str
    comm_id: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


class Wire:
    """What a kernel sends its front ends, in order; any thread may send."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.comms: dict[str, BaseComm] = {}

    def create_comm(self, **options: Any) -> BaseComm:
        """Open a comm that writes to this wire."""
        wire = self

        class Comm(BaseComm):
            def publish_msg(
                self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **more: Any
            ) -> None:
                assert not buffers
                text = json.dumps(data or {})  # no value that a message cannot hold
                message = Message(msg_type, self.comm_id, json.loads(text), metadata or {}, more)
                wire.messages.append(message)

        made = Comm(**options)
        self.comms[made.comm_id] = made
        return made

    def of(self, comm_id: str) -> list[Message]:
        """The messages of one widget."""
        return [message for message in self.messages if message.comm_id == comm_id]


@contextmanager
def wired(monkeypatch: Any) -> Iterator[Wire]:
    """Let widgets of this process talk over a wire of the test's."""
    wire = Wire()
    monkeypatch.setattr(ipywidgets.comm, "create_comm", wire.create_comm)
    yield wire


class FrontEnd:
    """One page with the widgets of a wire. It hears and says something only when a test lets it."""

    def __init__(self, browser: Browser, wire: Wire, *, width: int = 1180, **context: Any) -> None:
        self.wire = wire
        self.context = browser.new_context(viewport={"width": width, "height": 1400}, **context)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_content(PAGE)
        self.page.evaluate(HOST)
        self._heard = 0

    def skip(self) -> None:
        """Miss what was said so far: the page was opened late."""
        self._heard = len(self.wire.messages)

    def exchange(self) -> None:
        """Hear what the kernel has said, and let it hear what the page says, until both are silent."""
        while True:
            new = self.wire.messages[self._heard :]
            self._heard += len(new)
            for message in new:
                said = {"type": message.type, "comm_id": message.comm_id, "data": message.data}
                self.page.evaluate("(said) => host.hear(said)", said)
            sent = self.page.evaluate("() => host.sent()")
            for comm_id, data in sent:
                self.say(comm_id, data)
            if not new and not sent:
                return

    def say(self, comm_id: str, data: dict[str, Any]) -> None:
        """Send the kernel a message."""
        content = {"comm_id": comm_id, "data": data}
        self.wire.comms[comm_id].handle_msg({"content": content, "buffers": []})

    def show(self, model_id: str) -> None:
        """Show a widget below what is there."""
        self.exchange()
        self.page.evaluate("(id) => host.show(id)", model_id)
        self.exchange()

    def see(self, selector: str, text: str | None = None) -> None:
        """Wait until such an element is in sight, and says `text`; talk with the kernel meanwhile."""
        self.poll_until(None, selector, text)

    def poll_until(self, view: Any, selector: str, text: str | None = None) -> None:
        """The same, and let the view read its flow meanwhile."""
        found = self.page.locator(selector)
        found = found.filter(has_text=text) if text is not None else found
        for _ in range(1200):
            if view is not None:
                view.poll()
            self.exchange()
            if found.first.is_visible():
                return
            self.page.wait_for_timeout(50)
        found.first.wait_for(state="visible", timeout=1000)

    def close(self) -> None:
        """Close the page."""
        self.context.close()


@contextmanager
def pages_of(
    flow: Any, browser: Browser, monkeypatch: Any
) -> Iterator[tuple[FlowView, Callable[..., FrontEnd]]]:
    """Give the whole view of a flow, and what opens a page with it; all are closed in the end."""
    with wired(monkeypatch) as wire:
        view = FlowView(flow, whole=True)
        pages: list[FrontEnd] = []

        def open_page(**options: Any) -> FrontEnd:
            pages.append(FrontEnd(browser, wire, **options))
            pages[-1].show(view.model_id)
            return pages[-1]

        yield view, open_page
        for page in reversed(pages):
            page.close()
        view.close()
