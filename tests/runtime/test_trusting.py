"""What the configuration trusts is what admission is told, all of it."""

from __future__ import annotations

from dataclasses import fields

from ciris_mesh.records.envelope import SIGNERS_MAX
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.config import TrustSettings, parse_config
from ciris_mesh.runtime.options import PARTNER_STEWARDS_MAX
from ciris_mesh.runtime.trusting import trust_of

WRITTEN = f"""
[trust]
pinned = registry-eu {"11" * 32}
roots = root-1 {"22" * 32}
root_stewards = root-1, root-2
partner_stewards = p1, p2, p3
partner_threshold = 2
hardware_types = tpm, strongbox
vouchers = g1, g2
"""


def test_no_threshold_can_be_set_that_no_envelope_could_reach() -> None:
    assert PARTNER_STEWARDS_MAX == SIGNERS_MAX


def test_nothing_is_trusted_by_default() -> None:
    assert trust_of(parse_config(b"").trust) == Trust(pinned={}, roots={})


def test_every_setting_reaches_the_rules() -> None:
    # Whose announces count is told to the runtime, and is nothing the rules may know.
    told = {it.name for it in fields(TrustSettings)} - {"registries"}
    assert told == {it.name for it in fields(Trust)}
    assert trust_of(parse_config(WRITTEN.encode()).trust) == Trust(
        pinned={"registry-eu": b"\x11" * 32},
        roots={"root-1": b"\x22" * 32},
        root_stewards=frozenset({"root-1", "root-2"}),
        partner_stewards=frozenset({"p1", "p2", "p3"}),
        partner_threshold=2,
        hardware_types=frozenset({"tpm", "strongbox"}),
        vouchers=frozenset({"g1", "g2"}),
    )
