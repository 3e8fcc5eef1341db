"""The three calls that go against the direction of imports, filled in by ``flownb/__init__.py``.

Like errors and options, open to every room. Each slot is documented by what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

register_notebook_code: Callable[[Any], None] = lambda connection: None  # noqa: E731
"""Work is about to be added through this connection: raise FlowError where another kernel would run it with
another function than this one's.
"""

start_kernel_worker: Callable[[Any], None] = lambda connection: None  # noqa: E731
"""Work has been added through this connection: let this kernel's own workers run, if it has any to do."""

frame_of_children: Callable[[Any], Any] = lambda job: None  # noqa: E731
"""Return the DataFrame an aggregate task receives: one row for each child of its job."""
