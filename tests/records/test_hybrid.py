"""Bound hybrid signatures and self-certifying ids."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.hybrid import (
    FederationKey,
    HybridPolicy,
    HybridPublicKey,
    HybridSignature,
    is_name,
    is_self_certifying,
    key_digest,
    key_id,
    verify_hybrid,
)
from ciris_mesh.records.outcome import Reason
from support.keys import alice, bob

MESSAGE = b'{"a":1}'
PENDING = HybridPolicy.ALLOW_CLASSICAL_PENDING
REQUIRED = HybridPolicy.REQUIRE_HYBRID

ED25519_SEED = b"\x09" * 32
MLDSA65_SEED = b"\x0b" * 32


# -- the signed vector an independent implementation accepted ------------------------------------


def test_the_signed_vector() -> None:
    key = FederationKey.from_seeds("vector", ED25519_SEED, MLDSA65_SEED)
    signature = key.sign(MESSAGE)
    assert key.public.ed25519.hex() == (
        "fd1724385aa0c75b64fb78cd602fa1d991fdebf76b13c58ed702eac835e9f618"
    )
    assert hashlib.sha256(key.public.mldsa65).hexdigest() == (
        "a4e955b98638e8e04f668e7fa707398013a481897bd51da92947784507b258b2"
    )
    assert signature.ed25519.hex() == (
        "83c1f7cf5419245e5342020c2c8a6616e5a6ac369fdf64f8ff4235e1bef1e2cb"
        "0ffb87c26ae2cbcf1a99c21c77b43f7139ca110b698bed0ef4bae034c2e37b06"
    )
    assert signature.mldsa65 is not None
    assert len(signature.mldsa65) == 3309
    assert verify_hybrid(key.public, MESSAGE, signature) is Reason.NONE


def test_a_post_quantum_half_over_the_message_alone_is_refused() -> None:
    key = FederationKey.from_seeds("vector", ED25519_SEED, MLDSA65_SEED)
    unbound = MLDSA65PrivateKey.from_seed_bytes(MLDSA65_SEED).sign(MESSAGE)
    signature = HybridSignature(key.sign(MESSAGE).ed25519, unbound)
    for policy in HybridPolicy:
        verdict = verify_hybrid(key.public, MESSAGE, signature, policy)
        assert verdict is Reason.PQC_SIGNATURE_INVALID


def test_a_post_quantum_half_with_a_context_is_refused() -> None:
    key = FederationKey.from_seeds("vector", ED25519_SEED, MLDSA65_SEED)
    classical = key.sign(MESSAGE).ed25519
    with_context = MLDSA65PrivateKey.from_seed_bytes(MLDSA65_SEED).sign(
        MESSAGE + classical, b"context"
    )
    signature = HybridSignature(classical, with_context)
    assert verify_hybrid(key.public, MESSAGE, signature) is Reason.PQC_SIGNATURE_INVALID


# -- verification --------------------------------------------------------------------------------


def test_halves_of_two_signatures_do_not_mix() -> None:
    one, other = alice().sign(b"one"), alice().sign(b"other")
    mixed = HybridSignature(one.ed25519, other.mldsa65)
    assert verify_hybrid(alice().public, b"one", mixed) is Reason.PQC_SIGNATURE_INVALID


def test_signing_twice_gives_two_post_quantum_halves_that_both_stand() -> None:
    one, other = alice().sign(MESSAGE), alice().sign(MESSAGE)
    assert one.ed25519 == other.ed25519
    for signature in (one, other, HybridSignature(one.ed25519, other.mldsa65)):
        assert verify_hybrid(alice().public, MESSAGE, signature) is Reason.NONE


@pytest.mark.parametrize("policy", HybridPolicy)
def test_each_half_must_be_by_this_key_over_this_message(policy: HybridPolicy) -> None:
    signature = alice().sign(MESSAGE)
    assert verify_hybrid(alice().public, MESSAGE, signature, policy) is Reason.NONE
    bad_classical = Reason.CLASSICAL_SIGNATURE_INVALID
    assert verify_hybrid(alice().public, MESSAGE + b" ", signature, policy) is bad_classical
    assert verify_hybrid(bob().public, MESSAGE, signature, policy) is bad_classical
    half_bob = HybridPublicKey(alice().public.ed25519, bob().public.mldsa65)
    assert verify_hybrid(half_bob, MESSAGE, signature, policy) is Reason.PQC_SIGNATURE_INVALID


def test_only_the_lenient_policy_waits_for_the_post_quantum_half() -> None:
    classical = HybridSignature(alice().sign(MESSAGE).ed25519, None)
    public = alice().public
    assert verify_hybrid(public, MESSAGE, classical) is Reason.PQC_SIGNATURE_MISSING
    assert verify_hybrid(public, MESSAGE, classical, REQUIRED) is Reason.PQC_SIGNATURE_MISSING
    assert verify_hybrid(public, MESSAGE, classical, PENDING) is Reason.NONE


@given(st.integers(0, 64 + 3309 - 1), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: int, bit: int) -> None:
    whole = alice().sign(MESSAGE)
    assert whole.mldsa65 is not None
    flipped = bytearray(whole.ed25519 + whole.mldsa65)
    flipped[position] ^= 1 << bit
    signature = HybridSignature(bytes(flipped[:64]), bytes(flipped[64:]))
    expected = Reason.CLASSICAL_SIGNATURE_INVALID if position < 64 else Reason.PQC_SIGNATURE_INVALID
    assert verify_hybrid(alice().public, MESSAGE, signature) is expected


@pytest.mark.parametrize("size", [0, 1, 63, 65, 3309])
def test_halves_of_another_length_are_invalid(size: int) -> None:
    good = alice().sign(MESSAGE)
    short = HybridSignature(bytes(size), good.mldsa65)
    assert verify_hybrid(alice().public, MESSAGE, short) is Reason.CLASSICAL_SIGNATURE_INVALID
    if size != 3309:
        odd = HybridSignature(good.ed25519, bytes(size))
        assert verify_hybrid(alice().public, MESSAGE, odd) is Reason.PQC_SIGNATURE_INVALID


def test_a_classical_half_with_an_unreduced_scalar_is_invalid() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    good = alice().sign(MESSAGE)
    scalar = int.from_bytes(good.ed25519[32:], "little") + order
    second = HybridSignature(good.ed25519[:32] + scalar.to_bytes(32, "little"), good.mldsa65)
    assert verify_hybrid(alice().public, MESSAGE, second) is Reason.CLASSICAL_SIGNATURE_INVALID


# -- points of small order -----------------------------------------------------------------------

PRIME = 2**255 - 19
CURVE_D = (-121665 * pow(121666, -1, PRIME)) % PRIME


def small_order_points() -> set[tuple[int, int]]:
    """The eight points P with 8P = identity, found by solving the curve equation."""
    found = set()
    root_minus_one = pow(2, (PRIME - 1) // 4, PRIME)
    for y in (0, 1, PRIME - 1, *small_y_of_order_8()):
        square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
        x = pow(square, (PRIME + 3) // 8, PRIME)
        x = x if (x * x - square) % PRIME == 0 else x * root_minus_one % PRIME
        assert (x * x - square) % PRIME == 0
        found |= {(x, y), (-x % PRIME, y)}
    return found


def small_y_of_order_8() -> list[int]:
    # Doubling a point of order 8 gives y = 0: y**2 = -x**2, so d*y**4 + 2*y**2 - 1 = 0.
    root_minus_one = pow(2, (PRIME - 1) // 4, PRIME)

    def root(square: int) -> int | None:
        x = pow(square, (PRIME + 3) // 8, PRIME)
        for candidate in (x, x * root_minus_one % PRIME):
            if (candidate * candidate - square) % PRIME == 0:
                return candidate
        return None

    half = root((1 + CURVE_D) % PRIME)
    assert half is not None
    roots = [root((sign * half - 1) * pow(CURVE_D, -1, PRIME) % PRIME) for sign in (1, -1)]
    return [y for one in roots if one is not None for y in (one, -one % PRIME)]


def test_there_are_eight_points_of_small_order() -> None:
    assert len(small_order_points()) == 8


def test_public_keys_of_small_order_verify_nothing() -> None:
    # With the identity as R and zero as S such keys would "sign" any message.
    trivial = b"\x01" + bytes(63)
    pqc = alice().public.mldsa65
    for (x, y), sign in itertools.product(small_order_points(), (None, 0, 1)):
        bit = x & 1 if sign is None else sign
        encoded = (y | bit << 255).to_bytes(32, "little")
        public = HybridPublicKey(encoded, pqc)
        for number in range(8):
            verdict = verify_hybrid(
                public, b"m%d" % number, HybridSignature(trivial, None), PENDING
            )
            assert verdict is Reason.CLASSICAL_SIGNATURE_INVALID


@pytest.mark.parametrize("y", [PRIME, PRIME + 1, 2**255 - 1])
def test_unreduced_public_keys_verify_nothing(y: int) -> None:
    public = HybridPublicKey(y.to_bytes(32, "little"), alice().public.mldsa65)
    verdict = verify_hybrid(public, b"", HybridSignature(b"\x01" + bytes(63), None), PENDING)
    assert verdict is Reason.CLASSICAL_SIGNATURE_INVALID


# -- ids -----------------------------------------------------------------------------------------


def test_a_key_id_is_name_and_digest() -> None:
    public = alice().public
    assert public.fingerprint == hashlib.sha256(public.ed25519 + public.mldsa65).digest()
    name, _, digest = alice().key_id.rpartition("-")
    assert name == "alice"
    assert len(digest) == 16
    assert set(digest) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert key_id("alice", public) == alice().key_id


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--", "x" * 32, "node-7"])
def test_names(name: str) -> None:
    assert is_name(name)
    assert is_self_certifying(key_id(name, alice().public), alice().public)


@pytest.mark.parametrize("name", ["", "-a", "A", "é", "a b", "a_b", "x" * 33, "a\n", "a/b"])
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="name"):
        key_id(name, alice().public)
    digest = alice().key_id.rpartition("-")[2]
    assert not is_self_certifying(f"{name}-{digest}", alice().public)


def test_nobody_else_can_own_an_id() -> None:
    assert not is_self_certifying(alice().key_id, bob().public)
    assert not is_self_certifying(alice().key_id.upper(), alice().public)
    assert not is_self_certifying(alice().key_id[:-1], alice().public)
    assert not is_self_certifying(alice().key_id + "a", alice().public)
    assert not is_self_certifying("agent-alice", alice().public)
    assert not is_self_certifying("", alice().public)


@given(st.text(max_size=60))
def test_only_ids_of_this_key_certify_it(text: str) -> None:
    assert not is_self_certifying(text, alice().public)


# -- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(b"", bytes(32)), (bytes(32), bytes(31)), (bytes(33), b"")])
def test_seeds_have_32_bytes(seeds: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        FederationKey.from_seeds("alice", *seeds)


@pytest.mark.parametrize("sizes", [(31, 1952), (32, 1951), (0, 0)])
def test_public_halves_have_their_lengths(sizes: tuple[int, int]) -> None:
    with pytest.raises(LocalProtocolError):
        HybridPublicKey(bytes(sizes[0]), bytes(sizes[1]))


def test_a_key_shows_its_id_and_no_secret() -> None:
    key = FederationKey.from_seeds("vector", ED25519_SEED, MLDSA65_SEED)
    assert repr(key) == f"FederationKey({key.key_id!r})"
    assert ED25519_SEED.hex() not in f"{key!r}{key!s}"


def test_a_key_id_says_which_keys_it_means_whatever_the_name() -> None:
    digest = key_digest(alice().key_id)
    assert alice().key_id == f"alice-{digest}"
    assert key_digest(f"another-name-{digest}") == digest
    for other in (digest, f"-{digest}", f"x-{digest[1:]}", f"x-{digest.upper()}", "fam-1", ""):
        assert key_digest(other) == other
