"""Shows which edits make a function another one, so that a batch can say which of its rows ran the old one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from flownb.tasks.code import code_of, is_edited

PLAIN = "def f(x, y=1):\n    return x in {'a', 'b'} or [n + y for n in x]\n"


def made(text):
    names = {"functools": functools, "object": object}
    exec(compile(text, "cell", "exec"), names)
    return names["f"]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("return", "# why\n    return"),
        "\n\n\n" + PLAIN.replace(" or ", "  or  "),
        PLAIN.replace("    return", '    "What it does."\n    return'),
        "@functools.cache\n" + PLAIN,
    ],
    ids=["a comment", "layout", "a docstring", "a decorator that wraps"],
)
def test_what_changes_no_step_is_the_same_function(text):
    assert code_of(made(text)) == code_of(made(PLAIN))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("y=1", "y=2"),
        PLAIN.replace("'b'", "'c'"),
        PLAIN.replace("n + y", "n - y"),
        PLAIN.replace("x, y=1", "x, *, y=1"),
        PLAIN.replace("x in", "x not in"),
        "async " + PLAIN,
    ],
)
def test_another_step_constant_or_default_is_another_function(text):
    assert is_edited(code_of(made(PLAIN)), code_of(made(text)))


def test_it_is_the_same_in_every_process():
    program = f"from flownb.tasks.code import code_of\nexec({PLAIN!r})\nprint(code_of(f))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in "123"
    }
    assert found == {code_of(made(PLAIN))}


def test_a_default_without_a_lasting_text_and_what_has_no_code_are_no_edit():
    assert code_of(made("def f(x=object()): return x")) == code_of(made("def f(x=object()): return x"))
    assert code_of(len) == code_of(len) != code_of(max)


def test_hashes_of_two_pythons_or_of_none_tell_nothing():
    assert not is_edited("2.7-00", code_of(len))
    assert not is_edited(None, code_of(len))
    assert not is_edited(code_of(len), None)
