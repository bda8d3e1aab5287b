"""Proposals: what goes round is what is signed, and nothing else passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import proposal as proposals
from ciris_mesh.records.authoring import draft
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.proposal import Proposal, decode, encode, envelope, merge, propose, sign
from support.keys import alice, bob, carol, lookup, nobody, steward
from support.records import AT_MS, columns
from support.trust import renamed

COSIGNED = [
    kind
    for kind, spec in KINDS.items()
    if spec.style in (SignatureStyle.AUTHORITY, SignatureStyle.STEWARDS)
]
KEYS = (alice(), bob(), carol())
IDS = sorted(key.key_id for key in KEYS)


def proposal(kind: EnvelopeKind, *, threshold: int = 2, invited: tuple[str, ...] = ()) -> Proposal:
    prepared = draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    return propose(prepared, threshold=threshold, invited=invited)


@cache
def signed_by(kind: EnvelopeKind, *names: str) -> Proposal:
    known = {key.key_id: key for key in (*KEYS, steward())}
    result = proposal(kind)
    for name in names:
        result = sign(result, known[name])
    return result


def edited(source: Proposal, change: Callable[[dict[str, Any]], None]) -> bytes:
    members = json.loads(encode(source))
    change(members)
    return json.dumps(members).encode()


@pytest.mark.parametrize("kind", COSIGNED)
def test_a_file_reads_back_as_it_was_written(kind: EnvelopeKind) -> None:
    for source in (proposal(kind, invited=tuple(IDS)), signed_by(kind, *IDS)):
        assert decode(encode(source)) == source


@pytest.mark.parametrize("kind", COSIGNED)
def test_copies_signed_apart_make_a_record_that_verifies(kind: EnvelopeKind) -> None:
    copies = [decode(encode(signed_by(kind, name))) for name in IDS]
    merged = merge(copies)
    assert merged.signers == tuple(IDS)
    result = verify_bytes(kind, envelope(merged), lookup)
    assert result.verdict.outcome is Outcome.ADMITTED, result
    assert result.signers == tuple(IDS)
    if kind is EnvelopeKind.PARTNER_RECORD:
        assert parse_envelope(kind, envelope(merged)).wrapper["threshold"] == _number(2)


def _number(value: int) -> Any:
    from ciris_mesh.records.jsontext import JsonNumber

    return JsonNumber(str(value))


@given(st.permutations(IDS), st.integers(1, 3))
def test_the_order_of_copies_does_not_matter(order: list[str], count: int) -> None:
    kind = EnvelopeKind.FAMILY
    copies = [signed_by(kind, name) for name in order[:count]]
    merged = merge([*copies, *copies])
    assert merged.signers == tuple(sorted(order[:count]))
    assert proposals.standing(merged, lookup) == tuple(sorted(order[:count]))


def test_a_key_under_two_names_counts_once() -> None:
    twin = renamed("alice", "ecila")
    source = sign(signed_by(EnvelopeKind.FAMILY, alice().key_id), twin)
    known = {alice().key_id: alice().public, twin.key_id: twin.public}
    assert len(source.claims) == 2
    assert proposals.standing(source, known.get) == (alice().key_id,)


@pytest.mark.parametrize("kind", [kind for kind in EnvelopeKind if kind not in COSIGNED])
def test_kinds_with_one_signer_have_no_proposals(kind: EnvelopeKind) -> None:
    prepared = draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    with pytest.raises(MalformedRecord):
        propose(prepared, threshold=2)


@pytest.mark.parametrize(
    ("threshold", "invited"),
    [(0, ()), (17, ()), (-1, ()), (4, tuple(IDS)), (1, tuple(f"k{n}" for n in range(65)))],
)
def test_thresholds_nobody_can_reach(threshold: int, invited: tuple[str, ...]) -> None:
    with pytest.raises(MalformedRecord, match="value_not_allowed"):
        proposal(EnvelopeKind.FAMILY, threshold=threshold, invited=invited)


def test_too_many_signatures_make_no_record() -> None:
    claim = signed_by(EnvelopeKind.FAMILY, alice().key_id).claims[0]
    source = proposal(EnvelopeKind.FAMILY)
    copies = [
        Proposal(source.draft, 2, (), (type(claim)(f"key-{number:02}", claim.signature),))
        for number in range(17)
    ]
    with pytest.raises(MalformedRecord):
        merge(copies)


def _other_signed_bytes(members: dict[str, Any]) -> None:
    members["signed_bytes_hex"] = "00" + members["signed_bytes_hex"][2:]


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "another member count": lambda it: it.pop("invited"),
    "a member more": lambda it: it.update(more=1),
    "another version": lambda it: it.update(proposal=2),
    "another kind": lambda it: it.update(kind="community"),
    "no kind": lambda it: it.update(kind="nothing"),
    "a kind with one signer": lambda it: it.update(kind="key"),
    "other bytes to sign": _other_signed_bytes,
    "no bytes to sign": lambda it: it.update(signed_bytes_hex=""),
    "a column changed": lambda it: it["record"].update(family_name="Other"),
    "a column more": lambda it: it["record"].update(more=1),
    "a column less": lambda it: it["record"].pop("members"),
    "a row hash": lambda it: it["record"].update(persist_row_hash="ab" * 32),
    "a record that is none": lambda it: it.update(record=[]),
    "threshold 0": lambda it: it.update(threshold=0),
    "threshold text": lambda it: it.update(threshold="2"),
    "threshold 17": lambda it: it.update(threshold=17),
    "invited unsorted": lambda it: it.update(invited=["b", "a"]),
    "invited twice": lambda it: it.update(invited=["a", "a"]),
    "invited of numbers": lambda it: it.update(invited=[1]),
    "invited text": lambda it: it.update(invited="a"),
    "fewer asked than needed": lambda it: it.update(invited=["a"]),
    "signatures text": lambda it: it.update(signatures="x"),
    "a signature twice": lambda it: it["signatures"].append(it["signatures"][-1]),
    "signatures unsorted": lambda it: it["signatures"].reverse(),
    "a signature without its half": lambda it: it["signatures"][0].pop("mldsa65_signature_base64"),
    "half a signature cut short": lambda it: it["signatures"][0].update(
        ed25519_signature_base64="AAAA"
    ),
    "half a signature of another type": lambda it: it["signatures"][0].update(
        mldsa65_signature_base64=7
    ),
    "a signature with no base64": lambda it: it["signatures"][0].update(
        ed25519_signature_base64="!"
    ),
    "a signature of nobody": lambda it: it["signatures"][0].update(key_id=7),
    "a signature with more": lambda it: it["signatures"][0].update(more=1),
    "seventeen signatures": lambda it: it.update(signatures=it["signatures"] * 9),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_altered_file_is_refused(what: str) -> None:
    def change(members: dict[str, Any]) -> None:
        TAMPERED[what](members)

    source = signed_by(EnvelopeKind.FAMILY, *IDS[:2])
    assert decode(edited(source, lambda _: None)) == source
    with pytest.raises(MalformedRecord):
        decode(edited(source, change))


def test_column_and_signed_bytes_changed_together_lose_the_signatures() -> None:
    other = draft(
        EnvelopeKind.FAMILY,
        {**columns(EnvelopeKind.FAMILY, alice().key_id, 1), "family_name": "Other"},
        alice(),
        at_ms=AT_MS,
    )

    def change(members: dict[str, Any]) -> None:
        members["record"]["family_name"] = "Other"
        members["signed_bytes_hex"] = other.message.hex()

    source = decode(edited(signed_by(EnvelopeKind.FAMILY, *IDS[:2]), change))
    reasons = proposals.signature_reasons(source, lookup)
    assert set(reasons.values()) == {Reason.CLASSICAL_SIGNATURE_INVALID}
    assert proposals.standing(source, lookup) == ()


@pytest.mark.parametrize("member", ["license_id", "revision", "record_kind", "status"])
def test_a_partner_record_whose_envelope_does_not_mirror_it_is_refused(member: str) -> None:
    def change(members: dict[str, Any]) -> None:
        signed = members["record"]["signed_envelope"]
        signed[member] = 7 if member == "revision" else "other"
        text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        members["signed_bytes_hex"] = text.encode().hex()

    with pytest.raises(MalformedRecord, match="columns_not_signed"):
        decode(edited(proposal(EnvelopeKind.PARTNER_RECORD), change))


def test_who_signed_and_whether_it_stands() -> None:
    source = proposal(EnvelopeKind.FAMILY, invited=(alice().key_id, bob().key_id, "stranger-x"))
    source = sign(sign(sign(source, alice()), bob()), carol())
    stranger = type(source.claims[0])("stranger-x", source.claims[0].signature)
    swapped = [
        type(claim)(claim.key_id, source.claims[0].signature)
        if claim.key_id == bob().key_id
        else claim
        for claim in source.claims
    ]
    source = Proposal(source.draft, 2, source.invited, (*swapped, stranger))
    assert proposals.signature_reasons(source, lookup) == {
        alice().key_id: Reason.NONE,
        bob().key_id: Reason.CLASSICAL_SIGNATURE_INVALID,
        carol().key_id: Reason.SIGNER_NOT_ALLOWED,
        "stranger-x": Reason.SIGNER_UNKNOWN,
    }
    assert set(proposals.signature_reasons(signed_by(EnvelopeKind.FAMILY, *IDS), nobody)) == {*IDS}


def test_signing_again_replaces_the_signature() -> None:
    source = signed_by(EnvelopeKind.FAMILY, *IDS)
    again = sign(source, alice())
    assert again.signers == source.signers
    assert again.claims != source.claims  # signing is hedged


@pytest.mark.parametrize("threshold", [1, 3])
def test_copies_of_other_proposals_do_not_merge(threshold: int) -> None:
    first = proposal(EnvelopeKind.FAMILY)
    with pytest.raises(MalformedRecord, match="another proposal"):
        merge([first, proposal(EnvelopeKind.FAMILY, threshold=threshold)])
    with pytest.raises(MalformedRecord, match="another proposal"):
        merge([first, proposal(EnvelopeKind.COMMUNITY)])
    with pytest.raises(MalformedRecord, match="another proposal"):
        merge([first, proposal(EnvelopeKind.FAMILY, invited=tuple(IDS))])


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'"x"', b"\xff", b"[" * 5000])
def test_what_is_no_proposal_at_all(data: bytes) -> None:
    with pytest.raises(MalformedRecord):
        decode(data)


def test_a_file_over_the_limit_is_not_read() -> None:
    with pytest.raises(MalformedRecord, match="too_large"):
        decode(b" " * (proposals.FILE_BYTES_MAX + 1))


@given(st.data())
def test_no_byte_can_be_turned_unnoticed(data: st.DataObject) -> None:
    source = signed_by(EnvelopeKind.FAMILY, *IDS[:2])
    raw = bytearray(encode(source))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode(bytes(raw))
    except MalformedRecord:
        return
    stands = len(proposals.standing(found, lookup)) >= found.threshold
    same_draft = found.draft == source.draft
    assert same_draft or not stands
    if same_draft and stands:  # only what no signature covers, or nothing that has a meaning
        assert found.signers == source.signers
        assert found.claims == source.claims
