"""The command line: its commands, their options, and the exit status of an exception."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import flownb
from flownb.api.listing import FLOW_STATES
from flownb.api.prune import PRUNED_STATES
from flownb.cli import flow_commands, serve, store_commands
from flownb.cli.serve import INTERRUPTED
from flownb.errors import FlownbError, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 after an error, 2 for wrong usage, 130 interrupted."""
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except FlownbError as error:
        return _complain(options.command, str(error))
    except BrokenPipeError:  # as in `flownb demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(options.command, f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _complain(command: str, message: str) -> int:
    print(f"flownb {command}: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    """Repeats what it does not understand in a form that is fit for a terminal."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="flownb",
        description="Flows of jobs on Redis.",
        epilog="example: flownb demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"flownb {flownb.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str, example: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}. {details}",
            epilog=f"example: {example}",
            allow_abbrev=False,
        )
        added.set_defaults(run=run)
        return added

    _add_demo(command)
    _add_worker(command)
    _add_listing(command)
    _add_steering(command)
    return parser


def _add_demo(command: Any) -> None:
    demo = command(
        "demo",
        _demo,
        "run a batch over real flights and rank the airlines",
        "It uses a server of its own, whose data stay in .flownb here: what was run once is not run again.",
        "flownb demo --rows all",
    )
    demo.add_argument(
        "--rows",
        type=_rows,
        metavar="N|all",
        help="how many flights (default: the 27,004 of January 2013; all: 336,776)",
    )
    demo.add_argument("--fresh", action="store_true", help="start over: run every row again")
    demo.add_argument(
        "--html", type=Path, default=Path("demo.html"), metavar="FILE", help="the page (default: demo.html)"
    )


def _add_worker(command: Any) -> None:
    worker = command(
        "worker",
        serve.serve,
        "serve the tasks of modules until Ctrl-C or SIGTERM",
        "It serves FLOWNB_URL, or joins the .flownb here or above. Modules are found and run as by `python -m MODULE`: "
        "those of the current folder first. At the end it lets running jobs finish; a second Ctrl-C or SIGTERM "
        "leaves them to other workers.",
        "flownb worker mypackage.tasks -c 8",
    )
    worker.add_argument("modules", nargs="+", metavar="MODULE", help="a module with @flownb.task functions")
    worker.add_argument(
        "-q",
        "--queue",
        dest="queues",
        action="append",
        metavar="QUEUE",
        help="only this queue; can be given again",
    )
    worker.add_argument(
        "-c",
        "--concurrency",
        type=_threads,
        default=None,
        metavar="N",
        help="how many jobs at a time (default: as many as the tasks ask for, else 4, and 100 of async ones)",
    )
    worker.add_argument(
        "--executor",
        choices=["threads", "processes"],
        default="threads",
        help="where they run: in threads, or each in a process",
    )
    worker.add_argument(
        "--until",
        metavar="FLOW",
        help="stop when this flow has ended; the exit status is 0 if it completed, else 1",
    )


