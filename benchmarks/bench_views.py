"""Measure what an open live view of a large batch costs the kernel and the server, and how large messages are.

A program adds the rows and runs them; a second one is a Jupyter kernel that shows the batch, and this one is its page:
it says that it is there, asks for what the tabs show, and weighs what the kernel sends. The kernel's time is taken over
some seconds in which rows end, its pages of rows while nothing runs.

    python benchmarks/bench_views.py                    100,000 and 1,000,000 rows
    python benchmarks/bench_views.py --rows 100000      one size
    python benchmarks/bench_views.py --write            both, and into docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from jupyter_client.manager import KernelManager  # noqa: E402
from private_server import PrivateServer  # noqa: E402
from report import open_views, publish  # noqa: E402

SIZES = (100_000, 1_000_000)
SECONDS = 10.0  #: for which the kernel is watched
ALIVE_SECONDS = 5.0  #: between two signs of life of a page
PANEL_SECONDS = 1.0  #: a page asks for its open table that often at most while rows end
READING_SHARE = 20  #: and waits that many times what the answer took
PAGES = 20  #: of rows, of each kind
POLLS = 40

ROWS = """
import os, sys, time
import pandas as pd
import flownb as fn
fn.connect(os.environ["BENCH_URL"])
count = int(sys.argv[1])
@fn.task
def price(n, text):
    if n % 100 == 7:
        raise ValueError(f"no tax for order {n}")
    time.sleep(160 / count)  # four at a time: 40 s at least, so that rows end while the view is open
    return n * 2
