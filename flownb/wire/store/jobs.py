"""Stored jobs: add, read, update, cancel, retry and remove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flownb.errors import Cancelled
from flownb.wire import codec, keys
from flownb.wire.amounts import Amounts, of_rows, of_runs
from flownb.wire.job_rows import DeduplicatedRow, FieldRow, FlowRecord, JobRow, ParentRow
from flownb.wire.lease_records import OwnRun
from flownb.wire.records import JobLine, JobRecord
from flownb.wire.requests import Removal, Retry
from flownb.wire.server_errors import server_errors
from flownb.wire.store.job_records import ALL_FIELDS, LINE_FIELDS, lines_of, record_of
from flownb.wire.store.limits import (
    IDS_A_READ,
    JOB_LINES_A_READ,
    JOBS_A_CHANGE,
    MOST_JOBS_A_CALL,
    VALUE_BYTES_A_READ,
    VALUES_A_READ,
    check_size,
    in_pieces,
)
from flownb.wire.store.one_ahead import one_ahead
from flownb.wire.store.server import Server


class PartOfRows(NamedTuple):
    """What earlier runs of a many-row job have left."""

    part: str | None  #: what its rows have come to
    dead: Mapping[int, int]  #: rows that are given up, by position -> workers that died while the row ran
    died: bool  #: it is known which of the others have had workers die
    spent: Mapping[int, Amounts]  #: by each of them
    spent_by_row: Mapping[int, Amounts]  #: by rows that have told it, over all of their runs


class Jobs:
    """Jobs by their keys."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def add(
        self,
        queues: Sequence[str],
        *,
        jobs: Sequence[JobRow],
        opts: Sequence[str],
        parents: Sequence[ParentRow],
        record: FlowRecord | None = None,
        seal: str | None = None,
        unseal: Sequence[str] = (),
        fields: Sequence[FieldRow] = (),
        bullmq: bool = False,
        fresh: int = 0,
        own_run: OwnRun | None = None,
    ) -> tuple[int, list[str]]:
        """Store jobs; return how many are new, and the ids that were there. See ``lua/transitions/add_jobs.lua``.

        Raises `JobExists` where one of the `fresh` first jobs is another flow's, `Overtaken` where the name of the
        record means something else than the caller has seen.
        """
        check_size(jobs, MOST_JOBS_A_CALL)
        reply = self._server.call(
            "add_jobs",
            queues,
            jobs=jobs,
            opts=opts,
            parents=parents,
            record=record and record.packed(),
            seal=seal,
            unseal=unseal,
            fields=fields,
            bullmq=bullmq,
            fresh=fresh,
            own_run=own_run and own_run.packed(),
        )
        return reply["added"], reply["existing"]

    def add_siblings(
        self, base: str, job: str, *, jobs: Sequence[JobRow], opts: str, piece: int, packed: bytes
    ) -> int:
        """Store jobs of the queue `base` below each parent of a running `job`, as this `piece` of its children.

        Return how many are new. See ``lua/transitions/add_siblings.lua``.
        """
        check_size(jobs, MOST_JOBS_A_CALL)
        about = {"job": job, "jobs": jobs, "opts": [opts], "piece": str(piece), "packed": packed}
        added: int = self._server.call("add_siblings", [base], **about)["added"]
        return added

    def add_deduplicated(
        self, base: str, jobs: Sequence[DeduplicatedRow], *, opts: Sequence[str]
    ) -> list[str]:
        """Store jobs with what each says of its deduplication; return the ids of those that stand for them."""
        check_size(jobs, MOST_JOBS_A_CALL)
        ids: list[str] = self._server.call("add_deduplicated_jobs", [base], jobs=jobs, opts=opts)["ids"]
        return ids

    # ---- reads --------------------------------------------------------------------------------------

    def read(self, jobs: Sequence[str], fields: Sequence[str] = ALL_FIELDS) -> list[JobRecord | None]:
        """Read jobs with their states; None for one that is not there."""
        records: list[JobRecord | None] = []
        for some in in_pieces(jobs):
            reply = self._server.call("read_jobs", [keys.base_of(some[0])], jobs=some, fields=fields)
            for key, found in zip(some, reply["jobs"], strict=True):
                records.append(
                    record_of(key, found[0], dict(zip(fields, found[1], strict=True))) if found else None
                )
        return records

    def read_lines(self, jobs: Sequence[str]) -> list[JobLine | None]:
        """Read what a table shows of jobs; None for one that is not there."""

        def read(some: Sequence[str]) -> list[Any]:
            found: list[Any] = self._server.call(
                "read_jobs", [keys.base_of(some[0])], jobs=some, fields=LINE_FIELDS
            )["jobs"]
            return found

        pieces = list(in_pieces(jobs, JOB_LINES_A_READ))
        lines: list[JobLine | None] = []
        for some, found in zip(pieces, one_ahead(read, pieces), strict=True):
            lines += lines_of(some, found)
        return lines

    def read_returnvalues(self, jobs: Sequence[str]) -> list[str | None]:
        """Return the JSON texts that completed jobs returned, None for any other job."""
        values: list[str | None] = []
        while len(values) < len(jobs):
            some = jobs[len(values) : len(values) + VALUES_A_READ]
            reply = self._server.call(
                "read_returnvalues", [keys.base_of(some[0])], jobs=some, bytes=VALUE_BYTES_A_READ
            )
            values += [None if text is False else text for text in reply["values"]]
        return values

    def read_part(self, job: str) -> PartOfRows:
        """Return what earlier runs of a many-row job have left."""
        with server_errors():
            found: Any = self._server.client.hmget(job, "part", "dead", "died", "spent", "rspent")
        part, dead, died, spent, by_row = map(codec.text_or_none, found)
        pairs = (entry.partition(":") for entry in (dead or "").split())
        return PartOfRows(
            part,
            {int(row): int(deaths) for row, _, deaths in pairs},
            bool(died),
            of_runs(spent),
            of_rows(by_row),
        )

    def read_logs(self, job: str, start: int = 0, end: int = -1) -> list[str]:
        with server_errors():
            found: Any = self._server.client.lrange(keys.part(job, "logs"), start, end)
        return [codec.text(row) for row in found]

    def read_finished(self, job: str) -> str | None:
        """Return when a job ended (ms), as it is stored; None while it has not."""
        with server_errors():
            found: Any = self._server.client.hget(job, "finishedOn")
        return codec.text_or_none(found)

    def read_missing(self, jobs: Sequence[str]) -> list[str]:
        """Return those of these jobs that are not on the server."""
        missing: list[str] = []
        for some in in_pieces(jobs, IDS_A_READ):
            with server_errors():
                stored: Any = self._server.client.exists(*some)
            if stored == len(some):  # nearly always: one command instead of one a job
                continue
            with self._server.pipeline() as pipe:
                for key in some:
                    pipe.exists(key)
                missing += [key for key, exists in zip(some, pipe.execute(), strict=True) if not exists]
        return missing

    def stored_ids(self, base: str, ids: Sequence[str]) -> list[str]:
        """Return those of these ids under which the queue has a job."""
        with self._server.pipeline() as pipe:
            for id in ids:
                pipe.exists(keys.job_in(base, id))
            return [id for id, is_there in zip(ids, pipe.execute(), strict=True) if is_there]

    def are_cancelled(self, jobs: Sequence[str], own_run: OwnRun | None = None) -> list[bool]:
        """Say of each job whether nobody needs it any more, or it is gone, or the run that asks does not count."""
        check_size(jobs, JOBS_A_CHANGE)
        reply = self._server.call(
            "read_cancelled", [keys.base_of(jobs[0])], jobs=jobs, own_run=own_run and own_run.packed()
        )
        cancelled: list[bool] = reply["cancelled"]
        return cancelled

    # ---- changes ------------------------------------------------------------------------------------

    def update(
        self,
        base: str,
        id: str,
        field: str,
        value: str,
        keep: int | None = None,
        own_run: OwnRun | None = None,
    ) -> int | None:
        """Set a job's ``progress`` or ``data``, or add a ``log`` row; return the number of log rows.

        With `own_run`, the run whose function asks, raises JobElsewhere when that does not count any more.
        """
        run = own_run and own_run.packed()
        reply = self._server.call(
            "update_job", [base], id=id, field=field, value=value, keep=keep, own_run=run
        )
        rows: int | None = reply.get("rows")
        return rows

    def read_logs_of_each(self, jobs: Sequence[str], *, last: int | None = None) -> list[list[str]]:
        """Return the log of each job, the oldest row first; with `last` so many rows at its end."""
        logs: list[list[str]] = []
        for some in in_pieces(jobs, VALUES_A_READ):
            with self._server.pipeline() as pipe:
                for key in some:
                    pipe.lrange(keys.part(key, "logs"), -last if last else 0, -1)
                logs += ([codec.text(row) for row in rows] for rows in pipe.execute())
        return logs

    def clear_logs(self, job: str, keep: int) -> None:
        """Remove the rows of a job's log, all but the newest `keep`."""
        logs = keys.part(job, "logs")
        with server_errors():
            if keep:
                self._server.client.ltrim(logs, -keep, -1)
            else:
                self._server.client.delete(logs)

    def save_rows(
        self,
        base: str,
        id: str,
        part: str,
        *,
        done: int,
        failed: int,
        own_run: OwnRun,
        steps: Sequence[int] = (),
    ) -> None:
        """Keep what the rows of a running job have come to, and count those that the run has ended: all of them so far.

        `steps` are of the rows' steps: how many rows have done each, then how many have failed at each.

        Raises JobElsewhere when the run does not count any more, Cancelled when nobody needs the job.
        """
        reply = self._server.call(
            "save_rows", [base], id=id, part=part, rows=[done, failed, *steps], own_run=own_run.packed()
        )
        if reply.get("is_cancelled"):
            raise Cancelled("its flow was cancelled, or what it is for has failed")

    def cancel(self, jobs: Sequence[str]) -> int:
        """End those jobs that nobody needs any more and that do not run; return how many."""
        check_size(jobs, JOBS_A_CHANGE)
        reply = self._server.call("cancel_jobs", [keys.base_of(jobs[0])], jobs=jobs)
        cancelled: int = reply["cancelled"]
        return cancelled

    def retry(
        self,
        jobs: Sequence[Retry],
        *,
        token: str,
        flow: str | None = None,
        seal: str | None = None,
        unseal: Sequence[str] = (),
        base: str | None = None,
    ) -> list[str]:
        """Run failed jobs again; return an answer each. See ``lua/transitions/retry_jobs.lua``.

        The same `token` sent again changes nothing. A `flow` that was cancelled goes on; `seal` keeps parents of
        it waiting until `unseal`. `base` is a queue under the flow's prefix, where no job is named.
        """
        check_size(jobs, JOBS_A_CHANGE)
        check_size(unseal, JOBS_A_CHANGE)
        queues = [base] if base else [keys.base_of(key) for key in [*(job.key for job in jobs), *unseal]][:1]
        parts = {"jobs": jobs, "token": token, "flow": flow, "seal": seal, "unseal": unseal}
        answers: list[str] = self._server.call("retry_jobs", queues, **parts)["answers"]
        return answers

    def remove(self, base: str, removal: Removal) -> int:
        """Remove jobs with all their keys; return how many were there. Raises JobActive or JobShared."""
        check_size(removal.jobs, JOBS_A_CHANGE)
        check_size(removal.staying, JOBS_A_CHANGE)
        reply = self._server.call("remove_jobs", [base], prefix=self._server.prefix, removal=removal.packed())
        removed: int = reply["removed"]
        return removed
