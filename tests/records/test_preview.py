"""The first half of a removal: what is in it, what it proves, and what it never is.

`pytest tests/records/test_preview.py --rewrite -n 0` writes the golden file anew.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.authoring import author
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import encode_base64, parse_envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.jsontext import parse_json
from ciris_mesh.records.kinds import KINDS, REMOVALS, EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.preview import first_half, read_first_half
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh import Preview
from ciris_mesh.wire.transcode import decode_batch, encode_batch
from support import crpl
from support.keys import alice, bob
from support.records import AT_MS, sample

K = EnvelopeKind
FILE = "mesh_previews.json"
KINDS_OF = sorted(REMOVALS, key=lambda kind: KINDS[kind].number)


def keys(key_id: str) -> HybridPublicKey | None:
    return {one.key_id: one.public for one in (alice(), bob())}.get(key_id)


def reason_of(kind: EnvelopeKind, raw: bytes) -> Reason:
    return read_first_half(kind, raw, keys)[1]


def changed(raw: bytes, *path: str, to: Any) -> bytes:
    wrapper: Any = parse_json(raw)
    at = wrapper
    for name in path[:-1]:
        at = at[int(name)] if isinstance(at, list) else at[name]
    at[path[-1]] = to
    return jcs(wrapper)


@pytest.mark.parametrize("kind", KINDS_OF)
def test_a_removal_fits_one_packet_without_its_post_quantum_half(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice())
    half = first_half(kind, raw)
    preview = Preview(parse_envelope(kind, raw).envelope_id, encode_batch([(kind, half)]))
    assert len(wrap(preview)) < 220
    assert try_unwrap(wrap(preview)).message == preview  # type: ignore[union-attr]
    assert decode_batch(preview.batch) == ((kind, half),)


@pytest.mark.parametrize("kind", KINDS_OF)
def test_its_classical_half_stands_and_it_is_no_record(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice())
    half = first_half(kind, raw)
    envelope, reason = read_first_half(kind, half, keys)
    assert reason is Reason.NONE
    assert envelope.signers == (alice().key_id,)
    assert verify_bytes(kind, half, keys).verdict.outcome is Outcome.REFUSED
    assert verify_bytes(kind, half, keys).verdict.reason is Reason.PQC_SIGNATURE_MISSING
    if kind is not K.REVOCATION:
        assert envelope.envelope_id == parse_envelope(kind, raw).envelope_id


@pytest.mark.parametrize("kind", KINDS_OF)
def test_every_column_is_under_the_classical_half(kind: EnvelopeKind) -> None:
    half = first_half(kind, sample(kind, alice()))
    field = KINDS[kind].wrapper_field
    for column in parse_envelope(kind, half).record:
        if column in ("persist_row_hash", "pqc_completed_at"):
            continue
        try:
            found = reason_of(kind, changed(half, field, column, to="x-changed"))
        except MalformedRecord:
            continue
        assert found is not Reason.NONE, column


@pytest.mark.parametrize("kind", KINDS_OF)
def test_a_signature_of_somebody_else_does_not_stand(kind: EnvelopeKind) -> None:
    half = first_half(kind, sample(kind, alice()))
    wrong = encode_base64(bytes(64))
    if kind is K.REVOCATION:
        forged = changed(half, "revocation", "scrub_signature_classical", to=wrong)
    else:
        forged = changed(half, "authority", "0", "ed25519_signature_base64", to=wrong)
    assert reason_of(kind, forged) is Reason.CLASSICAL_SIGNATURE_INVALID
    unknown = read_first_half(kind, half, lambda _key_id: None)
    assert unknown[1] is Reason.SIGNER_UNKNOWN


def test_a_whole_record_is_no_preview() -> None:
    for kind in KINDS_OF:
        assert reason_of(kind, sample(kind, alice())) is Reason.NOT_ONE_SPELLING


@pytest.mark.parametrize("kind", [kind for kind in K if kind not in REMOVALS])
def test_nothing_but_removals_goes_ahead(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice())
    with pytest.raises(MalformedRecord):
        first_half(kind, raw)
    assert reason_of(kind, raw) is not Reason.NONE


def test_several_signers_go_ahead_together() -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    one, two = (
        json.loads(author(kind, _columns(), signer, at_ms=AT_MS)) for signer in (alice(), bob())
    )
    claims = sorted(one["authority"] + two["authority"], key=lambda claim: str(claim["key_id"]))
    half = first_half(kind, json.dumps({**one, "authority": claims}).encode())
    assert len(parse_envelope(kind, half).claims) == 2
    assert reason_of(kind, half) is Reason.NONE


def _columns() -> dict[str, Any]:
    return {
        "identity_key_id": alice().key_id,
        "occurrence_key_id": "laptop-1",
        "revoked_at": "2026-05-28T20:26:40Z",
        "effective_at": "2026-05-28T20:26:40Z",
    }


# --- golden bytes ---------------------------------------------------------------------------------


def golden_file() -> dict[str, Any]:
    cases = []
    for kind in KINDS_OF:
        raw = sample(kind, alice())
        half = first_half(kind, raw)
        preview = Preview(parse_envelope(kind, raw).envelope_id, encode_batch([(kind, half)]))
        cases.append(
            {
                "kind": kind.value,
                "record": raw.decode(),
                "first_half": half.decode(),
                "envelope_id": preview.envelope_id.hex(),
                "frame_hex": wrap(preview).hex(),
            }
        )
    return {
        "provenance": "Made by ciris_mesh (tests/records/test_preview.py --rewrite). A removal as"
        " stored, what goes ahead of it, and the whole 0x81 frame that carries that.",
        "ed25519_public_hex": alice().public.ed25519.hex(),
        "mldsa65_public_hex": alice().public.mldsa65.hex(),
        "key_id": alice().key_id,
        "cases": cases,
    }


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Any:
    path = crpl.VECTORS / FILE
    if request.config.getoption("--rewrite"):
        path.write_text(json.dumps(golden_file(), indent=1) + "\n")
    return json.loads(path.read_bytes())


def test_the_golden_previews_are_made_and_read_byte_for_byte(golden: Any) -> None:
    public = HybridPublicKey(
        bytes.fromhex(golden["ed25519_public_hex"]), bytes.fromhex(golden["mldsa65_public_hex"])
    )
    assert [case["kind"] for case in golden["cases"]] == [kind.value for kind in KINDS_OF]
    for case in golden["cases"]:
        kind, raw = K(case["kind"]), case["record"].encode()
        half = case["first_half"].encode()
        assert first_half(kind, raw) == half
        unwrapped = try_unwrap(bytes.fromhex(case["frame_hex"]))
        assert unwrapped is not None
        message = unwrapped.message
        assert isinstance(message, Preview)
        assert message.envelope_id.hex() == case["envelope_id"]
        assert parse_envelope(kind, raw).envelope_id == message.envelope_id
        assert decode_batch(message.batch) == ((kind, half),)
        envelope, reason = read_first_half(kind, half, lambda _key_id: public)
        assert (reason, envelope.signers) == (Reason.NONE, (golden["key_id"],))
