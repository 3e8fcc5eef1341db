"""Shows which servers are fit, judged by the INFO they give."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flownb.connection.checks import eviction_reason, version_reason


@pytest.mark.parametrize(
    "version", ["6.2.0", "6.2.20", "7.0.15", "7.2.4", "8.2.2", "10.0.0", "255.255.255", "6.2"]
)
def test_a_server_of_6_2_or_newer_is_fit(version):
    assert version_reason({"redis_version": version}) is None


@pytest.mark.parametrize("version", ["2.8.4", "5.0.14", "6.0.16", "6.1.240"])
def test_an_older_server_is_refused_with_its_version(version):
    reason = version_reason({"redis_version": version})
    assert reason
    assert version in reason
    assert "6.2" in reason
    assert "\n" not in reason


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_server_that_may_evict_is_refused_with_the_command(policy):
    reason = eviction_reason({"maxmemory_policy": policy, "maxmemory": 0})
    assert reason
    assert policy in reason
    assert "CONFIG SET maxmemory-policy noeviction" in reason


def test_a_server_that_tells_nothing_is_taken():
    assert version_reason({}) is None
    assert version_reason({"redis_version": "unknown"}) is None
    assert eviction_reason({}) is None
    assert eviction_reason({"maxmemory_policy": "noeviction"}) is None


def test_importing_the_room_loads_no_client_library():
    code = "import sys, flownb.connection; sys.exit('redis' in sys.modules or 'valkey' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
