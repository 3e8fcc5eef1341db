"""What the documents show is true: README's example prints what it says, every docstring's example runs."""

from __future__ import annotations

import contextlib
import doctest
import io
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import flownb

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(flownb.__path__, "flownb.")
    if not module.name.endswith(("__main__", "supervisor"))
)


def test_the_example_of_the_readme_is_short_and_prints_what_it_says(connection):
    text = (ROOT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", text, re.DOTALL)
    assert example, "README.md has an example and what it prints"
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(compile(example[1], "README.md", "exec"), {})

    assert printed.getvalue().replace("flownb: this kernel serves score with 4 threads\n", "") == example[2]
    assert len([line for line in example[1].splitlines() if line.strip()]) <= 12


def test_the_page_for_those_who_come_from_bullmq_prints_what_it_says(connection):
    text = (ROOT / "docs" / "coming-from-bullmq.md").read_text()
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert len(examples) == text.count("```python") == text.count("\n## ") + 1
    names: dict[str, object] = {}

    for code, says in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), flownb.workers():  # tasks of other tests are not announced
            exec(compile(code, "coming-from-bullmq.md", "exec"), names)
        assert printed.getvalue() == says


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run(name, connection, server):
    public = {word: getattr(flownb, word) for word in flownb.__all__}
    module = import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)

    for docstring in doctest.DocTestFinder().find(module):
        if docstring.examples:
            # Anew: the example before may have connected elsewhere, or failed to.
            default = flownb.connect(**server)
            docstring.globs = {**public, "connection": default, **vars(module)}
            with flownb.workers():  # running already, so that no example announces them
                runner.run(docstring)

    assert runner.failures == 0
