"""Upstream's checklist for its message types, under recognisable names."""

from __future__ import annotations

import json

import pytest

from ciris_mesh.errors import DecodeError
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.wire.codec import decode, encode
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, ReplicationMessage, Summary

TOKENS = (
    "key",
    "attestation",
    "revocation",
    "identity_occurrence",
    "family",
    "community",
    "identity_occurrence_revocation",
    "family_membership_revocation",
    "community_membership_revocation",
    "location_proof",
    "organization",
    "org_membership",
    "partner_record",
)
IDS = (bytes(range(32)), bytes(range(32, 64)))


@pytest.mark.parametrize(
    ("message", "members"),
    [
        (
            Summary(EnvelopeKind.FAMILY, (EnvelopeRef(IDS[0], 0), EnvelopeRef(IDS[1], 2**64 - 1))),
            {
                "type": "summary",
                "kind": "family",
                "refs": [
                    {"envelope_hash": list(IDS[0]), "seq": 0},
                    {"envelope_hash": list(IDS[1]), "seq": 2**64 - 1},
                ],
            },
        ),
        (
            Diff(EnvelopeKind.REVOCATION, IDS),
            {"type": "diff", "kind": "revocation", "want": [list(i) for i in IDS]},
        ),
        (
            Fetch(EnvelopeKind.COMMUNITY, IDS[:1]),
            {"type": "fetch", "kind": "community", "want": [list(IDS[0])]},
        ),
        (
            Deliver(EnvelopeKind.ORGANIZATION, (b"{}", b"")),
            {"type": "deliver", "kind": "organization", "envelopes": [[123, 125], []]},
        ),
    ],
    ids=["summary", "diff", "fetch", "deliver"],
)
def test_each_message_round_trips_through_json(
    message: ReplicationMessage, members: dict[str, object]
) -> None:
    body = encode(message)
    assert json.loads(body) == members
    assert list(json.loads(body)) == list(members), "member order is part of the bytes"
    assert decode(body) == message


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="unknown type 'hostile'"):
        decode(b'{"type":"hostile","x":1}')


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"type":"summary"', b"\x00"])
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="malformed message"):
        decode(body)


def test_the_kind_tokens_are_upstreams_in_their_order() -> None:
    assert tuple(kind.value for kind in EnvelopeKind) == TOKENS
    assert tuple(kind.value for kind in KINDS) == TOKENS
    assert [row.number for row in KINDS.values()] == list(range(1, 14))


def test_the_kind_tokens_are_unique_and_round_trip() -> None:
    assert len(set(TOKENS)) == 13
    for token in TOKENS:
        message = decode(f'{{"type":"diff","kind":"{token}","want":[]}}'.encode())
        assert message == Diff(EnvelopeKind(token), ())


@pytest.mark.parametrize(
    "token", ["transport_destination", "accord_quorum_evidence", "Key", "", "KEY"]
)
def test_later_and_misspelt_kinds_are_refused(token: str) -> None:
    with pytest.raises(DecodeError, match="unknown kind"):
        decode(f'{{"type":"diff","kind":"{token}","want":[]}}'.encode())


def test_the_order_of_refs_wants_and_envelopes_is_kept() -> None:
    backwards = Summary(EnvelopeKind.KEY, tuple(EnvelopeRef(i, 1) for i in reversed(IDS)))
    assert decode(encode(backwards)) == backwards
    twice = Diff(EnvelopeKind.KEY, (IDS[1], IDS[0], IDS[1]))
    assert decode(encode(twice)) == twice
