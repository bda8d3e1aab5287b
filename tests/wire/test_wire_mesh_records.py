"""The message that carries records: one spelling, bounded, and not opened on the way."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.wire import mesh, mesh_records
from ciris_mesh.wire.frame import VERSION_MESH, Unwrapped, try_unwrap, wrap
from ciris_mesh.wire.mesh_records import (
    PACKED_BYTES_MAX,
    Records,
    Taken,
    decode,
    encode,
    encode_taken,
    pack,
    unpack,
)
from ciris_mesh.wire.transcode import LIMITS, decode_batch, encode_batch
from support.transcode import valid_records


def packed(*values: Any) -> bytes:
    body: bytes = msgpack.packb(list(values))
    return body


def test_the_layout_by_hand() -> None:
    message = Records(0x1234, b"\x01abc")
    assert encode(message).hex(" ") == "92 10 c4 06 12 34 01 61 62 63"
    assert decode(encode(message)) == message
    assert pack(message) == (mesh_records.TAG, bytes.fromhex("123401616263"))
    assert unpack(pack(message)[1]) == message


@given(st.integers(0, 2**16 - 1), st.binary(min_size=1, max_size=300))
def test_every_message_survives_the_wire(round_id: int, batch: bytes) -> None:
    message = Records(round_id, batch)
    assert decode(encode(message)) == message


@given(st.integers(0, 2**16 - 1), st.binary(min_size=1, max_size=300))
def test_it_is_a_mesh_message_like_the_others(round_id: int, batch: bytes) -> None:
    message = Records(round_id, batch)
    assert mesh.encode(message) == encode(message)
    assert mesh.decode(encode(message)) == message
    assert try_unwrap(wrap(message)) == Unwrapped(VERSION_MESH, message)


def test_only_a_batch_may_be_as_long_as_a_batch() -> None:
    longest = wrap(Records(0, bytes(LIMITS.coded_bytes)))
    assert try_unwrap(longest) is not None
    for tag in (6, 15, 18):
        with pytest.raises(DecodeError, match="exceeds"):
            try_unwrap(longest.replace(b"\x92\x10", bytes((0x92, tag)), 1))


def test_records_cost_seven_bytes_more_than_their_batch() -> None:
    records = valid_records()[:4]
    batch = encode_batch(records)
    body = encode(Records(65535, batch))
    assert len(body) == len(batch) + 7
    assert decode_batch(decode(body).batch) == records


def test_the_largest_batch_fits_and_one_byte_more_does_not() -> None:
    largest = Records(0, bytes(LIMITS.coded_bytes))
    assert decode(encode(largest)) == largest
    with pytest.raises(LocalProtocolError):
        Records(0, bytes(LIMITS.coded_bytes + 1))
    with pytest.raises(DecodeError):
        decode(packed(16, bytes(PACKED_BYTES_MAX + 1)))
    with pytest.raises(DecodeError):
        decode(packed(16, bytes(PACKED_BYTES_MAX + 100)))


@pytest.mark.parametrize(
    "fields", [(-1, b"a"), (2**16, b"a"), (True, b"a"), (1.0, b"a"), (0, b""), (0, "a"), (0, None)]
)
def test_a_field_out_of_range_is_our_own_mistake(fields: Any) -> None:
    with pytest.raises(LocalProtocolError):
        Records(*fields)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        packed(),
        packed(16),
        packed(16, b"\0\0"),
        packed(16, b"\0"),
        packed(16, b""),
        packed(16, "abc"),
        packed(16, None),
        packed(16, 7),
        packed(16, b"\0\0a", 0),
        packed(15, b"\0\0a"),
        packed(True, b"\0\0a"),
        packed(16.0, b"\0\0a"),
        packed("16", b"\0\0a"),
        packed([16], b"\0\0a"),
        b"\x82\x10\xc4\x03\0\0a\x11\xc0",
        packed(16, b"\0\0a") + b"\0",
        packed(16, b"\0\0a")[:-1],
        b"\x92\xcc\x10\xc4\x03\0\0a",
        b"\x92\x10\xc5\x00\x03\0\0a",
        b"\xdc\x00\x02\x10\xc4\x03\0\0a",
        b"\x92\x10\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
    ],
    ids=lambda body: body[:12].hex(),
)
def test_refused(body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(body)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


# --- "go on" --------------------------------------------------------------------------------------


def test_taken_by_hand() -> None:
    assert wrap(Taken(0x1234)).hex(" ") == "43 52 50 4c 81 92 11 c4 02 12 34"


@given(st.integers(0, 2**16 - 1))
def test_every_taken_survives_the_wire(round_id: int) -> None:
    assert try_unwrap(wrap(Taken(round_id))) == Unwrapped(VERSION_MESH, Taken(round_id))


@pytest.mark.parametrize("round_id", [-1, 2**16, True, 1.0, None])
def test_a_round_out_of_range_is_our_own_mistake(round_id: Any) -> None:
    with pytest.raises(LocalProtocolError):
        Taken(round_id)


@pytest.mark.parametrize(
    "body",
    [
        packed(17),
        packed(17, 7),
        packed(17, b""),
        packed(17, b"\0"),
        packed(17, b"\0\0\0"),
        packed(17, b"\0\0") + b"\0",
        packed(17, "\0\0"),
        packed(17, b"\0\0", 0),
        b"\x92\x11\xc5\0\2\0\0",
        b"\x92\xcc\x11\xc4\2\0\0",
    ],
    ids=bytes.hex,
)
def test_only_one_spelling_of_taken_is_read(body: bytes) -> None:
    assert mesh.decode(encode_taken(Taken(0))) == Taken(0)
    with pytest.raises(DecodeError):
        mesh.decode(body)


@given(st.binary(max_size=64))
def test_hostile_bytes_raise_only_decode_error(body: bytes) -> None:
    for each in (body, b"\x92\x10" + body):
        try:
            message = decode(each)
        except DecodeError:
            continue
        assert encode(message) == each


# --- "no air" -------------------------------------------------------------------------------------


def test_no_air_by_hand() -> None:
    assert wrap(mesh.NoAir(600)).hex(" ") == "43 52 50 4c 81 92 12 cd 02 58"


@given(st.integers(1, 2**16 - 1))
def test_every_no_air_survives_the_wire(wait_s: int) -> None:
    message = mesh.NoAir(wait_s)
    assert try_unwrap(wrap(message)) == Unwrapped(VERSION_MESH, message)


@pytest.mark.parametrize("wait_s", [0, -1, 2**16, True, 1.5, None])
def test_no_air_for_no_time_is_our_own_mistake(wait_s: Any) -> None:
    with pytest.raises(LocalProtocolError):
        mesh.NoAir(wait_s)


@pytest.mark.parametrize("value", [0, -1, 2**16, True, 1.5, None, b"1", "1"])
def test_no_air_for_no_time_is_refused(value: Any) -> None:
    with pytest.raises(DecodeError):
        mesh.decode(packed(18, value))
