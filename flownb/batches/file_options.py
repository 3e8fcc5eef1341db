"""What `fan_out` makes of `files=`: checked before the first write, the same for all batches of a name."""

from __future__ import annotations

import json

from flownb.batches.batch_request import BatchRequest
from flownb.errors import FlowError
from flownb.files.folder_of_flow import check_writable
from flownb.wire import keys


def check(request: BatchRequest, *, dry_run: bool) -> None:
    """Raise `OptionError` for a folder that cannot be used, `FlowError` where kept rows have their files elsewhere."""
    if request.files is None:
        return
    before = request.earlier.get("files")
    if before is not None and before != request.files:
        raise FlowError(
            f"files: the rows of batch {request.name!r} have theirs in {before!r}; give that, another name, or "
            "if_exists='rerun'"
        )
    if not dry_run:
        check_writable(request.files)


def give_later(request: BatchRequest, flow: str) -> None:
    """Let a batch that runs, or is paused for want of a folder, go on with the folder that is given now."""
    flows = request.store.flows
    record = flows.read(flow, "spec", "root")
    if request.files is None or "spec" not in record:
        return
    spec = json.loads(record["spec"])
    if spec.get("files") is None:
        spec["files"] = request.files
        flows.write_fields([(request.store.server.key("flow", flow), "spec", json.dumps(spec))])
    if flows.read_counts(flow).paused_why:
        flows.resume(flows.read_queues(flow) or [keys.base_of(record["root"])], flow)
