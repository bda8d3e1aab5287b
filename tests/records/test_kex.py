"""Agreeing on a key: hybrid or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import KeyExchangeRefused
from ciris_mesh.records.jsontext import from_plain, to_plain
from ciris_mesh.records.kex import (
    CIPHERTEXT_BYTES,
    CLASSICAL_ALGORITHM,
    HYBRID_ALGORITHM,
    KexMessage,
    KexMode,
    KexPrivateKey,
    KexPublicKey,
    KexReason,
    seal_to,
)

X25519_SEED = bytes(range(32))
MLKEM_SEED = bytes(range(64))
RECIPIENT = KexPrivateKey.from_seeds(X25519_SEED, MLKEM_SEED)
CLASSICAL_ONLY = KexPrivateKey(X25519PrivateKey.from_private_bytes(X25519_SEED), None)

#: Curve points whose order divides 8, as Montgomery u; every secret with them is zero.
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


def refusal(action: Any, *args: Any) -> str:
    with pytest.raises(KeyExchangeRefused) as caught:
        action(*args)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


# -- agreement -----------------------------------------------------------------------------------


def test_both_sides_get_one_key_of_32_bytes() -> None:
    message, key = seal_to(RECIPIENT.public)
    assert RECIPIENT.open(message) == key
    assert len(key) == 32
    assert message.algorithm == HYBRID_ALGORITHM == "hybrid-x25519-mlkem768-hkdf-sha256-v1"
    assert (len(message.x25519_ephemeral), len(message.mlkem768_ciphertext)) == (32, 1088)


def test_a_generated_key_works_and_is_new_each_time() -> None:
    one, other = KexPrivateKey.generate(), KexPrivateKey.generate()
    assert one.public != other.public
    message, key = seal_to(one.public)
    assert one.open(message) == key
    assert other.open(message) != key


def test_every_exchange_has_its_own_key() -> None:
    keys = {seal_to(RECIPIENT.public)[1] for _ in range(5)}
    assert len(keys) == 5


def test_the_key_is_derived_as_the_specification_says() -> None:
    message, key = seal_to(RECIPIENT.public)
    x25519 = X25519PrivateKey.from_private_bytes(X25519_SEED)
    ephemeral = X25519PublicKey.from_public_bytes(message.x25519_ephemeral)
    pqc_secret = MLKEM768PrivateKey.from_seed_bytes(MLKEM_SEED).decapsulate(
        message.mlkem768_ciphertext
    )
    salt = (
        message.x25519_ephemeral
        + RECIPIENT.public.x25519
        + message.mlkem768_ciphertext
        + (RECIPIENT.public.mlkem768 or b"")
    )
    ikm = x25519.exchange(ephemeral) + pqc_secret
    assert key == HKDF(SHA256(), 32, salt, b"CIRIS-FED-KEX-V1").derive(ikm)


def test_the_classical_key_is_derived_under_its_own_name() -> None:
    message, key = seal_to(CLASSICAL_ONLY.public, KexMode.CLASSICAL)
    assert message.algorithm == CLASSICAL_ALGORITHM == "classical-x25519-hkdf-sha256-v1"
    assert message.mlkem768_ciphertext == b""
    secret = X25519PrivateKey.from_private_bytes(X25519_SEED).exchange(
        X25519PublicKey.from_public_bytes(message.x25519_ephemeral)
    )
    salt = message.x25519_ephemeral + CLASSICAL_ONLY.public.x25519
    assert key == HKDF(SHA256(), 32, salt, b"CIRIS-FED-KEX-V1-CLASSICAL").derive(secret)
    assert CLASSICAL_ONLY.open(message, KexMode.CLASSICAL) == key


# -- no falling back -----------------------------------------------------------------------------


def test_a_peer_without_ml_kem_is_refused_and_not_served_classically() -> None:
    reason = refusal(seal_to, CLASSICAL_ONLY.public)
    assert reason == KexReason.PEER_LACKS_MLKEM
    assert str(reason) == "hybrid_required_but_peer_lacks_mlkem"
    assert seal_to(RECIPIENT.public)[0].algorithm == HYBRID_ALGORITHM


def test_a_downgraded_message_is_refused() -> None:
    message, key = seal_to(RECIPIENT.public, KexMode.CLASSICAL)
    assert refusal(RECIPIENT.open, message) == KexReason.ALGORITHM_NOT_ALLOWED
    assert RECIPIENT.open(message, KexMode.CLASSICAL) == key


def test_a_hybrid_message_is_not_opened_as_a_classical_one() -> None:
    message, _ = seal_to(RECIPIENT.public)
    assert refusal(RECIPIENT.open, message, KexMode.CLASSICAL) == KexReason.ALGORITHM_NOT_ALLOWED


def test_a_recipient_without_ml_kem_opens_nothing_hybrid() -> None:
    message, _ = seal_to(RECIPIENT.public)
    assert refusal(CLASSICAL_ONLY.open, message) == KexReason.OWN_KEY_LACKS_MLKEM


@pytest.mark.parametrize("algorithm", ["", "hybrid", HYBRID_ALGORITHM.upper(), "none"])
def test_unknown_algorithms_are_refused(algorithm: str) -> None:
    assert refusal(KexMessage, algorithm, bytes(32)) == KexReason.ALGORITHM_NOT_ALLOWED


# -- hostile values ------------------------------------------------------------------------------


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda it: it.hex()[:8])
def test_an_x25519_secret_of_zeros_is_refused_on_both_sides(point: bytes) -> None:
    good, _ = seal_to(RECIPIENT.public)
    forced = replace(good, x25519_ephemeral=point)
    assert refusal(RECIPIENT.open, forced) == KexReason.X25519_SECRET_ZERO
    hostile = KexPublicKey(point, RECIPIENT.public.mlkem768)
    assert refusal(seal_to, hostile) == KexReason.X25519_SECRET_ZERO
    assert refusal(seal_to, hostile, KexMode.CLASSICAL) == KexReason.X25519_SECRET_ZERO


def test_a_public_key_that_is_none_is_refused() -> None:
    hostile = KexPublicKey(RECIPIENT.public.x25519, b"\xff" * 1184)
    assert refusal(seal_to, hostile) == KexReason.KEY_NOT_VALID


@pytest.mark.parametrize("size", [0, 31, 33])
def test_x25519_keys_have_32_bytes(size: int) -> None:
    assert refusal(KexPublicKey, bytes(size), None) == KexReason.WRONG_SIZE
    ciphertext = bytes(CIPHERTEXT_BYTES)
    assert refusal(KexMessage, HYBRID_ALGORITHM, bytes(size), ciphertext) == KexReason.WRONG_SIZE
    assert refusal(KexPrivateKey.from_seeds, bytes(size), MLKEM_SEED) == KexReason.WRONG_SIZE


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_a_ciphertext_has_1088_bytes(size: int) -> None:
    reason = refusal(KexMessage, HYBRID_ALGORITHM, bytes(range(32)), bytes(size))
    assert reason == KexReason.WRONG_SIZE


def test_the_classical_form_carries_no_ciphertext() -> None:
    assert refusal(KexMessage, CLASSICAL_ALGORITHM, bytes(32), b"x") == KexReason.WRONG_SIZE


@pytest.mark.parametrize("size", [0, 1183, 1185])
def test_ml_kem_keys_have_their_sizes(size: int) -> None:
    assert refusal(KexPublicKey, bytes(32), bytes(size)) == KexReason.WRONG_SIZE
    assert refusal(KexPrivateKey.from_seeds, X25519_SEED, bytes(63)) == KexReason.WRONG_SIZE


@settings(max_examples=50)
@given(st.integers(0, 32 + CIPHERTEXT_BYTES - 1), st.integers(1, 255))
def test_no_byte_of_a_message_can_be_changed(position: int, change: int) -> None:
    message, key = seal_to(RECIPIENT.public)
    data = bytearray(message.x25519_ephemeral + message.mlkem768_ciphertext)
    data[position] ^= change
    changed = KexMessage(HYBRID_ALGORITHM, bytes(data[:32]), bytes(data[32:]))
    # X25519 ignores the top bit, but the salt covers all of it.
    assert RECIPIENT.open(changed) != key


def test_each_half_alone_gives_another_key() -> None:
    message, key = seal_to(RECIPIENT.public)
    half_x = KexPrivateKey.from_seeds(X25519_SEED, MLKEM_SEED[::-1])
    half_pqc = KexPrivateKey.from_seeds(X25519_SEED[::-1], MLKEM_SEED)
    assert key not in (half_x.open(message), half_pqc.open(message))


def test_a_private_key_prints_nothing() -> None:
    assert repr(RECIPIENT) == str(RECIPIENT) == "KexPrivateKey(...)"


# -- as published by an occurrence ---------------------------------------------------------------


def test_public_keys_survive_their_column() -> None:
    for public in (RECIPIENT.public, CLASSICAL_ONLY.public):
        assert KexPublicKey.from_members(public.members()) == public
    assert list(RECIPIENT.public.members()) == ["x25519_base64", "ml_kem_768_base64"]


def test_a_column_without_ml_kem_reads_as_a_peer_without_it() -> None:
    members = {"x25519_base64": RECIPIENT.public.members()["x25519_base64"]}
    assert KexPublicKey.from_members(from_plain(members)) == CLASSICAL_ONLY.public


@pytest.mark.parametrize(
    "change",
    [
        {"x25519_base64": None},
        {"x25519_base64": 7},
        {"x25519_base64": ""},
        {"x25519_base64": "AAAA AAAA"},
        {"x25519_base64": "A" * 42 + "B="},
        {"ml_kem_768_base64": None},
        {"ml_kem_768_base64": "-_"},
        {"other": "AAAA"},
    ],
)
def test_other_columns_are_malformed(change: dict[str, Any]) -> None:
    members = {**to_plain(from_plain(RECIPIENT.public.members())), **change}
    assert refusal(KexPublicKey.from_members, from_plain(members)) == KexReason.PUBKEYS_MALFORMED


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_object_with_an_x25519_key_is_malformed(value: Any) -> None:
    assert refusal(KexPublicKey.from_members, value) == KexReason.PUBKEYS_MALFORMED


def test_short_keys_in_the_column_have_the_wrong_size() -> None:
    assert refusal(KexPublicKey.from_members, {"x25519_base64": "AAAA"}) == KexReason.WRONG_SIZE
