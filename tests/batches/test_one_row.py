"""`batch.row(label)`: all about one row, which shows itself."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")

FRAME = pd.DataFrame({"part": [3, 1, 2], "whole": [4, 0, 1]}, index=["x", "y", "y"])


@pytest.fixture
def share():
    @fn.task(attempts=2)
    def share(part, whole):
        print("shares", part)
        return part / whole

    return share


@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_a_row_that_is_done(share, rows_per_job):
    batch = fn.fan_out(FRAME, share, name="b", rows_per_job=rows_per_job).wait(timeout=60)
    row = fn.attach("b").row("x")
    assert (row.label, row.state, row.value, row.error) == ("x", "completed", 0.75, None)
    assert row.inputs == {"part": 3, "whole": 4}
    assert row.attempts == 1
    assert row.version == batch.table()["_version"].iloc[0]
    assert row.logs["line"].tolist() == ["shares 3"]
    assert repr(row).splitlines() == [
        f"row 'x': completed, 1 attempt, {row.seconds:.3g} s, version {row.version}",
        "  part = 3",
        "  whole = 4",
        "  -> 0.75",
        "logs:",
        "  stdout: shares 3",
    ]


def test_of_equal_labels_the_failed_row_is_meant(share):
    row = fn.fan_out(FRAME, share, rows_per_job=3).wait(timeout=60).row("y")
    assert (row.state, row.value, row.attempts) == ("failed", None, 2)
    assert row.error == "ZeroDivisionError: division by zero"
    assert row.inputs == {"part": 1, "whole": 0}
    assert row.logs["attempt"].tolist() == [1, 2]
    said = repr(row)
    assert "in share" in said
    assert "ZeroDivisionError: division by zero" in said


def test_a_row_that_waits_a_long_value_many_lines_and_a_label_that_is_none(share):
    @fn.task(delay="1h")
    def later(n):
        return n

    waiting = fn.fan_out([7], later).row(0)
    assert (waiting.state, waiting.value, waiting.inputs) == ("delayed", None, {"n": 7})

    @fn.task
    def chatter(n):
        for i in range(n):
            print(i)
        return "\x1b" + "long" * 100

    said = repr(fn.fan_out([12], chatter).wait(timeout=60).row(0)).splitlines()
    assert said[2].startswith("  -> '\\x1blong")
    assert said[2].endswith("…")
    assert said[3:5] == ["logs, 2 earlier lines left out:", "  stdout: 2"]
    with pytest.raises(fn.FlowError, match="there is no row 'z'"):
        fn.fan_out(FRAME, share).row("z")


def test_a_row_shows_itself_in_a_cell_with_what_it_says_escaped(connection):
    @fn.task
    def tell(n):
        print("<b>bold</b>", n)
        if n == 1:
            raise ValueError("<script>no</script>")
        from PIL import Image

        return Image.new("RGB", (40, 30), "red")

    batch = fn.fan_out(range(2), tell).wait(timeout=60)
    done, failed = batch.row(0)._repr_html_(), batch.row(1)._repr_html_()
    assert 'src="data:image/png;base64,' in done
    for text in ("stdout  &lt;b&gt;bold&lt;/b&gt; 0", "&#34;n&#34;: 0", "completed"):
        assert text in done
    assert "ValueError: &lt;script&gt;no&lt;/script&gt;" in failed
    assert "test_one_row.py, in tell" in failed
    assert "<script" not in failed
