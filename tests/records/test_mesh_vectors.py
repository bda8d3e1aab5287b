"""Our own golden file: what another implementation needs to speak with this one.

`pytest tests/records/test_mesh_vectors.py --rewrite -n 0` makes it anew. Everything but the hedged
ML-DSA signatures is reproduced byte for byte; the signatures must verify.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.authoring import Draft, assemble, draft
from ciris_mesh.records.binding import Binding, sign_binding, verify_binding
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import (
    FederationKey,
    HybridPublicKey,
    HybridSignature,
    is_self_certifying,
    verify_hybrid,
)
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Outcome, Reason
from support.golden import FOLDER, vectors
from support.keys import NAMES, alice, bob, key, lookup
from support.records import AT_MS, columns

NAME: Final = "mesh_records"
ALL: Final = list(EnvelopeKind)
RNS_PUBLIC_KEY: Final = bytes(range(64))
EPOCH: Final = 7
EXPIRY_S: Final = 2_000_000_000
NOW_S: Final = EXPIRY_S - 1


def number_of_signers(kind: EnvelopeKind) -> int:
    several = (SignatureStyle.AUTHORITY, SignatureStyle.STEWARDS)
    return 2 if KINDS[kind].style in several else 1


def signers_of(kind: EnvelopeKind) -> list[FederationKey]:
    return sorted([alice(), bob()][: number_of_signers(kind)], key=lambda it: it.key_id)


def draft_of(kind: EnvelopeKind) -> Draft:
    return draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)


def seeds_of(name: str) -> tuple[bytes, bytes]:
    padded = name.encode()
    return padded.ljust(32, b"\x01"), padded.ljust(32, b"\x02")


def key_entry(name: str) -> dict[str, Any]:
    ed25519_seed, mldsa65_seed = seeds_of(name)
    return {
        "name": name,
        "ed25519_seed": ed25519_seed.hex(),
        "mldsa65_seed": mldsa65_seed.hex(),
        "ed25519_public": key(name).public.ed25519.hex(),
        "mldsa65_public": key(name).public.mldsa65.hex(),
        "fingerprint": key(name).public.fingerprint.hex(),
        "key_id": key(name).key_id,
    }


def unsigned_part(kind: EnvelopeKind) -> dict[str, Any]:
    prepared = draft_of(kind)
    return {
        "kind": kind.value,
        "signers": [signer.key_id for signer in signers_of(kind)],
        "unsigned_record": compact(prepared.record).decode(),
        "signed_message": prepared.message.hex(),
    }


def record_entry(kind: EnvelopeKind) -> dict[str, Any]:
    prepared = draft_of(kind)
    signatures = {it.key_id: it.sign(prepared.message) for it in signers_of(kind)}
    raw = assemble(prepared, signatures)
    envelope = parse_envelope(kind, raw)
    return {
        **unsigned_part(kind),
        "envelope": raw.decode(),
        "row_hash": envelope.row_hash.hex(),
        "envelope_id": envelope.envelope_id.hex(),
        "seq": envelope.seq,
    }


def binding_entry() -> dict[str, Any]:
    binding = sign_binding(alice(), RNS_PUBLIC_KEY, EPOCH, EXPIRY_S)
    return {
        "key_id": binding.key_id,
        "rns_public_key": RNS_PUBLIC_KEY.hex(),
        "epoch": EPOCH,
        "expiry_s": EXPIRY_S,
        "message": binding.message.hex(),
        "hash8": binding.hash8.hex(),
        "encoded": binding.encode().hex(),
    }


@pytest.fixture(scope="module", autouse=True)
def rewritten(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        if hasattr(request.config, "workerinput"):
            pytest.fail("add -n 0: workers would write different signatures over each other")
        content = {
            "provenance": "ciris-mesh itself, tests/records/test_mesh_vectors.py --rewrite -n 0",
            "note": "ML-DSA signing is hedged: signatures must verify, all else is exact.",
            "keys": [key_entry(name) for name in NAMES],
            "records": [record_entry(kind) for kind in ALL],
            "binding": binding_entry(),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (FOLDER / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
        vectors.cache_clear()


def entry_of(kind: EnvelopeKind) -> dict[str, Any]:
    entry: dict[str, Any] = next(it for it in vectors(NAME)["records"] if it["kind"] == kind.value)
    return entry


@pytest.mark.parametrize("name", NAMES)
def test_keys_follow_from_their_seeds(name: str) -> None:
    (entry,) = (it for it in vectors(NAME)["keys"] if it["name"] == name)
    assert entry == key_entry(name)
    seeds = bytes.fromhex(entry["ed25519_seed"]), bytes.fromhex(entry["mldsa65_seed"])
    assert FederationKey.from_seeds(name, *seeds).key_id == entry["key_id"]
    public = HybridPublicKey(
        bytes.fromhex(entry["ed25519_public"]), bytes.fromhex(entry["mldsa65_public"])
    )
    assert is_self_certifying(entry["key_id"], public)


@pytest.mark.parametrize("kind", ALL)
def test_what_is_signed_is_reproduced_exactly(kind: EnvelopeKind) -> None:
    entry = entry_of(kind)
    expected = unsigned_part(kind)
    assert {name: entry[name] for name in expected} == expected


@pytest.mark.parametrize("kind", ALL)
def test_kept_envelopes_verify_under_their_kept_ids(kind: EnvelopeKind) -> None:
    entry = entry_of(kind)
    raw = entry["envelope"].encode()
    verification = verify_bytes(kind, raw, lookup)
    assert verification.verdict.outcome is Outcome.ADMITTED, verification
    assert list(verification.signers) == entry["signers"]
    envelope = parse_envelope(kind, raw)
    assert envelope.envelope_id.hex() == entry["envelope_id"]
    assert envelope.row_hash.hex() == entry["row_hash"]
    assert envelope.seq == entry["seq"]
    assert (entry["envelope_id"] == entry["row_hash"]) == (KINDS[kind].number <= 10)


@pytest.mark.parametrize("kind", ALL)
def test_kept_signatures_are_over_the_kept_message(kind: EnvelopeKind) -> None:
    entry = entry_of(kind)
    message = bytes.fromhex(entry["signed_message"])
    for claim in parse_envelope(kind, entry["envelope"].encode()).claims:
        public = lookup(claim.key_id)
        assert public is not None
        assert verify_hybrid(public, message, claim.signature) is Reason.NONE


@pytest.mark.parametrize("kind", ALL)
def test_an_envelope_is_its_draft_with_the_kept_signatures_in_it(kind: EnvelopeKind) -> None:
    entry = entry_of(kind)
    claims = parse_envelope(kind, entry["envelope"].encode()).claims
    signatures = {claim.key_id: claim.signature for claim in claims}
    assert assemble(draft_of(kind), signatures).decode() == entry["envelope"]


def test_the_binding() -> None:
    entry = vectors(NAME)["binding"]
    exact = {name: value for name, value in binding_entry().items() if name != "encoded"}
    assert {name: entry[name] for name in exact} == exact
    binding = Binding.decode(bytes.fromhex(entry["encoded"]))
    assert binding.encode().hex() == entry["encoded"]
    assert binding.message.hex() == entry["message"]
    assert verify_binding(binding, alice().public, now_s=NOW_S) is Reason.NONE


def test_the_file_is_complete() -> None:
    content = vectors(NAME)
    assert [it["kind"] for it in content["records"]] == [kind.value for kind in ALL]
    assert [it["name"] for it in content["keys"]] == list(NAMES)


def test_classical_signatures_are_deterministic() -> None:
    for kind in ALL:
        entry = entry_of(kind)
        message = bytes.fromhex(entry["signed_message"])
        kept = {
            claim.key_id: claim.signature.ed25519
            for claim in parse_envelope(kind, entry["envelope"].encode()).claims
        }
        assert kept == {it.key_id: it.sign(message).ed25519 for it in signers_of(kind)}


def test_a_kept_envelope_does_not_verify_once_touched() -> None:
    for kind in ALL:
        claim = parse_envelope(kind, entry_of(kind)["envelope"].encode()).claims[0]
        old = base64.b64encode(claim.signature.ed25519).decode()
        new = base64.b64encode(bytes(64)).decode()
        raw = entry_of(kind)["envelope"].replace(old, new).encode()
        assert verify_bytes(kind, raw, lookup).verdict.outcome is not Outcome.ADMITTED


def test_a_signature_half_left_out_is_noticed() -> None:
    for kind in ALL:
        prepared = draft_of(kind)
        halves = {
            it.key_id: HybridSignature(it.sign(prepared.message).ed25519, None)
            for it in signers_of(kind)
        }
        verdict = verify_bytes(kind, assemble(prepared, halves), lookup).verdict
        assert verdict.reason is Reason.PQC_SIGNATURE_MISSING


def test_drafts_of_unknown_columns_do_not_exist() -> None:
    with pytest.raises(MalformedRecord):
        draft(EnvelopeKind.FAMILY, {"nonsense": 1}, alice(), at_ms=AT_MS)
