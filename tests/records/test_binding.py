"""The statement that a federation key speaks through a Reticulum identity."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.binding import (
    Binding,
    binding_message,
    sign_binding,
    verify_binding,
)
from ciris_mesh.records.hybrid import HybridSignature
from ciris_mesh.records.outcome import Reason
from support.keys import alice, bob

RNS_KEY = bytes(range(64))
EXPIRY_S = 2_000_000_000
NOW_S = 1_780_000_000
BINDING = sign_binding(alice(), RNS_KEY, 7, EXPIRY_S)
ENCODED = BINDING.encode()


def test_the_message_is_laid_out_as_the_design_says() -> None:
    name = alice().key_id.encode()
    assert BINDING.message == (
        b"ciris-mesh/binding/v1\x00"
        + struct.pack(">H", len(name))
        + name
        + RNS_KEY
        + struct.pack(">QQ", 7, EXPIRY_S)
    )


def test_a_binding_survives_its_bytes() -> None:
    assert Binding.decode(ENCODED) == BINDING
    assert len(ENCODED) < 4096


def test_a_good_binding_stands() -> None:
    decoded = Binding.decode(ENCODED)
    assert verify_binding(decoded, alice().public, now_s=NOW_S) is Reason.NONE


def test_a_binding_ends_at_its_expiry() -> None:
    public = alice().public
    assert verify_binding(BINDING, public, now_s=EXPIRY_S - 1) is Reason.NONE
    assert verify_binding(BINDING, public, now_s=EXPIRY_S) is Reason.BINDING_EXPIRED


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": bob().key_id},
        {"rns_public_key": RNS_KEY[::-1]},
        {"epoch": 8},
        {"expiry_s": EXPIRY_S + 1},
    ],
    ids=lambda it: next(iter(it)),
)
def test_every_field_is_signed(changes: dict[str, object]) -> None:
    changed = replace(BINDING, **changes)  # type: ignore[arg-type]
    verdict = verify_binding(changed, alice().public, now_s=NOW_S)
    assert verdict is Reason.CLASSICAL_SIGNATURE_INVALID
    assert changed.hash8 != BINDING.hash8


def test_another_key_did_not_sign_it() -> None:
    verdict = verify_binding(BINDING, bob().public, now_s=NOW_S)
    assert verdict is Reason.CLASSICAL_SIGNATURE_INVALID


def test_signing_again_keeps_the_hash_peers_remember() -> None:
    again = sign_binding(alice(), RNS_KEY, 7, EXPIRY_S)
    assert again.signature != BINDING.signature
    assert again.hash8 == BINDING.hash8
    assert len(again.hash8) == 8


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 40, 3000, len(ENCODED) - 1])
def test_a_cut_binding_is_no_binding(cut: int) -> None:
    with pytest.raises(DecodeError):
        Binding.decode(ENCODED[:cut])


@pytest.mark.parametrize(
    "data",
    [
        ENCODED + b"\x00",
        b"\x02" + ENCODED[1:],
        b"\x01\xff\xff" + ENCODED[3:],
        b"\x01\x00\x00" + bytes(64 + 16 + 64 + 3309),
        b"\x01\x00\x01\xff" + bytes(64 + 16 + 64 + 3309),
        b"\x01\x01\x01" + b"a" * 257 + bytes(64 + 16 + 64 + 3309),
    ],
    ids=["trailing", "version", "length", "empty id", "no text", "long id"],
)
def test_wrong_shapes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Binding.decode(data)


@given(st.binary(max_size=200) | st.binary(min_size=3450, max_size=3520))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Binding.decode(b"\x01" + data)


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(position: int, change: int) -> None:
    data = bytearray(ENCODED)
    data[position] ^= change
    try:
        changed = Binding.decode(bytes(data))
    except DecodeError:
        return
    assert verify_binding(changed, alice().public, now_s=NOW_S) is not Reason.NONE


@pytest.mark.parametrize(
    ("key_id", "rns_key", "epoch", "expiry_s"),
    [
        ("", RNS_KEY, 0, 0),
        ("x" * 257, RNS_KEY, 0, 0),
        ("x", RNS_KEY[:-1], 0, 0),
        ("x", RNS_KEY, -1, 0),
        ("x", RNS_KEY, 2**64, 0),
        ("x", RNS_KEY, 0, -1),
        ("x", RNS_KEY, 0, 2**64),
    ],
)
def test_fields_have_ranges(key_id: str, rns_key: bytes, epoch: int, expiry_s: int) -> None:
    with pytest.raises(LocalProtocolError):
        binding_message(key_id, rns_key, epoch, expiry_s)
    with pytest.raises(LocalProtocolError):
        Binding(key_id, rns_key, epoch, expiry_s, BINDING.signature)


def test_extreme_fields_round_trip() -> None:
    name = "\U0001f600" * 64
    extreme = Binding(name, bytes(64), 2**64 - 1, 0, BINDING.signature)
    assert Binding.decode(extreme.encode()) == extreme


@pytest.mark.parametrize(
    "signature",
    [
        HybridSignature(bytes(64), None),
        HybridSignature(bytes(63), bytes(3309)),
        HybridSignature(bytes(63), bytes(3310)),
    ],
)
def test_both_halves_are_needed(signature: HybridSignature) -> None:
    with pytest.raises(LocalProtocolError):
        replace(BINDING, signature=signature)
