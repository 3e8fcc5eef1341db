"""Shows that no argument of any public name, however odd, gives anything but a value or one of flownb's own errors."""

from __future__ import annotations

import inspect
import signal

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from tests.input import hostile_calls
from tests.input.hostile_calls import TARGETS, Fuzz, World

SEED = 2026
CALLS = 1500

# Public names that no caller gives an argument of his own, or that are tried elsewhere.
NOT_TRIED = {
    "Connection.client_from_address": "takes what `address` gave, for another process",
    "Job": "made by flownb alone",
    "Progress": "made by flownb alone",
    "Progress.of": "made by flownb alone",
    "Batch": "made by flownb alone; its `flow` is tried",
    "File": "made by flownb alone",
}


@pytest.fixture
def fuzz(url, redis, monkeypatch):
    """A fuzz that has not begun."""
    monkeypatch.setenv("FLOWNB_URL", url)  # for the command line
    before = signal.getsignal(signal.SIGALRM)
    yield Fuzz(SEED, url, redis)
    signal.signal(signal.SIGALRM, before)
    fn.connect(url).close()


def test_hostile_values_in_any_argument(fuzz):
    fuzz.run(CALLS)
    assert fuzz.wrong == []
    assert fuzz.ends["OptionError"] > CALLS / 4  # most are refused, and some fit
    assert fuzz.ends["returned"] > CALLS / 20


KINDS = (np.array([1, 2]), pd.Series([1, 2]), pd.DataFrame({"a": [1, 2]}), pd.NA)


def test_no_argument_is_asked_whether_it_is_true(fuzz):
    fuzz.prepare()
    world = World(fuzz.url, fuzz.server)
    for at, target in enumerate(TARGETS):
        for place in target.fits(world):
            if place not in target.never and target.name != "the command line":
                for kind in KINDS:
                    fuzz.call(world, target, {place: kind}, at)
    assert fuzz.wrong == []
    assert fuzz.calls > 450


def test_every_parameter_of_every_public_name_is_tried():
    tried = {(target.name, place) for target in TARGETS for place in target.fits(_Anything())}
    names = {name for name, _ in tried}
    missing = [
        f"{name}({parameter})"
        for name, parameters in _public().items()
        if name not in NOT_TRIED and not any(other.startswith(f"{name} ") for other in names)
        for parameter in parameters
        if (name, parameter) not in tried
    ]
    assert missing == []


class _Anything:
    """Stands for a world of which nothing is asked."""

    def __getattr__(self, name):
        return None


def _public():
    """The parameters of every public function, class and method that has any, by name."""
    found = {}
    for name in fn.__all__:
        value = getattr(fn, name)
        if inspect.isclass(value) and issubclass(value, BaseException):
            continue
        if inspect.isclass(value):
            for method, member in inspect.getmembers(value, callable):
                if not method.startswith("_"):
                    found[f"{name}.{method}"] = _parameters(member)
        found[name] = _parameters(value)
    inherited = {f"Batch.{method}" for method in dir(fn.Flow)} - {
        f"Batch.{method}" for method in vars(fn.Batch)
    }
    return {name: parameters for name, parameters in found.items() if parameters and name not in inherited}


def _parameters(callable_):
    try:
        parameters = inspect.signature(callable_).parameters.values()
    except ValueError:
        return []
    passed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in passed and p.name not in ("self", "connection")]


def test_a_wrong_call_is_found(fuzz, monkeypatch):
    """The judge sees what it should: each of these calls breaks one rule."""
    world = World(fuzz.url, fuzz.server)
    fuzz.prepare()

    def says(call):
        fuzz.wrong.clear()
        fuzz.call(world, hostile_calls.Target("broken", call, lambda world: {"x": 1}), {}, 0)
        return fuzz.wrong[0]

    def fail(error):
        raise error

    def write_and_fail(world, _):
        world.server.set("left", 1)
        raise fn.FlowError("refused")

    monkeypatch.setattr(hostile_calls, "MOST_SECONDS", 0.2)
    assert "raises KeyError" in says(lambda world, _: fail(KeyError("x")))
    assert "shows a secret" in says(lambda world, _: fail(fn.FlowError("hunter2")))
    assert "after a write" in says(write_and_fail)
    assert "with 1000 characters" in says(lambda world, _: fail(fn.UnrecoverableError("x" * 1000)))
    assert "raw control character" in says(lambda world, _: print("\x1b[31m"))
    assert "no end within 0.2 s" in says(lambda world, _: _spin())


def _spin():
    while True:
        pass
