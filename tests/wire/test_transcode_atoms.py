"""Texts that are bytes: what has parts gives the same text back, what has none is left alone."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.wire.transcode import atoms
from support import json_values, transcode
from support.keys import alice


@given(transcode.times)
def test_a_time_comes_back_exactly(text: str) -> None:
    parts = atoms.time_parts(text)
    if parts is not None:
        assert atoms.time_text(*parts) == text


@pytest.mark.parametrize(
    ("text", "form", "units", "offset"),
    [
        ("1970-01-01T00:00:00Z", 0, 0, 0),
        ("1970-01-01T00:00:01.250Z", 0, 1250, 0),
        ("1969-12-31T23:59:59.999Z", 0, -1, 0),
        ("1970-01-01T00:00:00.000001Z", 1, 1, 0),
        ("1970-01-01T00:00:00.000000001Z", 2, 1, 0),
        ("1970-01-01T00:00:01.000Z", 6, 1000, 0),
        ("1970-01-01T00:00:01.250000Z", 9, 1_250_000, 0),
        ("1970-01-01T00:00:01.5Z", 4, 15, 0),
        ("1970-01-01t00:00:00Z", 13, 0, 0),
        ("1970-01-01 00:00:00Z", 23, 0, 0),
        ("1970-01-01T00:00:00z", 33, 0, 0),
        ("1970-01-01T00:00:00+00:00", 63, 0, 0),
        ("1970-01-01T00:00:00-00:00", 63, 0, 1),
        ("1970-01-01T02:30:00+02:30", 63, 0, 300),
        ("1969-12-31T21:30:00-0230", 93, 0, 301),
        ("0000-01-01T00:00:00Z", 0, -62_167_219_200_000, 0),
        ("9999-12-31T23:59:59.999999999Z", 2, 253_402_300_799_999_999_999, 0),
    ],
)
def test_every_spelling_of_a_time_has_parts(text: str, form: int, units: int, offset: int) -> None:
    assert atoms.time_parts(text) == (form, units, offset)
    assert atoms.time_text(form, units, offset) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+24:00",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "٢٠٢٦-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_has_none(text: str) -> None:
    assert atoms.time_parts(text) is None


@pytest.mark.parametrize("form", [-1, atoms.TIME_FORMS, 10**6])
def test_other_forms_of_a_time_do_not_exist(form: int) -> None:
    with pytest.raises(ValueError, match="form"):
        atoms.time_text(form, 0, 0)


@pytest.mark.parametrize(
    ("form", "units"), [(0, 10**15), (0, -(10**15)), (2, 2**70), (3, -(10**12))]
)
def test_times_beyond_four_digits_of_a_year_do_not_exist(form: int, units: int) -> None:
    with pytest.raises(ValueError, match="years"):
        atoms.time_text(form, units, 0)


@given(st.uuids())
def test_a_uuid_is_sixteen_bytes(one: object) -> None:
    raw = atoms.uuid_parts(str(one))
    assert raw is not None
    assert len(raw) == 16
    assert atoms.uuid_text(raw) == str(one)


@pytest.mark.parametrize(
    "text",
    [
        "9C5E668F-66a4-4259-99d9-c666c1484c74",
        "9c5e668f66a4425999d9c666c1484c74",
        "{9c5e668f-66a4-4259-99d9-c666c1484c74}",
        "9c5e668f-66a4-4259-99d9-c666c1484c7",
        "9c5e668f-66a4-4259-99d9-c666c1484c74\n",
    ],
)
def test_other_spellings_of_a_uuid_are_text(text: str) -> None:
    assert atoms.uuid_parts(text) is None


@given(transcode.texts)
def test_whatever_has_parts_comes_back(text: str) -> None:
    if (key := atoms.key_parts(text)) is not None:
        assert atoms.key_text(*key) == text
        assert len(key[1]) == 10
    if (digits := atoms.hex_parts(text)) is not None:
        assert atoms.hex_text(*digits) == text
    if (tailed := atoms.tailed_parts(text)) is not None:
        assert tailed[0] + atoms.hex_text(*tailed[1:]) == text
    if (raw := atoms.base64_parts(text)) is not None:
        assert base64.b64encode(raw).decode() == text


def test_a_key_id_is_its_name_and_ten_bytes_of_fingerprint() -> None:
    public = alice().public
    assert atoms.key_parts(alice().key_id) == ("alice", public.fingerprint[:10])
    assert atoms.key_text("alice", public.fingerprint) == alice().key_id
    assert atoms.key_parts("-" + "a" * 16) == ("", bytes(10))
    for text in ("alice", "alice-2ftn7elfyisy6se", "alice-2FTN7ELFYISY6SE7", "a-1ftn7elfyisy6se7"):
        assert atoms.key_parts(text) is None


def test_hex_may_have_an_odd_number_of_digits() -> None:
    assert atoms.hex_parts("872830828ffffff") == (15, bytes.fromhex("872830828ffffff0"))
    assert atoms.hex_text(15, bytes.fromhex("872830828ffffff0")) == "872830828ffffff"
    assert atoms.hex_parts("872830828fF") is None
    assert atoms.hex_parts("ab") is None, "a word as likely"


def test_a_hex_tail_needs_something_before_it() -> None:
    assert atoms.tailed_parts("sha256:" + "ab" * 32) == ("sha256:", 64, b"\xab" * 32)
    assert atoms.tailed_parts("ab" * 32) is None
    assert atoms.tailed_parts("sha256:ab") is None


@pytest.mark.parametrize(
    "text",
    [
        "A" * 23,
        "A" * 22 + "=A",
        "A" * 21 + "===",
        "A" * 22 + "B=",
        "A" * 22 + "-=",
        "A" * 24 + "\n",
    ],
)
def test_base64_has_one_spelling(text: str) -> None:
    assert atoms.base64_parts(text) is None


def signature(used: int, *, padding: bytes = b"", counts: bytes = bytes(5)) -> bytes:
    hints = (b"\x07" * used + padding).ljust(55, b"\0")
    return b"\x01" * 3248 + hints + counts + bytes([used])


@pytest.mark.parametrize("used", [0, 1, 37, 54, 55])
def test_a_signature_goes_without_its_padding(used: int) -> None:
    text = base64.b64encode(signature(used)).decode()
    parts = atoms.signature_parts(text)
    assert parts is not None
    assert len(parts) == 3254 + used
    assert atoms.signature_text(parts[:3248], parts[3248:3254], parts[3254:]) == text


@pytest.mark.parametrize(
    "raw",
    [
        signature(54, padding=b"\x01"),
        signature(0, padding=b"\0" * 54 + b"\x01"),
        signature(55)[:-1] + b"\x38",
        signature(55)[:-1],
        signature(55) + b"\0",
    ],
)
def test_a_signature_of_another_build_goes_whole(raw: bytes) -> None:
    assert atoms.signature_parts(base64.b64encode(raw).decode()) is None


@given(json_values.number_tokens)
def test_a_number_keeps_its_spelling(token: str) -> None:
    assert atoms.is_number(token)
    parts = atoms.decimal_parts(token)
    if parts is not None:
        assert atoms.decimal_text(*parts) == token
    else:
        assert "e" in token.lower() or sum(map(str.isdigit, token)) > 18


@pytest.mark.parametrize(
    ("token", "parts"),
    [
        ("0", (0, 0)),
        ("-0", (1, 0)),
        ("0.0", (2, 0)),
        ("-0.50", (5, 50)),
        ("1.0", (2, 10)),
        ("0.38671875", (16, 38671875)),
        ("123456789012345678", (0, 123456789012345678)),
        ("0.12345678901234567", (34, 12345678901234567)),
    ],
)
def test_a_decimal_is_its_digits_and_where_the_point_is(token: str, parts: tuple[int, int]) -> None:
    assert atoms.decimal_parts(token) == parts
    assert atoms.decimal_text(*parts) == token


@pytest.mark.parametrize(
    "token",
    ["1e5", "1234567890123456789", "0.123456789012345678", "01", "1.", ".5", "+1", "", "1\n"],
)
def test_other_numbers_are_no_decimals(token: str) -> None:
    assert atoms.decimal_parts(token) is None


@pytest.mark.parametrize(("scale", "digits"), [(0, 10**18), (36, 1), (2**27, 0), (2, 10**19)])
def test_no_decimal_has_more_digits_than_a_varint_takes(scale: int, digits: int) -> None:
    with pytest.raises(ValueError, match="digits"):
        atoms.decimal_text(scale, digits)


@pytest.mark.parametrize("token", ["", "1" * 65, "0x1", "1 ", "NaN", "-", "1.e5", "00"])
def test_what_is_no_short_number_is_none(token: str) -> None:
    assert not atoms.is_number(token)
