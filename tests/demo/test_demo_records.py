"""Sample records are real: each passes the checks every node makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.demo import records
from ciris_mesh.demo.records import ORDER, sample_columns
from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.rules.base import Trust

AT_MS = 1_795_335_302_000
ALICE = FederationKey.from_seeds("alice", b"a" * 32, b"b" * 32)
BOB = FederationKey.from_seeds("bob", b"c" * 32, b"d" * 32)


def sample_records(
    signer: FederationKey, count: int, *, at_ms: int
) -> Iterator[tuple[EnvelopeKind, bytes]]:
    own = author_key(signer, identity_ref="x", at_ms=at_ms)
    return records.sample_records(signer, count, at_ms=at_ms, key_envelope=own)


def test_every_sample_is_admitted_by_one_who_knows_the_key() -> None:
    for kind, raw in sample_records(ALICE, 26, at_ms=AT_MS):
        found = verify_bytes(kind, raw, {ALICE.key_id: ALICE.public}.get)
        assert found.verdict.outcome is Outcome.ADMITTED, (kind, found.verdict)
        assert found.signers == (ALICE.key_id,)


def test_a_directory_that_trusts_the_signers_admits_all_in_this_order() -> None:
    names = frozenset({ALICE.key_id, BOB.key_id})
    trust = Trust(root_stewards=names, partner_stewards=names, partner_threshold=1)
    directory = MemoryDirectory(trust=trust)
    for signer in (ALICE, BOB):
        for kind, raw in sample_records(signer, 40, at_ms=AT_MS):
            verdict = directory.admit(kind, raw, OWN, now_ms=AT_MS)
            assert verdict.outcome is Outcome.ADMITTED, (kind, verdict)


def test_thirteen_records_are_one_of_each_kind_in_wire_order() -> None:
    assert tuple(kind for kind, _ in sample_records(ALICE, 13, at_ms=AT_MS)) == ORDER


@pytest.mark.parametrize("count", [0, 1, 13, 40])
def test_no_two_are_the_same_and_there_is_one_key_record(count: int) -> None:
    both = [
        (kind, parse_envelope(kind, raw))
        for signer in (ALICE, BOB)
        for kind, raw in sample_records(signer, count, at_ms=AT_MS)
    ]
    assert len({(kind, envelope.envelope_id) for kind, envelope in both}) == 2 * count
    assert [kind for kind, _ in both].count(EnvelopeKind.KEY) == 2 * min(count, 1)
    assert all(envelope.seq <= AT_MS for _, envelope in both)


def test_the_key_record_has_no_columns_of_its_own_here() -> None:
    with pytest.raises(KeyError):
        sample_columns(ALICE, EnvelopeKind.KEY, 0, at_ms=AT_MS)
