"""Facts of a machine and a node where nothing is wrong, to spoil one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ciris_mesh.doctor.checks import Finding, examine
from ciris_mesh.doctor.facts import (
    DatabaseFacts,
    DiskFacts,
    Facts,
    NodeFacts,
    ReticulumFacts,
    Word,
)
from ciris_mesh.runtime.clock import BUILD_DATE_MS
from ciris_mesh.runtime.timesource import TimeFacts

CLOCK = TimeFacts(
    BUILD_DATE_MS, kernel_synced=True, timesync_flag=True, rtc_ms=None, boot_id="b", boot_s=60.0
)

INTERFACE: dict[str, Any] = {
    "name": "RNodeInterface[roof]", "medium": "radio", "online": True, "bitrate_bps": 3125,
    "rx_bytes": 500, "tx_bytes": 900, "silent_s": 30.0,
}  # fmt: skip
KIND: dict[str, Any] = {
    "kind": "key", "staleness": "in_sync", "missing": 0, "confirmed_s": 20.0, "fresh": True,
}  # fmt: skip
PEER: dict[str, Any] = {
    "key_id": "bob-abcdefghijklmnop", "alias": "bob", "address": "ab" * 16, "state": "connected",
    "medium": "radio", "reason": "", "last_heard_s": 1.0, "fresh": True, "missing": None,
    "rounds": {"completed": 3}, "kinds": [KIND], "lacks": [], "skew_days": 0,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "schema": 1, "version": "0.1.0", "key_id": "alice-abcdefghijklmnop", "address": "cd" * 16,
    "fingerprint": "ef" * 32, "uptime_s": 90_000.0, "clock": "trusted", "health": [],
    "peers": [PEER], "candidates": [], "kinds": [], "deferred": 0, "first_contact": 0,
    "refused_remembered": 0, "outcomes": [], "interfaces": [INTERFACE], "drops": {},
    "rss_bytes": 50_000_000, "clock_source": "ntp", "written_bytes": 90_000,
}  # fmt: skip
RADIO_BUDGET: dict[str, Any] = {
    "name": "RNodeInterface[roof]", "online": True, "duty": "1%", "counted": True,
    "limit_s": 36.0, "used_s": 12.0, "own_s": 10.0, "forwarded_s": 1.0, "reticulum_s": 1.0,
    "handed_s": 0.0, "free_s": 16.0, "owed_records": 0, "owed_bytes": 0, "owed_airtime_s": 0.0,
    "drain_h": 0.0,
}  # fmt: skip
BUDGET: dict[str, Any] = {
    "schema": 1, "health": [], "advice": [], "quiet": "", "interfaces": [RADIO_BUDGET],
    "owed": [], "counts": {},
}  # fmt: skip

HEALTHY = Facts(
    version="0.1.0",
    user="pi",
    home="/srv/node/.ciris-mesh",
    home_problem="",
    config_problem="",
    warnings=(),
    files=(),
    clock=CLOCK,
    clock_source="ntp",
    disk=DiskFacts("/srv/node", free_bytes=10**10, total_bytes=3 * 10**10, free_inodes=10**6),
    database=DatabaseFacts("/srv/node/directory.db", exists=True, size_bytes=10**6),
    reticulum=ReticulumFacts(config="/srv/node/.reticulum/config", version="1.5.7"),
    node=NodeFacts(pid=7, status=STATUS, budget=BUDGET),
)


def spoiled(facts: Facts = HEALTHY, **members: Any) -> Facts:
    """The same with other members."""
    return replace(facts, **members)


def with_status(**members: Any) -> Facts:
    """A node that says this of itself instead."""
    return spoiled(node=NodeFacts(pid=7, status={**STATUS, **members}, budget=BUDGET))


def with_peer(**members: Any) -> Facts:
    """Its one peer is like this instead."""
    return with_status(peers=[{**PEER, **members}])


def complaints(facts: Facts) -> dict[str, Finding]:
    """Name -> what fails or warns. Two of one name would hide one: there are none in tests."""
    return {each.name: each for each in examine(facts) if each.word in (Word.FAIL, Word.WARN)}
