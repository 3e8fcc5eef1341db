"""The command line: what a person types in a terminal."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

import flownb
from flownb.errors import FlownbError

if TYPE_CHECKING:
    from flownb.connection import Connection
    from flownb.worker.worker import TaskWorker

INTERRUPTED = 130
UNTIL_DONE = 365 * 24 * 3600.0  # seconds for what still runs at the end


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
    print(f"flownb {command}: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flownb",
        description="Flows of jobs on Redis.",
        epilog="example: flownb demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"flownb {flownb.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, words: str, more: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=words,
            description=f"{words[0].upper()}{words[1:]}. {more}",
            epilog=f"example: {example}",
            allow_abbrev=False,
        )

    demo = command(
        "demo",
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
    demo.set_defaults(run=_demo)

    worker = command(
        "worker",
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
        default=4,
        metavar="N",
        help="how many jobs at a time (default: 4)",
    )
    worker.add_argument(
        "--executor",
        choices=["threads", "processes"],
        default="threads",
        help="where they run: in threads, or each in a process",
    )
    worker.set_defaults(run=_worker)
    return parser


def _rows(text: str) -> int | str:
    return "all" if text == "all" else _count(text, "a number of rows, or all")


def _threads(text: str) -> int:
    return _count(text, "a number of jobs from 1 to 1000", most=1000)


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


# ---- worker ----------------------------------------------------------------------------------------------


def _worker(options: argparse.Namespace) -> int:
    from flownb.worker.worker import TaskWorker

    _find_folder()
    queues = _queues_of(options.modules)
    if options.queues:
        for queue in options.queues:
            if queue not in queues:
                raise FlownbError(
                    f"no task of queue {queue!r} in {', '.join(options.modules)}; there are {', '.join(queues)}"
                )
        queues = list(dict.fromkeys(options.queues))
    with flownb.connect() as connection:
        # The name of a kernel's own worker: a task that adds a flow must not start another.
        worker = TaskWorker(
            concurrency=options.concurrency,
            executor=options.executor,
            queues=queues,
            name="flownb-kernel",
            connection=connection,
        )
        _serve(
            worker, f"serves {', '.join(queues)}, {options.concurrency} at a time, on {_place(connection)}"
        )
    return 0


def _find_folder() -> None:
    """Refuse to make a new embedded server: nobody adds jobs to it, or somebody does elsewhere."""
    from flownb.connection.folder import FOLDER_NAME, folder_for

    if not os.environ.get("FLOWNB_URL") and not folder_for().is_dir():
        raise FlownbError(
            f"there is no {FOLDER_NAME} here or above to join: start it where the notebook or the script is, "
            "or set FLOWNB_URL to a server"
        )


def _place(connection: Connection) -> str:
    return str(connection.path or connection.address().get("url") or "the server of FLOWNB_URL")


def _queues_of(modules: Sequence[str]) -> list[str]:
    """Import the modules and return the queues of their tasks."""
    from flownb.tasks import registry
    from flownb.tasks.task import Task

    here = os.getcwd()
    if here not in sys.path:  # the user named the modules: found as `python -m` finds them
        sys.path.insert(0, here)
    queues: dict[str, None] = {}
    for name in modules:
        before = set(registry.queues())
        module = _import(name)
        own = [value.queue for value in vars(module).values() if isinstance(value, Task)]
        own += [queue for queue in registry.queues() if queue not in before]
        if not own:
            raise FlownbError(f"{name}: defines no @flownb.task")
        queues.update(dict.fromkeys(own))
    return list(queues)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            hint = (
                f"; name the module, not its file: {name[:-3]}"
                if name.endswith(".py")
                else " here, nor installed"
            )
            raise FlownbError(f"there is no module {error.name!r}{hint}") from None
        raise FlownbError(_why(name, error)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever their code does, also SystemExit
        raise FlownbError(_why(name, error)) from None


def _why(name: str, error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f" ({Path(last.filename).name}, line {last.lineno})"
    if isinstance(error, SyntaxError):
        where = ""  # its message has it
    return f"{name}: cannot be imported: {type(error).__name__}: {error}{where}"


def _serve(worker: TaskWorker, words: str) -> None:
    """Serve until the first signal, then until what runs has ended, or the second signal."""
    stop, again = threading.Event(), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        (again if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    worker.start()
    print(f"flownb worker: {words}", flush=True)
    stop.wait()
    closing = threading.Thread(target=worker.close, args=[UNTIL_DONE], name="flownb-cli-closing", daemon=True)
    closing.start()
    closing.join(0.3)
    if closing.is_alive():
        print("flownb worker: waits for what still runs; stop it again to leave that to others", flush=True)
    while closing.is_alive():
        if again.is_set():
            os._exit(INTERRUPTED)  # no more waiting: the keeper gives the jobs back at once
        closing.join(0.05)
