"""The live view's script: modules that import each other, joined to one."""

from __future__ import annotations

import re
from pathlib import Path

from flownb.widgets import page_files

STATIC = Path(page_files.__file__).parent / "static"
NAME = re.compile(r"^(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)


def test_every_module_is_in_the_script_once_and_none_imports_there():
    script = page_files.script()
    for module in STATIC.glob("*.js"):
        first_line = module.read_text(encoding="utf-8").splitlines()[0]
        assert script.count(first_line) == 1
    assert not re.search(r"^import ", script, re.MULTILINE)
    assert re.findall(r"^export .*", script, re.MULTILINE) == ["export default { render };"]


def test_no_name_of_one_module_is_one_of_another():
    names = NAME.findall(page_files.script())
    assert len(names) > 40
    assert sorted(names) == sorted(set(names))
