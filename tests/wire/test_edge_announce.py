"""The attestation in an announce of `ciris.edge`: its bytes, whom it proves, what it refuses."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.wire.edge_announce import (
    APP_DATA_BYTES_MAX,
    KEY_ID_BYTES_MAX,
    EdgeAttestation,
    attest,
    decode_attestation,
    encode_attestation,
    signed_message,
)
from support.keys import alice, bob

X25519, ED25519 = b"x" * 32, b"e" * 32
RNS_KEY = X25519 + ED25519


def test_the_bytes_are_those_registry_nodes_announce() -> None:
    """`01 | len | key_id | fed_ed25519 | epoch u64be | sig`, spec section 4.2."""
    attestation = attest(alice(), RNS_KEY, 258)
    name = alice().key_id.encode()
    assert encode_attestation(attestation) == (
        b"\x01" + bytes((len(name),)) + name + alice().public.ed25519
        + bytes((0, 0, 0, 0, 0, 0, 1, 2)) + attestation.signature
    )  # fmt: skip


def test_the_message_names_both_keys_of_the_announcing_identity() -> None:
    length = struct.pack(">Q", 32)
    assert signed_message("py-key", RNS_KEY, 7) == (
        b"ciris-edge/announce-attestation/v2" + length + ED25519 + length + X25519
        + struct.pack(">Q", 6) + b"py-key" + struct.pack(">Q", 7)
    )  # fmt: skip


def test_it_proves_one_key_one_identity_and_one_epoch() -> None:
    ours = decode_attestation(encode_attestation(attest(alice(), RNS_KEY, 7)))
    assert (ours.key_id, ours.ed25519, ours.epoch, ours.commitment) == (
        alice().key_id, alice().public.ed25519, 7, None,
    )  # fmt: skip
    assert ours.is_signed(alice().public.ed25519, RNS_KEY)
    assert not ours.is_signed(bob().public.ed25519, RNS_KEY)
    assert not ours.is_signed(alice().public.ed25519, ED25519 + X25519)
    assert not ours.is_signed(alice().public.ed25519, RNS_KEY[:-1])
    later = EdgeAttestation(ours.key_id, ours.ed25519, 8, ours.signature)
    assert not later.is_signed(alice().public.ed25519, RNS_KEY)


def test_version_2_carries_a_commitment_behind_the_signature() -> None:
    plain = attest(alice(), RNS_KEY, 1)
    committed = EdgeAttestation(plain.key_id, plain.ed25519, 1, plain.signature, b"c" * 32)
    data = encode_attestation(committed)
    assert data == b"\x02" + encode_attestation(plain)[1:] + b"c" * 32
    assert decode_attestation(data) == committed
    assert committed.is_signed(alice().public.ed25519, RNS_KEY)


def test_what_does_not_fit_an_announce_is_not_made() -> None:
    longest = EdgeAttestation("k" * KEY_ID_BYTES_MAX, b"e" * 32, 0, b"s" * 64)
    assert len(encode_attestation(longest)) == APP_DATA_BYTES_MAX
    for key_id in ("k" * (KEY_ID_BYTES_MAX + 1), ""):
        with pytest.raises(LocalProtocolError):
            encode_attestation(EdgeAttestation(key_id, b"e" * 32, 0, b"s" * 64))
    with pytest.raises(LocalProtocolError):
        attest(alice(), RNS_KEY + b"!", 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b'{"epoch":0}',
        b"\x03" + bytes(120),
        b"\x01\x00" + bytes(104),
        b"\x01\x01" + bytes(104),
        b"\x01\x01\xff" + bytes(104),
        b"\x02\x01k" + bytes(104),
        b"\x01\x01k" + bytes(105),
    ],
    ids=["empty", "one", "json", "version", "no-id", "short", "no-utf8", "uncommitted", "long"],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_attestation(data)


@given(st.binary(max_size=400))
def test_whatever_is_read_is_written_the_same(data: bytes) -> None:
    try:
        read = decode_attestation(data)
    except DecodeError:
        return
    if len(data) <= APP_DATA_BYTES_MAX:
        assert encode_attestation(read) == data
