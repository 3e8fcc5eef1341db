"""Build the wheel and import all of it in a clean environment that holds its declared dependencies only.

Works without the network: the wheel is built with what `.[test]` installed, and the dependencies are
linked from there. A module that imports what `pyproject.toml` does not declare fails here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flownb"

IMPORT_ALL = """
import importlib, pkgutil, sys
import flownb
assert sys.prefix in flownb.__file__, f"not the wheel's: {flownb.__file__}"
of_extras = ("flownb.worker.function_pickler",)  # flownb[process]; others import it when they need it
for module in pkgutil.walk_packages(flownb.__path__, "flownb."):
    if not module.name.endswith("__main__") and module.name not in of_extras:
        importlib.import_module(module.name)
for name in flownb.__all__:
    getattr(flownb, name)
"""


def main() -> None:
    # A short folder: a unix socket's path must be under 108 bytes, and TMPDIR may be long.
    with tempfile.TemporaryDirectory(prefix="flownb-wheel-") as folder:
        wheel = build(Path(folder) / "dist")
        check_contents(wheel)
        check_import(wheel, Path(folder) / "clean")
    print(f"{wheel.name}: complete, and imports with its declared dependencies alone")


def build(target: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT)
    (wheel,) = target.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Each file of flownb/ is in the wheel, and nothing else but its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licensed = any(name.endswith("/LICENSE") for name in archive.namelist())
    here = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if missing := sorted(here - packed):
        sys.exit(f"not in the wheel: {', '.join(missing)}")
    if extra := sorted(packed - here):
        sys.exit(f"should not be in the wheel: {', '.join(extra)}")
    if not licensed:
        sys.exit("the wheel has no LICENSE")


def check_import(wheel: Path, folder: Path) -> None:
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install: list[str | Path] = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    run(sys.executable, "-m", "pip", "--python", python, *install)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (metadata,) = site.glob("flownb-*.dist-info")
    for dependency in closure(Distribution.at(metadata)):
        link(dependency, site, folder / "bin")
    run(python, "-I", "-c", IMPORT_ALL, cwd=folder)
    run(python, "-I", "-m", "flownb", "--help", cwd=folder)
    run(folder / "bin" / "flownb", "--help", cwd=folder)


def closure(wheel: Distribution) -> list[Distribution]:
    """Return what the wheel requires, and what that requires; extras left out."""
    found: dict[str, Distribution] = {}
    todo = list(wheel.requires or [])
    while todo:
        requirement = Requirement(todo.pop())
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = distribution(name)
        todo += found[name].requires or []
    return list(found.values())


def link(dependency: Distribution, site: Path, programs: Path) -> None:
    """Link each top-level file or folder of an installed distribution, and its programs."""
    for file in dependency.files or []:
        source = Path(str(dependency.locate_file(file)))
        if file.parts[0] == "..":
            source, target = source.resolve(), programs / file.name
            if source.parent.name != "bin":
                continue
        else:
            source = Path(str(dependency.locate_file(file.parts[0])))
            target = site / file.parts[0]
        if source.name != "__pycache__" and not os.path.lexists(target):
            target.symlink_to(source)


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return what it printed; end with all of it when it fails."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\nfailed: {' '.join(str(word) for word in command)}")
    return done.stdout


if __name__ == "__main__":
    main()
