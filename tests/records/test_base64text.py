"""Base64 read fast says what the standard library says, of whatever comes."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.records.base64text import decoded, exact, letters_of

_LETTERS = 'ABCDwxyz0189+/=-_ \n"\\'
_ODD = ("", "=", "====", "AAAA=", "AA==AA==", "AB==", "ABC=", "AAA", "A", "AA-_", "AAAA\n", " AAAA")


def strictly(text: str) -> bytes | None:
    """As the standard library reads it since it refuses padding behind whole letters."""
    if len(text) % 4 or text.endswith("==="):
        return None
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


def said(text: str) -> bytes | None:
    try:
        return decoded(text)
    except ValueError:
        return None


@given(st.text(_LETTERS, max_size=12) | st.text(max_size=8))
@example("\u0141AAA")
@example("AAAA\0")
def test_any_text_is_read_as_the_standard_library_reads_it_strictly(text: str) -> None:
    assert said(text) == strictly(text)


@pytest.mark.parametrize("text", _ODD)
def test_what_an_encoder_does_not_write(text: str) -> None:
    assert said(text) == strictly(text)
    again = None if text else b""
    assert exact(text.encode()) == again


@given(st.binary(max_size=4000))
def test_what_was_written_is_read_again(data: bytes) -> None:
    letters = letters_of(data)
    assert letters == b2a_base64(data, newline=False)
    assert exact(letters) == decoded(letters.decode()) == data


@given(st.binary(min_size=1, max_size=40), st.data())
def test_other_letters_are_not_exact(data: bytes, draw: st.DataObject) -> None:
    """Whatever is put in place of one of them: it says something else, or is refused."""
    letters = letters_of(data)
    at = draw.draw(st.integers(0, len(letters) - 1))
    other = draw.draw(st.sampled_from(_LETTERS.encode()))
    changed = letters[:at] + bytes([other]) + letters[at + 1 :]
    found = exact(changed)
    if found is None:
        strict = strictly(changed.decode())
        assert strict is None or b2a_base64(strict, newline=False) != changed
    else:
        assert b2a_base64(found, newline=False) == changed
        assert (found == data) is (changed == letters)