rows = pd.DataFrame({"n": range(count), "text": "the quick brown fox"}, index=[f"r{n}" for n in range(count)])
batch = fn.fan_out(rows, price, name="prices", rows_per_job=500)
fn.workers()
print("added", flush=True)
sys.stdin.read()
"""
SHOW = """
import os
import flownb as fn
fn.connect(os.environ["BENCH_URL"])
prices = fn.attach("prices")
view = prices.watch()
view
"""
# One more view, which has read nothing yet: its first polls are the longest.
PAUSE = """
import flownb.widgets.view
flow = fn.attach("prices")
flow.pause()
fresh = flownb.widgets.view.FlowView(flow, whole=True)
"""
USED = "print(sum(os.times()[:2]))"
ENDED = "print(sum(getattr(prices.progress(), state) for state in ('completed', 'failed')))"


class Page:
    """A page of the kernel: what Jupyter's own does, without a picture."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.sizes: list[int] = []  # of the messages that the kernel sent, in bytes
        self.answers: dict[str, dict[str, Any]] = {}
        self.model = ""
        self._asked = 0

    def run(self, cell: str) -> str:
        """Run a cell to its end; return what it printed."""
        asked, printed = self.client.execute(cell), []
        while True:
            message = self.hear(60)
            if message is None:
                raise SystemExit(f"no answer to {cell!r}")
            if message["parent_header"].get("msg_id") != asked:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    printed.append(content["text"])
                case "error":
                    raise SystemExit(f"{content['ename']}: {content['evalue']}")
                case "status" if content["execution_state"] == "idle":
                    return "".join(printed)

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """The next message, if there is one in time."""
        try:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=seconds)
        except queue.Empty:
            return None
        if message["msg_type"] == "comm_open" and "frame" in message["content"]["data"]["state"]:
            self.model = message["content"]["comm_id"]
        elif message["msg_type"] == "comm_msg":
            self.sizes.append(len(json.dumps(message["content"], ensure_ascii=False).encode()))
            data = message["content"]["data"]
            if data["method"] == "custom" and data["content"].get("answer"):
                self.answers[data["content"]["answer"]] = data["content"]
        return message

    def say(self, **content: Any) -> None:
        """Send the view a message."""
        data = {"method": "custom", "content": content}
        self.client.shell_channel.send(
            self.client.session.msg("comm_msg", {"comm_id": self.model, "data": data})
        )

    def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Ask the view; return its answer."""
        self._asked += 1
        number = f"page-{self._asked}"
        self.say(ask=what, number=number, **more)
        while number not in self.answers:
            if self.hear(60) is None:
                raise SystemExit(f"no answer to {what!r}")
        answer = self.answers.pop(number)
        if "error" in answer and what != "job":
            raise SystemExit(answer["error"])
        return answer

    def stay(self, seconds: float) -> None:
        """Show the view for some time, its table open."""
        until, alive = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < until:
            if now - alive > ALIVE_SECONDS:
                self.say(ask="alive", on_screen=True)
                alive = now
            took = self.ask("rows")["took"] / 1000
            pause = time.monotonic() + max(PANEL_SECONDS, READING_SHARE * took)
            while (left := pause - time.monotonic()) > 0:
                self.hear(left)


def measure(rows: int) -> dict[str, float]:
    """The figures of a batch of so many rows."""
    with PrivateServer() as server:
        environment = {**os.environ, "BENCH_URL": server.url, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            [sys.executable, "-c", ROWS, str(rows)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker:
            assert worker.stdout is not None
            while (line := worker.stdout.readline()) and "added" not in line:
                pass
            manager = KernelManager()
            manager.start_kernel(env=environment)
            client = manager.client()
            client.start_channels()
            try:
                client.wait_for_ready(timeout=60)
                return _measured(Page(client), server, worker)
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)
                worker.kill()


def _measured(page: Page, server: PrivateServer, worker: subprocess.Popen[str]) -> dict[str, float]:
    page.run(SHOW)
    page.stay(3)  # what is read once has been read
    page.sizes.clear()
    ended, before, began = int(page.run(ENDED)), float(page.run(USED)), time.monotonic()
    page.stay(SECONDS)
    used = (float(page.run(USED)) - before) / (time.monotonic() - began)
    if int(page.run(ENDED)) < ended + SECONDS:
        raise SystemExit("no rows have ended while the view was open")
    found = {"kernel": used, "message": max(page.sizes)}
    page.run(PAUSE)
    # A worker sets the paused jobs aside when they are next in line: that is no time of a poll's.
    while server.client.keys("*:wait") or server.client.keys("*:active"):
        time.sleep(0.1)
    found |= _polls(page, server)
    for name, question in QUESTIONS.items():
        found[name], found[f"{name}_cpu"] = _took(page, question)
    return found


QUESTIONS: dict[str, dict[str, Any]] = {
    "rows": {},
    "searched": {"text": "99"},
    "failed": {"state": "failed"},
    "sorted": {"sort": "seconds", "descending": True},
}


def _polls(page: Page, server: PrivateServer) -> dict[str, float]:
    """The server's time for a poll, in the median and at most, while no rows run."""
    times = []
    for _ in range(POLLS):
        server.client.config_resetstat()
        page.run("fresh.poll(); None")
        stats: Any = server.client.info("commandstats")
        used = sum(
            of["usec"] for name, of in stats.items() if not name.endswith(("config|resetstat", "info"))
        )
        times.append(used / 1000)
    return {"poll": statistics.median(times), "poll_most": max(times)}


def _took(page: Page, question: dict[str, Any]) -> tuple[float, float]:
    """Milliseconds from the question to its answer, in the median, once all is known; and of the kernel's CPU."""
    for _ in range(400):
        answer = page.ask("rows", **question)
        if answer["searched"] == answer["total"]:
            break
    before, found = float(page.run(USED)), []
    for _ in range(PAGES):
        began = time.perf_counter()
        page.ask("rows", **question)
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found), 1000 * (float(page.run(USED)) - before) / PAGES


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what an open live view of a large batch costs.")
    parser.add_argument("--rows", type=int, help="rows of the batch, instead of both sizes")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    found = {rows: measure(rows) for rows in ([options.rows] if options.rows else SIZES)}
    section = open_views(found)
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
