"""What flownb asks of the server, one part a subject: ``store.queues.pause(base)``. Records in, records out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flownb.wire.store.accounts import Accounts
from flownb.wire.store.batch_rows import BatchRows
from flownb.wire.store.children import Children
from flownb.wire.store.declared import DeclaredChildren
from flownb.wire.store.due_removals import DueRemovals
from flownb.wire.store.flows import Flows
from flownb.wire.store.job_facts import JobFactsReader
from flownb.wire.store.job_moves import JobMoves
from flownb.wire.store.jobs import Jobs
from flownb.wire.store.kernel_code import KernelCodes
from flownb.wire.store.large_inputs import LargeInputs
from flownb.wire.store.large_values import LargeValues
from flownb.wire.store.leases import Leases
from flownb.wire.store.missed_writes import MissedWrites
from flownb.wire.store.parent_links import ParentLinks
from flownb.wire.store.queue_facts import QueueFactsReader
from flownb.wire.store.queue_settings import QueueSettings
from flownb.wire.store.queues import Queues
from flownb.wire.store.repair import Repair
from flownb.wire.store.schedules import Schedules
from flownb.wire.store.server import Server
from flownb.wire.store.shared_jobs import SharedJobs
from flownb.wire.store.throughput import ThroughputReader

if TYPE_CHECKING:
    from redis import Redis


class Store:
    """One server under one prefix. Safe to share between threads, as the client is."""

    def __init__(self, client: Redis, prefix: str, *, read_only: bool = False) -> None:
        server = self.server = Server(client, prefix, read_only=read_only)
        # what is stored
        self.jobs = Jobs(server)
        self.moves = JobMoves(server)
        self.leases = Leases(server)
        self.flows = Flows(server)
        self.queues = Queues(server)
        self.settings = QueueSettings(server)
        self.schedules = Schedules(server)
        self.large_values = LargeValues(server)
        self.large_inputs = LargeInputs(server)
        self.children = Children(server, self.large_values)
        self.declared = DeclaredChildren(server)
        self.batch_rows = BatchRows(server)
        self.accounts = Accounts(server)
        self.kernels = KernelCodes(server)
        # what follows from ends, and what other programs leave out
        self.missed_writes = MissedWrites(server)
        self.shared = SharedJobs(server, self.missed_writes)
        self.due_removals = DueRemovals(server)
        # what is asked about the state of things, and put right
        self.job_facts = JobFactsReader(server)
        self.parent_links = ParentLinks(server, self.job_facts, self.shared, self.children)
        self.queue_facts = QueueFactsReader(server, self.queues, self.children, self.declared)
        self.throughput = ThroughputReader(server)
        self.repair = Repair(server)

    @property
    def prefix(self) -> str:
        return self.server.prefix

    @property
    def read_only(self) -> bool:
        return self.server.read_only

    def close(self) -> None:
        """Close the client and its connections."""
        self.server.client.close()
