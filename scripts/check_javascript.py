"""Check rules and layout of the JavaScript in this repository; with --write, put right what can be.

`make test` runs it. Biome comes by the lock file of tests/javascript, which holds its settings, too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tests" / "javascript"
CHECKED = ("flownb", "benchmarks/node", "tests/interop/node", "notebooks")
LONGEST_LINE = 110  # Biome's layout leaves long texts and comments as they are
NODE = str(Path(sys.executable).parent / "node")


def main() -> int:
    """Run the checks; answer with 0 when all is well."""
    return max(_biome(sys.argv[1:]), _long_lines())


def _biome(options: list[str]) -> int:
    node = NODE if Path(NODE).exists() else shutil.which("node") or "node"
    biome = TOOLS / "node_modules" / "@biomejs" / "biome" / "bin" / "biome"
    folders = [f"../../{folder}" for folder in CHECKED]
    return subprocess.run([node, str(biome), "check", *options, *folders], cwd=TOOLS).returncode


def _long_lines() -> int:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} characters"
        for path in sorted((ROOT / "flownb").rglob("*.js"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
