"""Golden bytes of the trust primitives, for whoever implements them again.

`pytest tests/records/test_trust_vectors.py --rewrite -n 0` makes the file anew. Everything but
hedged ML-DSA signatures and the randomness of a key exchange is reproduced byte for byte; those
must verify, and must open to the kept key.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import pytest

from ciris_mesh.records.envelope import Claim, decode_base64, encode_base64, parse_envelope
from ciris_mesh.records.hybrid import HybridSignature
from ciris_mesh.records.kex import KexMessage, KexMode, KexPrivateKey, seal_to
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.license import IssuerKeys, LicenseResult, verify_license
from ciris_mesh.records.partnership import (
    PartnershipReason,
    PartnershipSide,
    parse_half,
    partnership_members,
    verify_partnership,
)
from ciris_mesh.records.provenance import ProvenanceReason, link_of, root_of
from ciris_mesh.records.threshold import (
    ThresholdReason,
    parse_quorum_policy,
    verify_quorum_policy,
)
from ciris_mesh.records.trace import TraceReason, verify_trace
from support.chains import anchors, key_record, lookup_links
from support.forge import no_pqc
from support.golden import FOLDER, vectors
from support.keys import alice, bob, lookup, steward
from support.records import AT_MS
from support.tokens import CLAIMS, CLASSICAL_HEADER, HYBRID_HEADER, NOW_S, signing_input, token
from support.traces import VERSIONS, message_of, raw_trace, signed_trace, unsigned_trace
from support.trust import claim, ids, member

NAME: Final = "mesh_trust"
MESSAGE: Final = b'{"license_id":"l-1","revision":1}'
QUORUM: Final = ("alice", "bob", "carol")
POLICIES: Final = ("1/1", "2/2", "2/3", "3/4", "3/5", "1/2", "2/4", "0/1", "3/2", "02/3", "")
CHAIN: Final = (
    ("alice", "bob", "agent"),
    ("bob", "steward", "agent"),
    ("steward", "steward", "steward"),
)
PAIR: Final = "pair-1"
X25519_SEED: Final = bytes(range(32))
MLKEM_SEED: Final = bytes(range(64))
HEADERS: Final = {"hybrid": HYBRID_HEADER, "classical": CLASSICAL_HEADER}
ISSUER: Final = IssuerKeys(
    steward().public.ed25519,
    steward().public.mldsa65,
    hashlib.sha256(steward().public.mldsa65).digest(),
)


def signature_entry(signature: HybridSignature) -> dict[str, str]:
    return {
        "ed25519": encode_base64(signature.ed25519),
        "mldsa65": encode_base64(signature.mldsa65 or b""),
    }


def signature_from(entry: dict[str, str]) -> HybridSignature:
    return HybridSignature(decode_base64(entry["ed25519"]), decode_base64(entry["mldsa65"]))


# -- what is exact -------------------------------------------------------------------------------


def exact_threshold() -> dict[str, Any]:
    return {
        "message": MESSAGE.decode(),
        "policies": {text: policy_word(text) for text in POLICIES},
        "signers": list(ids("alice", "carol")),
    }


def policy_word(text: str) -> str:
    policy = parse_quorum_policy(text)
    return "quorum_policy_malformed" if policy is None else policy.problem.value or "fine"


def exact_trace(version: str) -> dict[str, Any]:
    trace = unsigned_trace(version)
    return {"version": version, "unsigned": trace, "signed_bytes": message_of(trace).hex()}


def exact_partnership(side: PartnershipSide) -> dict[str, Any]:
    signer, partner = (alice(), bob()) if side is PartnershipSide.GRANT else (bob(), alice())
    made = partnership_members(side, signer.key_id, partner.key_id, PAIR, AT_MS)
    return {"side": side.value, "signed_bytes": parse_half(made).message.decode()}


def exact_license(form: str) -> dict[str, Any]:
    return {
        "form": form,
        "signing_input": signing_input(HEADERS[form], CLAIMS),
        "now_s": NOW_S,
        "pqc_fingerprint": (ISSUER.pqc_fingerprint or b"").hex(),
    }


def exact_kex() -> dict[str, Any]:
    public = KexPrivateKey.from_seeds(X25519_SEED, MLKEM_SEED).public
    return {
        "x25519_seed": X25519_SEED.hex(),
        "mlkem768_seed": MLKEM_SEED.hex(),
        "x25519_public": public.x25519.hex(),
        "mlkem768_public": (public.mlkem768 or b"").hex(),
    }


# -- making the file -----------------------------------------------------------------------------


def threshold_entry() -> dict[str, Any]:
    signed = {name: claim(name, MESSAGE) for name in ("alice", "carol")}
    entries = {it.key_id: signature_entry(it.signature) for it in signed.values()}
    return {**exact_threshold(), "signatures": entries}


def trace_entry(version: str) -> dict[str, Any]:
    trace = raw_trace(signed_trace(unsigned_trace(version)))
    return {**exact_trace(version), "trace": trace.decode()}


def partnership_entry(side: PartnershipSide) -> dict[str, Any]:
    exact = exact_partnership(side)
    signer = alice() if side is PartnershipSide.GRANT else bob()
    return {**exact, "signature": signature_entry(signer.sign(exact["signed_bytes"].encode()))}


def license_entry(form: str) -> dict[str, Any]:
    made = token() if form == "hybrid" else token(CLASSICAL_HEADER, spoil=no_pqc)
    return {**exact_license(form), "token": made}


def kex_entry() -> dict[str, Any]:
    recipient = KexPrivateKey.from_seeds(X25519_SEED, MLKEM_SEED)
    exchanges = []
    for mode in KexMode:
        message, key = seal_to(recipient.public, mode)
        exchanges.append(
            {
                "algorithm": message.algorithm,
                "x25519_ephemeral": message.x25519_ephemeral.hex(),
                "mlkem768_ciphertext": message.mlkem768_ciphertext.hex(),
                "key": key.hex(),
            }
        )
    return {**exact_kex(), "exchanges": exchanges}


@pytest.fixture(scope="module", autouse=True)
def rewritten(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        if hasattr(request.config, "workerinput"):
            pytest.fail("add -n 0: workers would write different signatures over each other")
        content = {
            "provenance": "ciris-mesh itself, tests/records/test_trust_vectors.py --rewrite -n 0",
            "note": "Keys: mesh_records.json. Signatures must verify, all else is exact.",
            "threshold": threshold_entry(),
            "chain": [key_record(*row).decode() for row in CHAIN],
            "traces": [trace_entry(version) for version in VERSIONS],
            "partnership": [partnership_entry(side) for side in PartnershipSide],
            "licenses": [license_entry(form) for form in HEADERS],
            "kex": kex_entry(),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (FOLDER / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
        vectors.cache_clear()


def kept(section: str) -> Any:
    return vectors(NAME)[section]


def exactly(entry: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {name: entry[name] for name in expected} == expected


# -- what the file says --------------------------------------------------------------------------


def test_a_kept_quorum_is_met() -> None:
    entry = kept("threshold")
    exactly(entry, exact_threshold())
    claims = [Claim(name, signature_from(it)) for name, it in entry["signatures"].items()]
    roster = [member(name) for name in QUORUM]
    tally = verify_quorum_policy(entry["message"].encode(), roster, claims, "quorum:2/3")
    assert tally.is_met
    assert list(tally.signers) == entry["signers"]
    unanimous = verify_quorum_policy(entry["message"].encode(), roster, claims, "3/3")
    assert unanimous.reason is ThresholdReason.INSUFFICIENT


def test_a_kept_chain_is_rooted() -> None:
    envelopes = [parse_envelope(EnvelopeKind.KEY, raw.encode()) for raw in kept("chain")]
    links = [link_of(it) for it in envelopes]
    for link, row in zip(links, CHAIN, strict=True):
        fresh = link_of(parse_envelope(EnvelopeKind.KEY, key_record(*row)))
        assert link.message == fresh.message
        assert link.signature.ed25519 == fresh.signature.ed25519
    answer = root_of(links[0].key_id, lookup_links(*links), anchors("steward"))
    assert answer.reason is ProvenanceReason.NONE
    assert answer.root == steward().key_id


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_trace_is_taken(version: str) -> None:
    (entry,) = (it for it in kept("traces") if it["version"] == version)
    exactly(entry, exact_trace(version))
    assert verify_trace(entry["trace"].encode(), lookup).reason is TraceReason.NONE
    fresh = signed_trace(unsigned_trace(version))
    assert json.loads(entry["trace"])["signature"] == fresh["signature"]


def test_a_kept_partnership_stands() -> None:
    grant, accept = kept("partnership")
    for entry, side in ((grant, PartnershipSide.GRANT), (accept, PartnershipSide.ACCEPT)):
        exactly(entry, exact_partnership(side))
    pairs = []
    for entry, side in ((grant, PartnershipSide.GRANT), (accept, PartnershipSide.ACCEPT)):
        signer, partner = (alice(), bob()) if side is PartnershipSide.GRANT else (bob(), alice())
        made = partnership_members(side, signer.key_id, partner.key_id, PAIR, AT_MS)
        pairs.append((parse_half(made), signature_from(entry["signature"])))
    assert verify_partnership(pairs[0], pairs[1], lookup) is PartnershipReason.NONE


@pytest.mark.parametrize(
    ("form", "result"),
    [("hybrid", LicenseResult.HYBRID_VERIFIED), ("classical", LicenseResult.CLASSICAL_VERIFIED)],
)
def test_a_kept_licence(form: str, result: LicenseResult) -> None:
    (entry,) = (it for it in kept("licenses") if it["form"] == form)
    exactly(entry, exact_license(form))
    assert entry["token"].startswith(entry["signing_input"] + ".")
    assert verify_license(entry["token"], ISSUER, now_s=entry["now_s"]).result is result


def test_a_kept_exchange_opens_to_the_kept_key() -> None:
    entry = kept("kex")
    exactly(entry, exact_kex())
    recipient = KexPrivateKey.from_seeds(
        bytes.fromhex(entry["x25519_seed"]), bytes.fromhex(entry["mlkem768_seed"])
    )
    assert [it["algorithm"] for it in entry["exchanges"]] == [mode.value for mode in KexMode]
    for exchange in entry["exchanges"]:
        message = KexMessage(
            exchange["algorithm"],
            bytes.fromhex(exchange["x25519_ephemeral"]),
            bytes.fromhex(exchange["mlkem768_ciphertext"]),
        )
        key = recipient.open(message, KexMode(exchange["algorithm"]))
        assert key.hex() == exchange["key"]


def test_the_file_is_complete() -> None:
    assert [it["version"] for it in kept("traces")] == list(VERSIONS)
    assert [it["side"] for it in kept("partnership")] == list(PartnershipSide)
    assert [it["form"] for it in kept("licenses")] == list(HEADERS)
    assert set(kept("threshold")["policies"]) == set(POLICIES)
