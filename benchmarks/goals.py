"""The goals that flownb is measured by beside its peers: what each asks for, and whether a run meets it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import NamedTuple

from report import figure, spread

#: What is left of the machine's noise in a ratio that should be 1.
NOISE = 1.1


class Figures:
    """What a run found: by measurement and peer, one value a round."""

    def __init__(self, found: Mapping[str, Mapping[str, list[float]]]) -> None:
        self.found = found

    def __call__(self, what: str, peer: str = "flownb") -> float:
        """The median; 0 where it was not measured."""
        values = self.found[what].get(peer)
        return statistics.median(values) if values else 0.0

    def times(self, what: str, peer: str = "flownb", of: str = "bullmq") -> float:
        """How many times as much as another peer's."""
        other = self(what, of)
        return self(what, peer) / other if other else 0.0

    def spread(self, what: str, peer: str = "flownb") -> str:
        return spread(self.found[what].get(peer)) or "-"


class Line(NamedTuple):
    """One goal: what each peer came to, and whether flownb came to what is asked for."""

    case: str
    node: str
    bare: str
    flownb: str
    goal: str
    is_met: bool | None  #: None: not measured


def lines(of: Figures, added: int, many: int, drained: int, rows: int, very_many: int) -> list[Line]:
    """Return the table's lines; the numbers are how many jobs or rows each was measured with."""

    def rate(what: str, peer: str) -> str:
        return f"{figure(of.times(what, peer))}x" if of(what, peer) and of(what, "bullmq") else "-"

    def node(what: str) -> str:
        return f"1 ({figure(of(what, 'bullmq'))} a second)" if of(what, "bullmq") else "-"

    def cpu(what: str, client: str, server: str, peer: str) -> str:
        return f"{figure(of(client, peer))} / {figure(of(server, peer))} us" if of(what, peer) else "-"

    def met(what: str, is_met: bool) -> bool | None:
        return is_met if of(what) else None

    of_bare = of.times("add_rate", of="bare")
    wall = 1e6 / of("add_rate") if of("add_rate") else 0.0
    larger = max(of("add_client_us"), of("add_server_us"))
    drain_of_bare = of.times("drain_rate", of="bare")
    worker, server = (of.times(f"drain_{side}_us", of="bare") for side in ("client", "server"))
    ideal = 12.5
    return [
        Line(
            f"add a parent with {added:,} children",
            node("add_rate"),
            rate("add_rate", "bare"),
            f"{rate('add_rate', 'flownb')}: {of_bare:.0%} of the bare client",
            "90 % of the bare client",
            met("add_rate", of_bare >= 0.9),
        ),
        Line(
            "... client / server CPU a job",
            cpu("add_rate", "add_client_us", "add_server_us", "bullmq"),
            cpu("add_rate", "add_client_us", "add_server_us", "bare"),
            f"{cpu('add_rate', 'add_client_us', 'add_server_us', 'flownb')}, wall {figure(wall)} us",
            "wall as the larger of both, not as their sum",
            met("add_rate", wall <= larger * NOISE),
        ),
        Line(
            f"add {many:,}",
            f"1 ({figure(of('many_rss', 'bullmq'))} MB)",
            rate("many_rate", "bare"),
            f"{rate('many_rate', 'flownb')} ({figure(of('many_rss'))} MB, "
            f"of it {figure(of('many_grown'))} by adding)",
            "8x, 80 MB more than before",
            met("many_rate", of.times("many_rate") >= 8 and of("many_grown") <= 80),
        ),
        Line(
            f"drain {drained:,} no-op jobs, one worker process",
            node("drain_rate"),
            rate("drain_rate", "bare"),
            f"{rate('drain_rate', 'flownb')}: {drain_of_bare:.0%} of the bare client",
            "90 % of the bare client and 2x Node",
            met("drain_rate", drain_of_bare >= 0.9 and of.times("drain_rate") >= 2),
        ),
        Line(
            "... worker / server CPU a job",
            cpu("drain_rate", "drain_client_us", "drain_server_us", "bullmq"),
            cpu("drain_rate", "drain_client_us", "drain_server_us", "bare"),
            f"{cpu('drain_rate', 'drain_client_us', 'drain_server_us', 'flownb')}: "
            f"{figure(worker)}x / {figure(server)}x the bare client's",
            "1.33x / 1.03x the bare client's",
            met("drain_rate", worker <= 14 / 10.5 and server <= 30 / 29),
        ),
        Line(
            f"drain {drained:,}, two worker processes each",
            node("two_rate"),
            "-",
            rate("two_rate", "flownb"),
            "3x",
            met("two_rate", of.times("two_rate") >= 3),
        ),
        Line(
            "a chain of four, one at a time, p50 / p99",
            f"{figure(of('chain', 'bullmq'))} / {figure(of('chain_p99', 'bullmq'))} ms",
            "-",
            f"{figure(of('chain'))} / {figure(of('chain_p99'))} ms",
            "half of Node's",
            met("chain", of.times("chain") <= 0.5 and of.times("chain_p99") <= 0.5),
        ),
        Line(
            "1,000 chains, added one by one",
            node("burst_rate"),
            "-",
            rate("burst_rate", "flownb"),
            "2x",
            met("burst_rate", of.times("burst_rate") >= 2),
        ),
        Line(
            f"children's values of {drained:,}, in declared order",
            f"{figure(of('values', 'bullmq'))} ms",
            f"{figure(of('values', 'bare'))} ms",
            f"{of.spread('values')} ms",
            "the bare client's",
            met("values", of.times("values", of="bare") <= NOISE),
        ),
        Line(
            f"`flow.jobs()` of {added:,}",
            f"getFlow {figure(of('poll_new', 'bullmq'))} ms",
            "-",
            f"{of.spread('table')} ms, {figure(of('table_calls'))} calls",
            "60 ms, under 100 commands sent",
            met("table", of("table") <= 60 and of("table_calls") < 100),
        ),
        Line(
            f"{rows:,} rows in and out, auto, beside joblib's 2 processes",
            f"joblib {of.spread('rows', 'joblib')} s"
            + (f", dask {of.spread('rows', 'dask')} s for a fifth" if of("rows", "dask") else ""),
            "-",
            f"{of.spread('rows')} s: {figure(of.times('rows', of='joblib'))}x its time",
            "its time, with everything stored",
            met("rows", of.times("rows", of="joblib") <= NOISE),
        ),
        Line(
            "idle, three workers",
            "4.8 commands a second each",
            "-",
            f"{figure(of('idle_commands'))} commands a second, wake {figure(of('idle_wake'))} ms",
            "under 1, wake under 50 ms",
            met("idle_wake", of("idle_commands") < 1 and of("idle_wake") < 50),
        ),
        Line(
            "5,000 rows of `await asyncio.sleep(0.5)`, 200 wide; 2,000 wide",
            "-",
            "-",
            f"{figure(of('width') / ideal)}x of ideal; {figure(of('width_threads'))} threads at 2,000",
            "1.05x; no thread a row",
            met("width", of("width") <= 1.05 * ideal and of("width_threads") < 50),
        ),
        Line(
            f"{very_many:,} rows, from fan_out to results",
            "-",
            "-",
            f"{of.spread('million')} s, {figure(of('million_mb'))} MB, of it {figure(of('million_grown'))} "
            "more than before",
            "10 s, under 250 MB more than before",
            met("million", of("million") <= 10 and of("million_grown") < 250),
        ),
        Line(
            "no-op rows while they are added, 8 processes x 8",
            "-",
            "-",
            f"{figure(of.times('fleet_rate', of='flownb one'))}x one process's rate",
            "above one process's",
            met("fleet_rate", of.times("fleet_rate", of="flownb one") > 1),
        ),
    ]


def table(goals: list[Line]) -> str:
    """Return a Markdown table, and how many goals are met."""
    words = {True: "yes", False: "no", None: "not measured"}
    rows = ["| case | Node | bare client | flownb | goal | met |", "|---|---|---|---|---|---|"]
    rows += [f"| {' | '.join([*goal[:5], words[goal.is_met]])} |" for goal in goals]
    reached = sum(goal.is_met is True for goal in goals)
    return "\n".join([*rows, "", f"{reached} of {len(goals)} goals are met."])
