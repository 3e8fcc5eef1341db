"""``python -m tests.input.fuzz --calls 100000 --seed 1``: many hostile calls on a private embedded server."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

import flownb as fn
from tests.input.hostile_calls import Fuzz
from tests.support.server import client_for_all


def main() -> int:
    """Make the calls and tell what was wrong; 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    asked = parser.parse_args()
    print(f"{asked.calls:,} calls, --seed {asked.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="flownb-fuzz-", ignore_cleanup_errors=True) as folder,
        contextlib.chdir(folder),
        fn.Connection(path=Path(folder) / ".flownb") as embedded,
    ):
        address = embedded.address()
        os.environ["FLOWNB_URL"] = url_of(address)  # for the command line
        fuzz = Fuzz(asked.seed, url_of(address), client_for_all(embedded))
        began = time.monotonic()
        fuzz.run(asked.calls)
    for wrong in fuzz.wrong:
        print(wrong)
    ends = ", ".join(f"{count:,} {end}" for end, count in fuzz.ends.most_common())
    print(f"{fuzz.calls:,} calls in {time.monotonic() - began:.0f} s: {ends}; {len(fuzz.wrong)} wrong")
    return bool(fuzz.wrong)


def url_of(address: dict[str, object]) -> str:
    """The embedded server as if it were a shared one: nothing runs in this process beside the calls."""
    return f"unix://:{address['password']}@{address['unix_socket_path']}"


if __name__ == "__main__":
    sys.exit(main())
