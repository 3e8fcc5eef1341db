"""The same history made by BullMQ and by flownb leaves the same keys, values, scores and events.

Where they differ, docs/wire-format.md says so: ``FLOWNB_WRITE=1`` writes there what this run found.
"""

from __future__ import annotations

import os
import re

import pytest

from tests.support.peers import golden

PAGE = golden.PAGE
LISTENED = ("line", "top", "one")


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


@pytest.fixture(scope="module")
def flownb(start_peer):
    return start_peer("flownb")


@pytest.fixture
def history(stored, until):
    """Let a peer make the history; give what is stored after adding, and after working it off."""

    def make(peer, **how):
        stored.redis.flushall()
        golden.add_all(peer, **how)
        added = golden.dump(stored.redis)
        golden.work_all(peer, stored, until)
        return {
            "added": golden.without_own_fields(added),
            "worked": golden.without_own_fields(golden.worked(golden.dump(stored.redis))),
        }

    return make


def check(title, found):
    """Compare differences, each told where it is first seen, with the page's list under this title; or write it."""
    page = PAGE.read_text()
    start = page.index(title)
    listed = re.compile(r"```\n(.*?)```", re.DOTALL).search(page, start)
    first_seen = {line.partition(" ")[2]: line for line in reversed(list(found))}
    text = "".join(f"{line}\n" for line in sorted(first_seen.values()))
    if os.environ.get("FLOWNB_WRITE"):
        PAGE.write_text(page[: listed.start(1)] + text + page[listed.end(1) :])
    else:
        assert listed[1] == text


def test_bullmqs_semantics_store_what_bullmq_stores(node6, flownb, history):
    theirs, ours = history(node6), history(flownb, semantics="bullmq")

    check('`semantics="bullmq"`, worked off by flownb:', golden.differences(theirs, ours))


def test_every_difference_of_flownbs_own_semantics_is_listed(node6, flownb, history):
    theirs, ours = history(node6), history(flownb)
    for dump in (theirs, ours):
        for meaning in [*dump["added"].values(), *dump["worked"].values()]:
            if "opts" in meaning:
                meaning["opts"] = {k: v for k, v in meaning["opts"].items() if k not in ("jobId", "parent")}

    check("flownb's own semantics (", golden.differences(theirs, ours))


def test_a_node_listener_hears_the_same_of_every_job(node6, flownb, history, stored, until):
    def heard(peer, **how):
        stored.redis.flushall()
        for queue in LISTENED:
            node6.ask("listen", queue=queue)
        history(peer, **how)
        return {queue: events_of(queue) for queue in LISTENED}

    def events_of(queue):
        found = []
        until(
            lambda: (
                found.extend(node6.ask("heard", queue=queue))
                or len(found) == stored.redis.xlen(f"bull:{queue}:events")
            )
        )
        fields = [{"event": name} | (about if isinstance(about, dict) else {}) for name, about in found]
        return golden.by_job(list(map(golden.plain_event, fields)))

    theirs = heard(node6)

    assert heard(flownb, semantics="bullmq") == theirs
    assert (
        theirs["one"]["id-leaf"][-1]
        == 'completed prev="active" returnvalue={"of": "leaf", "list": [], "half": 0.5}'
    )
