"""What a passphrase closes opens with it alone, and not at all once a byte is different."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import BackupError
from ciris_mesh.runtime import sealed as module
from ciris_mesh.runtime.sealed import (
    HEAD_BYTES,
    PASSPHRASE_CHARS_MIN,
    check_passphrase,
    seal,
    sealed_bytes,
    sealed_length,
    unseal,
)

WORDS = "otter lamp seven brine"
CONTENTS = {"identity": bytes(64), "federation.key": b"seeds", "empty": b""}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrypt at its cheapest: what is tested does not depend on how dear guessing is."""
    monkeypatch.setattr(module, "_LOG2_N", 2)


def test_what_was_sealed_opens() -> None:
    sealed = seal(CONTENTS, WORDS)
    assert unseal(sealed, WORDS) == CONTENTS
    assert len(sealed) == sealed_bytes(CONTENTS)
    assert sealed_length(sealed[:HEAD_BYTES]) == len(sealed) - HEAD_BYTES


def test_nothing_of_the_contents_shows() -> None:
    secret = bytes(range(64))
    assert secret[:16] not in seal({"identity": secret}, WORDS)
    assert seal(CONTENTS, WORDS) != seal(CONTENTS, WORDS)


def test_another_passphrase_does_not_open_it() -> None:
    with pytest.raises(BackupError, match="this passphrase does not open it"):
        unseal(seal(CONTENTS, WORDS), WORDS + ".")


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(place: float, bit: int) -> None:
    sealed = bytearray(seal(CONTENTS, WORDS))
    sealed[int(place * len(sealed))] ^= 1 << bit
    with pytest.raises(BackupError):
        unseal(bytes(sealed), WORDS)


@pytest.mark.parametrize("length", [0, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 20, -1])
def test_what_is_cut_short_says_so(length: int) -> None:
    with pytest.raises(BackupError, match="cut short"):
        unseal(seal(CONTENTS, WORDS)[:length], WORDS)


@pytest.mark.parametrize(
    ("version", "log2_n", "r", "p", "words"),
    [
        (2, 14, 8, 1, "has format 2, known is 1"),
        (1, 40, 8, 1, "head is damaged"),
        (1, 14, 1 << 30, 1, "head is damaged"),
        (1, 14, 8, 4096, "head is damaged"),
    ],
)
def test_a_stick_does_not_say_how_much_memory_is_taken(
    version: int, log2_n: int, r: int, p: int, words: str
) -> None:
    sealed = seal(CONTENTS, WORDS)
    head = struct.pack(">4I", version, log2_n, r, p)
    with pytest.raises(BackupError, match=words):
        unseal(head + sealed[16:], WORDS)


def test_a_length_nobody_writes_is_refused_before_it_is_read() -> None:
    head = seal(CONTENTS, WORDS)[: HEAD_BYTES - 4]
    with pytest.raises(BackupError, match="head is damaged"):
        sealed_length(head + b"\xff\xff\xff\xff")


def test_a_short_passphrase_is_refused_and_told_what_is_better() -> None:
    check_passphrase("x" * PASSPHRASE_CHARS_MIN)
    with pytest.raises(BackupError, match="12 to 1024 characters"):
        check_passphrase("x" * (PASSPHRASE_CHARS_MIN - 1))
    with pytest.raises(BackupError, match="words chosen by dice"):
        seal(CONTENTS, "short")


def test_more_than_a_node_has_is_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONTENTS_BYTES_MAX", 100)
    with pytest.raises(BackupError, match="more than a backup's sealed part may hold"):
        seal({"peers": bytes(101)}, WORDS)


def test_an_accented_letter_is_one_however_it_was_typed() -> None:
    composed, apart = "gr\u00fcne W\u00e4lder im Mai", "gru\u0308ne Wa\u0308lder im Mai"
    assert unseal(seal({"a": b"b"}, composed), apart) == {"a": b"b"}


def test_a_passphrase_that_is_no_text() -> None:
    with pytest.raises(BackupError, match="no text in UTF-8"):
        seal({"a": b"b"}, "\udcfc" * 20)