def _add_listing(command: Any) -> None:
    ls = command(
        "ls",
        store_commands.ls,
        "list the flows, the newest first",
        "With the first column of a line, or its name, other commands find a flow.",
        "flownb ls --state failed",
    )
    ls.add_argument("-q", "--queue", metavar="QUEUE", help="those with a job in it, also those of Node.js")
    ls.add_argument(
        "--state", choices=FLOW_STATES, metavar="STATE", help="one of BullMQ's, failing, cancelled or older"
    )
    ls.add_argument("--limit", type=_flows, default=100, metavar="N", help="how many (default: 100)")
    _add_json(ls)
    du = command(
        "du",
        store_commands.du,
        "say what each flow takes of the server's memory, and of files",
        "The largest first, in bytes with --json.",
        "flownb du",
    )
    _add_json(du)
    prune = command(
        "prune",
        store_commands.prune,
        "remove flows that have ended",
        "By their age, their state, or both. What is paused, runs or waits stays. In a terminal it asks.",
        "flownb prune --older-than 7d --state completed",
    )
    prune.add_argument("--older-than", metavar="TIME", help="that ended so long ago: 7d, 12h")
    prune.add_argument(
        "--state",
        choices=PRUNED_STATES,
        metavar="STATE",
        help="completed, failed, cancelled, or older: those whose name another flow has by now",
    )
    prune.add_argument("--dry-run", action="store_true", help="remove nothing; say what would go")
    prune.add_argument("-y", "--yes", action="store_true", help="do not ask")
    _add_json(prune)
    doctor = command(
        "doctor",
        store_commands.doctor,
        "say what is wrong with what is stored, and mend it",
        "It looks for jobs that would get lost, run twice or wait for ever. The exit status is 0 when all is well, "
        "else 1. Safe while workers run, and to be run twice.",
        "flownb doctor --fix",
    )
    doctor.add_argument("--fix", action="store_true", help="mend what can be mended without a loss")
    doctor.add_argument("-q", "--queue", metavar="QUEUE", help="only this queue, and what belongs to it")
    _add_json(doctor)


def _add_steering(command: Any) -> None:
    about = "FLOW is a flow's name, or queue:id of any job of it."
    for name, run, summary, details in (
        (
            "watch",
            flow_commands.watch,
            "show how far a flow is until it has ended",
            "Exits 0 if it completed, else 1.",
        ),
        ("explain", flow_commands.explain, "say what keeps a flow from ending, and what mends it", ""),
        (
            "logs",
            flow_commands.logs,
            "show what the rows of a batch have printed and logged",
            "A row's lines come when its job has ended.",
        ),
        ("retry", flow_commands.retry, "run again what failed in a flow, then what stands above it", ""),
        ("pause", flow_commands.pause, "let no further job of a flow start", "Running jobs go on."),
        (
            "resume",
            flow_commands.resume,
            "let a paused flow go on, whatever has paused it",
            "A budget that is used up has to be raised.",
        ),
        ("cancel", flow_commands.cancel, "end a flow without what has not run yet", "In a terminal it asks."),
        ("rm", flow_commands.remove, "remove a flow with all that is stored of it", "In a terminal it asks."),
    ):
        added = command(name, run, summary, f"{details} {about}".strip(), f"flownb {name} score-nov")
        added.add_argument("flow", metavar="FLOW", help="a name, or queue:id")
        _add_json(added)
        if name == "logs":
            added.add_argument(
                "--grep", metavar="PATTERN", help="only lines that match this regular expression"
            )
            added.add_argument("--level", metavar="LEVEL", help="only what was logged at this level or above")
        if name == "resume":
            added.add_argument(
                "--budget",
                type=_amount,
                action="append",
                default=[],
                metavar="UNIT=AMOUNT",
                help="what the batch may spend: usd=10; can be given again",
            )
            added.add_argument(
                "--max-failures",
                type=_failures,
                metavar="N",
                help="how many rows may fail, or a share: 5%%",
            )
        if name in ("cancel", "rm"):
            added.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


def _rows(text: str) -> int | str:
    return "all" if text == "all" else _count(text, "a number of rows, or all")


def _threads(text: str) -> int:
    return _count(text, "a number of jobs from 1 to 5000", most=5000)


def _flows(text: str) -> int:
    return _count(text, "a number of flows")


def _amount(text: str) -> tuple[str, float]:
    unit, _, amount = text.partition("=")
    try:
        return unit, float(amount)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a unit and an amount, such as usd=10, not {text!r}") from None


def _failures(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _count(text: str, what: str, most: int = 10**9) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= most:
        raise argparse.ArgumentTypeError(f"{what}, not {text!r}")
    return count


def _demo(options: argparse.Namespace) -> int:
    from flownb import demo

    return demo.run(options.rows, fresh=options.fresh, html=options.html)
