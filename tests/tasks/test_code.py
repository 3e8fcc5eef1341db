"""Shows which edits make a function another one, so that a batch can say which of its rows ran the old one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from flownb.tasks.code import changes, code_of, is_edited

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


USES = {
    "a global": ("factor = 2\ndef f(x): return x * factor", "factor = 10", "factor: 2 -> 10"),
    "in a comprehension": ("q = 3\ndef f(x): return [y * q for y in x]", "q = 4", "q: 3 -> 4"),
    "a closure": (
        "def make(k):\n  def f(x): return x * k\n  return f\nf = make(2)",
        "f = make(3)",
        "k: 2 -> 3",
    ),
    "a default": ("def f(x, y=1): return x * y", "def f(x, y=2): return x * y", "y=: 1 -> 2"),
    "a function": (
        "def h(x): return x + 1\ndef f(x): return h(x)",
        "def h(x): return x + 2",
        "h() was edited",
    ),
    "what a function uses": ("k = 1\ndef h(x): return k\ndef f(x): return h(x)", "k = 2", "k: 1 -> 2"),
    "a circle": ("k = 1\ndef h(x): return f(x) + k\ndef f(x): return x and h(x)", "k = 2", "k: 1 -> 2"),
    "a class attribute": (
        "class M:\n  rate = 2\ndef f(x): return M.rate * x",
        "M.rate = 3",
        "M.rate: 2 -> 3",
    ),
    "a method": (
        "class M:\n  def go(self): return 1\nm = M()\ndef f(x): return m.go()",
        "class M:\n  def go(self): return 2\nm = M()",
        "M.go() was edited",
    ),
    "a dict": ("c = {'a': 1}\ndef f(x): return c['a']", "c['a'] = 2", "c: {'a': 1} -> {'a': 2}"),
    "a set that is emptied": ("c = {2}\ndef f(x): return x in c", "c = set()", "c: {2} -> set()"),
    "a set that is a dict by now": ("c = set()\ndef f(x): return x in c", "c = {}", "c: set() -> {}"),
    "a set that may not change by now": (
        "c = {1}\ndef f(x): return x in c",
        "c = frozenset({1})",
        "c: {1} -> frozenset({1})",
    ),
    "a function in a dict": (
        "c = {'a': lambda: 1}\ndef f(x): return c['a']()",
        "c = {'a': lambda: 2}",
        "c['a']() was edited",
    ),
    "a decorator's closure": (
        "def times(k):\n  def wrap(g):\n    @functools.wraps(g)\n    def inner(x): return g(x) * k\n    return inner\n"
        "  return wrap\n@times(2)\ndef f(x): return x",
        "@times(3)\ndef f(x): return x",
        "@inner.k: 2 -> 3",
    ),
}


def before_and_after(first, then):
    names = {"functools": functools, "object": object, "__name__": "__main__"}
    exec(compile(first, "cell", "exec"), names)
    before = code_of(names["f"])
    exec(compile(then, "cell", "exec"), names)
    return before, code_of(names["f"])


@pytest.mark.parametrize(("first", "then", "said"), USES.values(), ids=USES)
def test_what_a_function_uses_makes_it_another_and_is_named(first, then, said):
    before, now = before_and_after(first, then)
    assert is_edited(before, now)
    assert changes(before, now) == [said]
    assert not is_edited(now, now)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("calls = []\ndef f(x): calls.append(x)", "f(1)"),
        ("cache = {}\ndef f(x):\n  cache[x] = x\n  return cache", "f(1)"),
        ("n = 0\ndef f(x):\n  global n\n  n += 1", "f(1)"),
        ("other = 1\ndef f(x): return x.other", "other = 2"),
        ("big = list(range(5000))\ndef f(x): return big[x]", "big[0] = 1"),
        ("API_KEY = 'a'\ndef f(x): return API_KEY", "API_KEY = 'b'"),
        ("def f(x): return later(x)", "def later(x): return x"),
        ("class B:\n  def __repr__(self): raise OSError\nb = B()\ndef f(x): return b", "b = B()"),
        (
            "class B:\n  @property\n  def __dict__(self): raise OSError\nb = B()\ndef f(x): return b",
            "b = B()",
        ),
        ("loop = []\nloop.append(loop)\ndef f(x): return loop", ""),
    ],
    ids=[
        "appended to",
        "written into",
        "assigned",
        "not used",
        "large",
        "a secret",
        "unknown",
        "no text",
        "no dict",
        "a circle",
    ],
)
def test_what_it_writes_itself_and_what_cannot_be_compared_count_as_the_same(first, then):
    assert not is_edited(*before_and_after(first, then))


def test_a_secret_is_not_in_the_text():
    text = before_and_after("API_KEY = 'hush'\nc = {'password': 'hush'}\ndef f(x): return API_KEY, c", "")[0]
    assert "hush" not in text


def test_functions_of_modules_that_are_not_installed_are_followed_and_others_are_not(tmp_path, monkeypatch):
    (tmp_path / "rates_of_mine.py").write_text("rate = 3\ndef inner(x): return x * rate\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = "import json, rates_of_mine as mine\ndef f(x): return json.dumps(mine.inner(x))"
    assert changes(*before_and_after(first, "mine.rate = 4")) == ["rates_of_mine.rate: 3 -> 4"]
    assert not is_edited(*before_and_after(first, "json.other = 1"))
