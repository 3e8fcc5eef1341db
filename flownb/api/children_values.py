"""The values of a job's children, as its function reads them: by ``queue:id``, or bound to a task's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flownb.files.stored_values import decoded_each
from flownb.state.stored_flow import StoredJob
from flownb.wire import codec, keys
from flownb.wire.store import Store


class ChildrenValues(Mapping[str, Any]):
    """Children's values by ``queue:id``, in declared order; BullMQ's raw key finds them too.

    >>> values = ChildrenValues({"bull:loads:a-1": 7}, "bull")
    >>> list(values), values["loads:a-1"], values["bull:loads:a-1"]
    (['loads:a-1'], 7, 7)
    """

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self._values = {keys.short(key, prefix): value for key, value in values.items()}
        self._prefix = prefix

    def __getitem__(self, key: Any) -> Any:
        short = keys.short(key, self._prefix) if isinstance(key, str) else key
        if short not in self._values:
            example = f", such as {next(iter(self._values))!r}" if self._values else ""
            raise KeyError(
                f"no value {short!r}: values are found by queue:id{example}; "
                "in the order of the children they are list(values.values())"
            )
        return self._values[short]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"ChildrenValues({len(self)} {'value' if len(self) == 1 else 'values'})"


def read_children_values(store: Store, parent: str, flow: str | None) -> ChildrenValues:
    """Return the values of a parent's children, in declared order; None for an optional child that failed."""
    values = decoded_each(store, flow, store.children.read_values(parent))
    ignored = store.children.read_ignored(parent)
    declared = store.declared.read_keys(parent)
    order = dict.fromkeys(declared) or dict.fromkeys(sorted([*values, *ignored]))
    order.update(dict.fromkeys(values))
    found = {key: values.get(key) for key in order if key in values or key in ignored}
    return ChildrenValues(found, store.prefix)


def bound_to(job: StoredJob) -> tuple[str | None, dict[str, Any]]:
    """Return what a task's job says of its parameters: the one for a frame, and those with children's values.

    A child that has no value (an optional one that failed) is None.
    """
    bind = codec.decode(job.record.bind or "{}")
    shapes = bind.get("values", {})
    wanted = list(dict.fromkeys(key for shape in shapes.values() for key in _keys_in(shape)))
    texts = job.store.children.read_values(job.record.key, wanted) if wanted else {}
    found = decoded_each(job.store, job.record.flow, texts)
    values = {key: found.get(key) for key in wanted}
    return bind.get("frame"), {name: _shaped(shape, values) for name, shape in shapes.items()}


def _keys_in(shape: Any) -> list[str]:
    if isinstance(shape, str):
        return [shape]
    return list(shape.values() if isinstance(shape, Mapping) else shape)


def _shaped(shape: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(shape, str):
        return values[shape]
    if isinstance(shape, Mapping):
        return {name: values[key] for name, key in shape.items()}
    return [values[key] for key in shape]
