"""The licence gate: what makes a licence, what only looks like one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.records.jsontext import to_plain
from ciris_mesh.records.license import (
    TOKEN_CHARS_MAX,
    IssuerKeys,
    LicenseReason,
    LicenseResult,
    is_pinned,
    verify_license,
)
from support.forge import no_pqc, wrong_classical, wrong_pqc
from support.keys import bob, steward
from support.tokens import (
    CLAIMS,
    CLASSICAL_HEADER,
    HYBRID_HEADER,
    NOW_S,
    encoded,
    signing_input,
    token,
)

W = LicenseReason
FINGERPRINT = hashlib.sha256(steward().public.mldsa65).digest()
KEYS = IssuerKeys(steward().public.ed25519, steward().public.mldsa65, FINGERPRINT)
HYBRID = token()
CLASSICAL = token(CLASSICAL_HEADER, spoil=no_pqc)


def judged(text: str, keys: IssuerKeys = KEYS, now_s: int = NOW_S) -> tuple[str, str]:
    verification = verify_license(text, keys, now_s=now_s)
    is_hybrid = verification.result is LicenseResult.HYBRID_VERIFIED
    assert verification.is_licensable is is_hybrid
    assert is_hybrid == (verification.reason is W.NONE)
    if verification.result is LicenseResult.FAILED:
        assert verification.claims == {}
    return verification.result.value, verification.reason.value


def failed(reason: LicenseReason) -> tuple[str, str]:
    return LicenseResult.FAILED.value, reason.value


def classical(reason: LicenseReason) -> tuple[str, str]:
    return LicenseResult.CLASSICAL_VERIFIED.value, reason.value


# -- the three results ---------------------------------------------------------------------------


def test_both_halves_make_a_licence() -> None:
    verification = verify_license(HYBRID, KEYS, now_s=NOW_S)
    assert verification.result is LicenseResult.HYBRID_VERIFIED
    assert verification.is_licensable
    assert to_plain(verification.claims) == CLAIMS


def test_the_classical_half_alone_is_shown_but_makes_no_licence() -> None:
    assert judged(CLASSICAL) == classical(W.PQC_HALF_MISSING)
    claims = verify_license(CLASSICAL, KEYS, now_s=NOW_S).claims
    assert to_plain(claims) == CLAIMS


def test_without_a_classical_key_everything_fails() -> None:
    for key in (b"", bytes(31), bytes(33)):
        assert judged(HYBRID, replace(KEYS, classical=key)) == failed(W.NO_CLASSICAL_KEY)
    assert judged(HYBRID)[0] == LicenseResult.HYBRID_VERIFIED


# -- which post-quantum key is used --------------------------------------------------------------


def test_a_supplied_key_is_used_when_its_fingerprint_is_pinned() -> None:
    assert is_pinned(steward().public.mldsa65, FINGERPRINT)
    assert not is_pinned(bob().public.mldsa65, FINGERPRINT)
    assert not is_pinned(steward().public.mldsa65, FINGERPRINT[:31])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pqc": None}, W.PQC_KEY_MISSING),
        ({"pqc_fingerprint": None}, W.PQC_KEY_MISSING),
        ({"pqc": None, "pqc_fingerprint": None}, W.PQC_KEY_MISSING),
        ({"pqc": bob().public.mldsa65}, W.PQC_KEY_NOT_PINNED),
        ({"pqc_fingerprint": bytes(32)}, W.PQC_KEY_NOT_PINNED),
        ({"pqc_fingerprint": b""}, W.PQC_KEY_NOT_PINNED),
        ({"pqc": b""}, W.PQC_KEY_NOT_PINNED),
    ],
)
def test_otherwise_the_token_is_classical_at_best(
    changes: dict[str, Any], reason: LicenseReason
) -> None:
    assert judged(HYBRID, replace(KEYS, **changes)) == classical(reason)


def test_a_pinned_key_of_the_wrong_size_is_not_used() -> None:
    short = steward().public.mldsa65[:-1]
    keys = replace(KEYS, pqc=short, pqc_fingerprint=hashlib.sha256(short).digest())
    assert judged(HYBRID, keys) == classical(W.PQC_KEY_NOT_PINNED)


def test_a_forger_with_the_classical_key_does_not_get_a_licence_by_bringing_a_key() -> None:
    own = bob().public.mldsa65
    assert judged(HYBRID, replace(KEYS, pqc=own))[0] == LicenseResult.CLASSICAL_VERIFIED


# -- signatures ----------------------------------------------------------------------------------


def test_a_wrong_half_fails_the_token() -> None:
    assert judged(token(spoil=wrong_classical)) == failed(W.CLASSICAL_SIGNATURE_INVALID)
    assert judged(token(spoil=wrong_pqc)) == failed(W.PQC_SIGNATURE_INVALID)
    assert judged(token(signer=bob())) == failed(W.CLASSICAL_SIGNATURE_INVALID)


def test_the_post_quantum_half_is_bound_to_the_classical_one() -> None:
    unbound = encoded(bob().sign(b"x").mldsa65 or b"")
    assert judged(HYBRID.rpartition(".")[0] + "." + unbound) == failed(W.PQC_SIGNATURE_INVALID)


def test_a_half_cut_off_is_noticed() -> None:
    stripped = HYBRID.rpartition(".")[0]
    assert judged(stripped) == failed(W.ALGORITHM_NOT_ALLOWED)


def test_a_half_put_on_is_noticed() -> None:
    longer = CLASSICAL + "." + HYBRID.rpartition(".")[2]
    assert judged(longer) == failed(W.ALGORITHM_NOT_ALLOWED)


def test_claims_of_another_token_do_not_fit() -> None:
    other = signing_input(HYBRID_HEADER, {**CLAIMS, "exp": NOW_S + 99})
    swapped = other + "." + ".".join(HYBRID.split(".")[2:])
    assert judged(swapped) == failed(W.CLASSICAL_SIGNATURE_INVALID)


@settings(max_examples=60)
@given(st.data())
def test_no_character_can_be_changed(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(HYBRID) - 1))
    letter = data.draw(st.sampled_from("AQgwz019-_."))
    changed = HYBRID[:position] + letter + HYBRID[position + 1 :]
    if changed != HYBRID:
        assert judged(changed)[0] == LicenseResult.FAILED


# -- the header ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": "none"},
        {"alg": "EdDSA"},
        {"alg": "ES256"},
        {"alg": "ciris_hybrid_v1"},
        {"alg": None},
        {"alg": ["CIRIS_HYBRID_V1"]},
        {**HYBRID_HEADER, "typ": "JWE"},
        {**HYBRID_HEADER, "typ": None},
        {**HYBRID_HEADER, "kid": 7},
        {**HYBRID_HEADER, "crit": ["exp"]},
        {**HYBRID_HEADER, "jwk": {"kty": "OKP"}},
        {**HYBRID_HEADER, "b64": False},
    ],
)
def test_other_headers_are_refused(header: dict[str, Any]) -> None:
    assert judged(token(header)) == failed(W.ALGORITHM_NOT_ALLOWED)


@pytest.mark.parametrize(
    "header", [{"alg": "CIRIS_HYBRID_V1"}, {"alg": "CIRIS_HYBRID_V1", "typ": "JWT"}, HYBRID_HEADER]
)
def test_the_optional_header_members(header: dict[str, Any]) -> None:
    assert judged(token(header))[0] == LicenseResult.HYBRID_VERIFIED


def test_a_hybrid_token_may_not_call_itself_classical_in_three_parts() -> None:
    assert judged(token({"alg": "CIRIS_HYBRID_V1"}, spoil=no_pqc)) == failed(
        W.ALGORITHM_NOT_ALLOWED
    )


# -- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        (CLAIMS["nbf"] - 1, failed(W.NOT_YET_VALID)),
        (CLAIMS["nbf"], (LicenseResult.HYBRID_VERIFIED.value, "")),
        (CLAIMS["exp"] - 1, (LicenseResult.HYBRID_VERIFIED.value, "")),
        (CLAIMS["exp"], failed(W.EXPIRED)),
    ],
)
def test_a_licence_has_its_time(now_s: int, expected: tuple[str, str]) -> None:
    assert judged(HYBRID, now_s=now_s) == expected


@pytest.mark.parametrize("name", ["nbf", "exp"])
@pytest.mark.parametrize("value", [None, "1780000000", 1.5, -1, True, [], 10**15])
def test_times_are_whole_seconds(name: str, value: object) -> None:
    assert judged(token(claims={**CLAIMS, name: value})) == failed(W.MALFORMED)
    missing = {key: item for key, item in CLAIMS.items() if key != name}
    assert judged(token(claims=missing)) == failed(W.MALFORMED)


# -- the shape -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        HYBRID + ".",
        HYBRID + ".AA",
        "." + HYBRID,
        HYBRID.replace(".", "..", 1),
        HYBRID + "=",
        HYBRID + "\n",
        " " + HYBRID,
        HYBRID.replace("-", "+").replace("_", "/") + "+",
        "\u00e9" + HYBRID[1:],
        CLASSICAL.rpartition(".")[0],
        CLASSICAL + ".",
    ],
)
def test_what_is_no_token(text: str) -> None:
    assert judged(text) == failed(W.MALFORMED)


@pytest.mark.parametrize("part", [[], "text", 1, None])
def test_header_and_claims_are_objects(part: object) -> None:
    assert judged(token(part if part is not None else [])) == failed(W.MALFORMED)
    assert judged(token(claims=[part])) == failed(W.MALFORMED)


def test_a_part_has_one_spelling() -> None:
    last = CLASSICAL[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 64 bytes end in a character of which four bits are unused.
    others = [alphabet[alphabet.index(last) | bits] for bits in range(1, 16)]
    assert {judged(CLASSICAL[:-1] + other) for other in others} == {failed(W.MALFORMED)}
    assert judged(CLASSICAL)[0] == LicenseResult.CLASSICAL_VERIFIED


def test_a_member_given_twice_is_malformed() -> None:
    text = encoded(b'{"alg":"EdDSA","alg":"EdDSA"}') + "." + HYBRID.partition(".")[2]
    assert judged(text) == failed(W.MALFORMED)


def test_size_and_depth_are_bounded() -> None:
    deep: Any = 1
    for _ in range(9):
        deep = [deep]
    assert judged(token(claims={**CLAIMS, "x": deep})) == failed(W.MALFORMED)
    assert judged(token(claims={**CLAIMS, "x": "y" * TOKEN_CHARS_MAX})) == failed(W.MALFORMED)
    assert judged(token(claims={**CLAIMS, "x": "y" * 4096}))[0] == LicenseResult.HYBRID_VERIFIED
    assert judged("." * 10_000_000) == failed(W.MALFORMED)


@given(st.text(max_size=60) | st.binary(max_size=60).map(encoded))
def test_nothing_else_is_a_licence_and_nothing_raises(text: str) -> None:
    assert judged(text)[0] == LicenseResult.FAILED
    assert judged(f"{text}.{text}.{text}.{text}")[0] == LicenseResult.FAILED
