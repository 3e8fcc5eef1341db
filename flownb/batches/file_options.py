"""What `fan_out` makes of `files=`: checked before the first write, the same for all batches of a name."""

from __future__ import annotations

import json

from flownb.batches.batch_request import BatchRequest
from flownb.errors import FlowError
from flownb.files.folder_of_flow import check_writable, folder_of_batch
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
    if before is None and _has_own_files(request):
        raise FlowError(
            f"files: the rows of batch {request.name!r} have theirs beside the server's data; leave files= out, give "
            "another name, or if_exists='rerun'"
        )
    if not dry_run:
        check_writable(request.files)


def _has_own_files(request: BatchRequest) -> bool:
    """Are there rows of an earlier batch of this name whose files stand in the embedded server's folder?"""
    own = folder_of_batch(request.store, request.name, None) if "task" in request.earlier else None
    return own is not None and bool(own.sizes())


def give_to_earlier(request: BatchRequest) -> list[str]:
    """Note the folder that is given now in earlier batches of this name; return these, which may go on then.

    Rows that come again are theirs. They go on when the new batch has all its rows: it counts what ends from then on.
    """
    flow = request.store.flows.find(request.name) if request.files is not None and request.earlier else None
    earlier = [] if flow is None else [flow, *request.store.flows.formers(flow)]
    return [flow for flow in earlier if _note_folder(request, flow)]


def give_later(request: BatchRequest, flow: str) -> None:
    """Let a batch that runs, or is paused for want of a folder, go on with the folder that is given now."""
    if _note_folder(request, flow):
        go_on(request, flow)


def _note_folder(request: BatchRequest, flow: str) -> bool:
    """Note the folder in a batch's record; say whether one was given."""
    flows = request.store.flows
    record = flows.read(flow, "spec")
    if request.files is None or "spec" not in record:
        return False
    spec = json.loads(record["spec"])
    if spec.get("files") is None:
        spec["files"] = request.files
        flows.write_fields([(request.store.server.key("flow", flow), "spec", json.dumps(spec))])
    return True


def go_on(request: BatchRequest, flow: str) -> None:
    """Let a batch go on that was paused for want of a folder."""
    flows = request.store.flows
    counts = flows.read_counts(flow)
    if counts.paused_why and not counts.pause:
        root = flows.read(flow, "root")["root"]
        flows.resume(flows.read_queues(flow) or [keys.base_of(root)], flow)
