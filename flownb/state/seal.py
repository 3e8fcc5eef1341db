"""The seal of a flow: what keeps its parents waiting while further calls for the flow follow."""

from __future__ import annotations

from flownb.state.flow_state import FlowState
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.wire.store.limits import JOBS_A_CHANGE


def seal_of(store: Store, flow_state: FlowState) -> str:
    """Return the member of a parent's `dependencies` that seals the parents of this flow."""
    return keys.seal(store.prefix, flow_state.flow or keys.id_of(flow_state.root))


def unseal(store: Store, flow_state: FlowState) -> None:
    """Release the parents of a flow that its seal keeps waiting."""
    seal = seal_of(store, flow_state)
    parents = [parent for parent, groups in flow_state.shape.branches() if groups]
    sealed = store.children.read_sealed(parents, seal)
    for start in range(0, len(sealed), JOBS_A_CHANGE):
        some = sealed[start : start + JOBS_A_CHANGE]
        store.jobs.retry([], token="", flow=flow_state.flow, seal=seal, unseal=some)
