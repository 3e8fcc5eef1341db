"""Shows functions of cells in processes: whatever they use goes there, once a process; edited modules are noticed."""

from __future__ import annotations

import textwrap

import pytest

from tests.support.kernel_process import Kernel


@pytest.fixture
def kernel(server_folder, connection):
    made = Kernel(server_folder)
    yield made
    made.kill()


def results_of(kernel, cell, rows=1):
    """Run a cell that defines the task `work`, and return what it returned for each row."""
    run = f"print(fn.fan_out(list(range({rows})), work, rows_per_job=1).results(60, failed='raise')['work'].tolist())"
    with_workers = f"\nwith fn.workers(2, executor='processes'):\n    {run}"
    printed, error = kernel.run(textwrap.dedent(cell) + with_workers)
    assert error is None, error
    return eval(printed)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (
            """
            import functools
            @functools.lru_cache
            def plus_one(x): return x + 1
            @fn.task
            def work(x): return [plus_one(x), plus_one(x), plus_one.cache_info().hits]
            """,
            [1, 1, 1],
        ),
        (
            """
            import functools
            @functools.cache
            def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
            @fn.task
            def work(x): return fib(x + 90)
            """,
            2880067194370816120,
        ),
        (
            """
            import functools
            @fn.task
            @functools.lru_cache(maxsize=7)
            def work(x): return work.function.cache_parameters()["maxsize"]
            """,
            7,
        ),
        (
            """
            import functools
            @functools.singledispatch
            def kind(x): return "something"
            @kind.register
            def _(x: int): return "a number"
            @kind.register
            def _(x: list): return [kind(item) for item in x]
            @fn.task
            def work(x): return kind([x, "x", [x]])
            """,
            ["a number", "something", ["a number"]],
        ),
        (
            """
            import functools
            class Model:
                def __init__(self, by): self.by = by
                @functools.cached_property
                def twice(self): return 2 * self.by
                @functools.lru_cache
                def score(self, x): return self.twice + x
                @functools.singledispatchmethod
                def kind(self, x): return "something"
                @kind.register
                def _(self, x: int): return "a number"
            model = Model(4)
            @fn.task
            def work(x): return [model.score(x), model.kind(x), model.kind("")]
            """,
            [8, "a number", "something"],
        ),
        (
            """
            import dataclasses, enum, typing, collections
            class Colour(enum.Enum):
                RED = "r"
            Cents = typing.NewType("Cents", int)
            Pair = collections.namedtuple("Pair", "a b")
            @dataclasses.dataclass(frozen=True, slots=True)
            class Item:
                colour: Colour
                price: Cents = Cents(3)
                tags: list = dataclasses.field(default_factory=list)
                class Part:
                    size = 5
            @fn.task
            def work(x): return [Item(Colour("r")).colour.name, Item.Part.size, *Pair(Item(Colour.RED).price, x)]
            """,
            ["RED", 5, 3, 0],
        ),
        (
            """
            import functools, logging, operator
            log = logging.getLogger("mine")
            def even(n): return n == 0 or odd(n - 1)
            def odd(n): return n != 0 and even(n - 1)
            def adder(by):
                def add(x): return x + by
                return add
            add_two = adder(2)
            double = functools.partial(operator.mul, 2)
            def logged(function):
                @functools.wraps(function)
                def call(*args):
                    log.info("is called")
                    return function(*args)
                return call
            @logged
            def both(x): return double(add_two(x))
            @fn.task
            def work(x): return [even(10), both(x)]
            """,
            [True, 4],
        ),
    ],
    ids=["cached", "cached-and-recursive", "cached-task", "dispatched", "class", "types", "closures"],
)
def test_what_decorators_and_classes_make_of_functions_goes_to_a_process_too(kernel, cell, value):
    assert results_of(kernel, cell) == [value]


def test_what_is_loaded_once_is_loaded_once_a_process(kernel):
    rows = results_of(
        kernel,
        """
        import functools, itertools, os
        loads = itertools.count(1)
        @functools.cache
        def model(): return [os.getpid(), next(loads)]
        by_hand = None
        @fn.task
        def work(x):
            global by_hand
            by_hand = by_hand or [os.getpid(), next(loads)]
            return [*model(), *by_hand]
        """,
        rows=60,
    )
    processes = {row[0] for row in rows}
    assert len(processes) <= 2
    assert all(row[0] == row[2] for row in rows)
    assert {(row[1], row[3]) for row in rows} == {(2, 1)}


def test_a_lock_of_a_cell_is_refused_by_its_name(kernel):
    printed, error = kernel.run(
        textwrap.dedent(
            """
            import threading
            guard = threading.Lock()
            def inner(x):
                with guard:
                    return x
            @fn.task
            def work(x): return inner(x)
            with fn.workers(1, executor='processes'):
                print(fn.fan_out([1], work).wait(60).failures["message"].iloc[0])
            """
        )
    )
    assert error is None
    assert "cannot be sent to another process: guard cannot be packed (TypeError: cannot pickle" in printed
    assert "make inside the function what cannot be packed" in printed


MODULE = """
import os
import flownb as fn
from . import rates
@fn.task
def work(x):
    return [x * rates.rate, os.getpid()]
"""


def test_an_edited_module_is_noticed_by_every_process_before_its_next_row(kernel, tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "rates.py").write_text("rate = 3")
    (folder / "tasks.py").write_text(MODULE)
    cells = f"""
        import sys, importlib
        sys.path.insert(0, {str(tmp_path)!r})
        from prices import rates, tasks
        work = tasks.work
        workers = fn.workers(2, executor="processes").start()
        def run(name):
            batch = fn.fan_out(list(range(40)), work, name=name, rows_per_job=1)
            values = batch.results(60, failed="raise")["work"].tolist()
            print([{{x // n for n, (x, _) in enumerate(values) if n}}, len({{pid for _, pid in values}})])
        run("first")
        """
    assert kernel.run(textwrap.dedent(cells)) == ("[{3}, 2]", None)
    for rate in (4, 5):  # as long as before, and perhaps within the same second
        (folder / "rates.py").write_text(f"rate = {rate}")
        printed, error = kernel.run(f"importlib.reload(rates); run('with {rate}')")
        assert error is None
        assert printed.endswith(f"[{{{rate}}}, 2]")
