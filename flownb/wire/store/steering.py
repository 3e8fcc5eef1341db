"""What a person does to what is stored: hold it, cancel it, retry it, remove it. The part of `Store` for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors

if TYPE_CHECKING:
    from redis import Redis

MOST_STEERED = 100  #: jobs a call: no other client waits for long


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """One call of `Store.remove_jobs`."""

    jobs: Sequence[str]  #: keys of the jobs that go
    going: Sequence[str] = ()  #: those of their parents that go too, now or later
    keep: Sequence[tuple[str, Sequence[str]]] = field(
        default=()
    )  #: shared jobs that stay, the parents they lose
    top: str | None = None  #: the job whose other parents stay
    flow: str | None = None  #: the flow that goes as a whole
    name: str | None = None  #: its name, with its last call


class Steering:
    """Transitions that a person asks for."""

    client: Redis
    prefix: str

    def pause_flow(self, base: str, flow: str) -> None:
        """Let no worker start a job of the flow; `base` is its root's queue."""
        self._call("pause_flow", [base], flow=flow)

    def resume_flow(self, bases: Sequence[str], flow: str) -> None:
        """Let workers start jobs of the flow again; `bases` are the queues of its jobs."""
        for base in bases:
            start: int | None = 0
            while start is not None:
                start = self._call("resume_flow", [base], flow=flow, start=start).get("after")

    def cancel_flow(self, base: str, flow: str) -> str | None:
        """Let no job of the flow start any more; return how the flow has ended by now, None if it is gone."""
        ended: str | None = self._call("cancel_flow", [base], flow=flow).get("ended")
        return ended

    def cancel_jobs(self, jobs: Sequence[str]) -> int:
        """End those jobs that nobody needs any more and that do not run; return how many."""
        _check(jobs)
        base = keys.base_of(jobs[0])
        cancelled: int = self._call("cancel_jobs", [base], jobs=jobs)["cancelled"]
        return cancelled

    def read_cancelled(self, jobs: Sequence[str]) -> list[bool]:
        """Say of each job whether nobody needs it any more, or it is gone."""
        _check(jobs)
        base = keys.base_of(jobs[0])
        cancelled: list[bool] = self._call("read_cancelled", [base], jobs=jobs)["cancelled"]
        return cancelled

    def has_cancelled_jobs(self, flow: str) -> bool:
        """Say whether the flow has jobs that nobody needs any more."""
        with server_errors():
            return bool(self.client.sismember(keys.own(self.prefix, "cancelled"), flow))

    def read_bases(self, flow: str) -> list[str]:
        """Return the queues in which a flow has, or had, jobs."""
        with server_errors():
            found: Any = self.client.hkeys(keys.own(self.prefix, "counts", flow))
        bases = dict.fromkeys(codec.text(field).partition("@")[2] for field in found)
        return [base for base in bases if base]  # `paused@` names none

    def retry_jobs(
        self,
        jobs: Sequence[tuple[Any, ...]],
        *,
        token: str,
        flow: str | None = None,
        seal: str | None = None,
        unseal: Sequence[str] = (),
        base: str | None = None,
    ) -> list[str]:
        """Run failed jobs ``(key, lifo, rows)`` again; return an answer each. See ``lua/transitions/retry_jobs.lua``.

        `rows` are the places of the rows that a many-row job is to run again, None for any other job.

        The same `token` sent again changes nothing. A `flow` that was cancelled goes on; `seal` keeps parents of
        it waiting until `unseal`. `base` is a queue under the flow's prefix, where no job is named.
        """
        _check(jobs)
        _check(unseal)
        queues = [base] if base else [keys.base_of(key) for key in [*(job[0] for job in jobs), *unseal]][:1]
        parts = {"jobs": jobs, "token": token, "flow": flow, "seal": seal, "unseal": unseal}
        reply = self._call("retry_jobs", queues, **parts)
        answers: list[str] = reply["answers"]
        return answers

    def remove_jobs(self, base: str, removal: Removal) -> int:
        """Remove jobs with all their keys; return how many were there. Raises JobActive or JobShared."""
        _check(removal.jobs)
        _check(removal.keep)
        parts = {name: getattr(removal, name) for name in ("jobs", "going", "keep", "top", "flow", "name")}
        removed: int = self._call("remove_jobs", [base], prefix=self.prefix, **parts)["removed"]
        return removed

    def claim_auto_remove(self, most: int = 10) -> tuple[list[str], int]:
        """Return flows of which something is to be removed now, claimed for a minute, and the server's time in ms."""
        reply = self._call(
            "claim_auto_remove", [keys.base(self.prefix, "flownb")], prefix=self.prefix, most=most
        )
        return reply["flows"], reply["now"]

    def postpone_auto_remove(self, flow: str, due: int | None) -> None:
        """Look at a flow again at `due` (ms), or no more."""
        place = keys.own(self.prefix, "tidy")
        with server_errors():
            if due is None:
                self.client.zrem(place, flow)
            else:
                self.client.zadd(place, {flow: due}, xx=True)

    def keep_newest(self, state: str, job: str, finished: int, count: int) -> list[str]:
        """Count an ended job among those of its queue that are kept by number; return those that are too many."""
        place = self._kept(state, job)
        with server_errors():
            self.client.zadd(place, {job: finished})
            kept = [codec.text(key) for key in self.client.zrange(place, 0, -1, desc=True)]
            gone = [key for key in kept if not self.client.exists(key)]
            if gone:
                self.client.zrem(place, *gone)
        return [key for key in kept if key not in gone][count:]

    def forget_kept(self, jobs: Sequence[str]) -> None:
        """Count these jobs no more among those that are kept by number."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            for job in jobs:
                for state in ("completed", "failed"):
                    pipe.zrem(self._kept(state, job), job)
            pipe.execute()

    def _kept(self, state: str, job: str) -> str:
        return keys.own(self.prefix, f"kept:{state}", keys.base_of(job))

    def read_parents(self, jobs: Sequence[str]) -> dict[str, list[str]]:
        """Return the further parents of each shared job, nothing for other jobs."""
        found: dict[str, list[str]] = {}
        for start in range(0, len(jobs), MOST_STEERED):
            some = jobs[start : start + MOST_STEERED]
            with server_errors(), self.client.pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.hkeys(keys.own(keys.prefix_of(key), "parents", key))
                for key, parents in zip(some, pipe.execute(), strict=True):
                    found[key] = [codec.text(parent) for parent in parents]
        return found

    def read_sealed(self, parents: Sequence[str], seal: str) -> list[str]:
        """Return those parents that a seal keeps waiting."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            for key in parents:
                pipe.sismember(keys.part(key, "dependencies"), seal)
            return [key for key, sealed in zip(parents, pipe.execute(), strict=True) if sealed]

    def count_there(self, jobs: Sequence[str]) -> int:
        """Return how many of these jobs are on the server."""
        with server_errors():
            found: Any = self.client.exists(*jobs) if jobs else 0
        return int(found)

    def _call(self, script: str, queues: Sequence[str], **args: Any) -> Mapping[str, Any]:
        raise NotImplementedError


def _check(items: Sequence[Any]) -> None:
    if len(items) > MOST_STEERED:
        raise ValueError(f"{len(items):,} jobs in one call, at most {MOST_STEERED:,}")
