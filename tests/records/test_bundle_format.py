"""The bundle format: what is written is read, damage is found and stays where it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError
from ciris_mesh.records.bundle import (
    FALSE_STARTS_MAX,
    LINE_BYTES_MAX,
    MAGIC,
    BundledRecord,
    BundleReader,
    BundleWriter,
    Damage,
    Item,
    UnknownRecord,
)
from ciris_mesh.records.envelope import ENVELOPE_BYTES_MAX
from ciris_mesh.records.kinds import EnvelopeKind

Pair = tuple[EnvelopeKind, bytes]

# Line feeds, digits and the words of the format itself: whatever could be taken for structure.
tricky = st.sampled_from([b"\n", b"end 0 ", b"key 1 ", b"{}", MAGIC, b"0" * 64, b"\xff\x00"])
envelopes = st.lists(st.one_of(tricky, st.binary(max_size=40)), max_size=6).map(b"".join)
pairs = st.lists(st.tuples(st.sampled_from(EnvelopeKind), envelopes), max_size=8)


def bundle(records: Iterable[Pair]) -> bytes:
    writer = BundleWriter()
    return b"".join([writer.begin(), *(writer.record(*pair) for pair in records), writer.end()])


def read(data: bytes, piece: int = 1 << 20) -> tuple[list[Item], BundleReader]:
    reader = BundleReader()
    items: list[Item] = []
    for start in range(0, len(data), piece):
        items += reader.feed(data[start : start + piece])
    items += reader.close()
    return items, reader


def records(items: Iterable[Item]) -> list[Pair]:
    return [(item.kind, item.envelope) for item in items if isinstance(item, BundledRecord)]


def damage(items: Iterable[Item]) -> list[Damage]:
    return [item for item in items if isinstance(item, Damage)]


THREE: list[Pair] = [
    (EnvelopeKind.KEY, b'{"record":{}}'),
    (EnvelopeKind.ATTESTATION, b'{\n  "attestation": 1\n}'),
    (EnvelopeKind.FAMILY, b""),
]


def test_the_layout_is_pinned() -> None:
    digest = hashlib.sha256(b"key\0{}").digest()
    whole = hashlib.sha256(digest).hexdigest().encode()
    expected = b"ciris-mesh bundle 1\nkey 2 %s\n{}\nend 1 %s\n" % (digest.hex().encode(), whole)
    assert bundle([(EnvelopeKind.KEY, b"{}")]) == expected


@given(pairs)
def test_what_was_written_is_read_byte_for_byte(written: list[Pair]) -> None:
    items, reader = read(bundle(written))
    assert records(items) == written
    assert damage(items) == []
    assert reader.is_complete


@given(pairs, st.binary(max_size=300), st.integers(0, 400), st.integers(1, 90))
def test_pieces_of_any_size_give_the_same_items(
    written: list[Pair], junk: bytes, at: int, piece: int
) -> None:
    data = bundle(written)
    at = max(len(MAGIC), min(at, len(data)))
    data = data[:at] + junk + data[at:]
    whole, reader = read(data)
    in_pieces, other = read(data, piece)
    assert in_pieces == whole
    assert other.is_complete == reader.is_complete


@given(pairs, st.data())
def test_one_flipped_bit_costs_at_most_the_record_it_hits(
    written: list[Pair], data: st.DataObject
) -> None:
    good = bundle(written)
    at = data.draw(st.integers(len(MAGIC), len(good) - 1))
    broken = bytearray(good)
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    items, reader = read(bytes(broken))
    survivors = records(items)
    assert not reader.is_complete
    assert damage(items)
    assert len(survivors) >= len(written) - 1
    remaining = iter(written)
    for survivor in survivors:  # what is read was written, in that order
        if survivor[1] in [envelope for _, envelope in written]:
            assert any(survivor[1] == envelope for _, envelope in remaining)


@given(pairs, st.data())
def test_what_is_cut_off_is_missed(written: list[Pair], data: st.DataObject) -> None:
    good = bundle(written)
    cut = data.draw(st.integers(len(MAGIC), len(good) - 1))
    items, reader = read(good[:cut])
    assert not reader.is_complete
    assert damage(items)[-1].reason == "cut_short"
    assert records(items) == written[: len(records(items))]


def test_damage_is_named_with_its_place() -> None:
    data = bytearray(bundle(THREE))
    second = data.index(b"attestation 2")
    third = data.index(b"family 0")
    data[second + 90] ^= 1
    items, _ = read(bytes(data))
    assert damage(items) == [Damage("checksum", second, third - second)]
    assert records(items) == [THREE[0], THREE[2]]


def test_a_broken_separator_costs_no_record() -> None:
    good = bundle(THREE)
    at = good.index(b"\nattestation 2")
    items, reader = read(good[:at] + b"\x0b" + good[at + 1 :])
    assert records(items) == THREE
    assert damage(items) == [Damage("not_a_record", at, 1)]
    assert not reader.is_complete


def test_an_end_line_within_a_damaged_record_ends_nothing() -> None:
    inside = b"end 0 " + hashlib.sha256().hexdigest().encode() + b"\n"
    written = [(EnvelopeKind.KEY, b"x\n" + inside), *THREE]
    items, reader = read(bundle(written).replace(b"\nx\n", b"\ny\n"))
    assert records(items) == THREE
    assert [one.reason for one in damage(items)] == ["checksum"]
    assert reader._ended


def test_a_wrong_length_does_not_swallow_what_follows() -> None:
    data = bundle(THREE).replace(b"key 13 ", b"key 99 ")
    items, _ = read(data)
    assert records(items) == THREE[1:]
    assert [one.reason for one in damage(items)] == ["checksum"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"key %d " % (ENVELOPE_BYTES_MAX + 1) + b"0" * 64 + b"\n", "too_large"),
        (b"key 99999999999 " + b"0" * 64 + b"\n", "not_a_record"),
        (b"key 02 " + b"0" * 64 + b"\n", "not_a_record"),
        (b"KEY 2 " + b"0" * 64 + b"\n", "not_a_record"),
        (b"key -2 " + b"0" * 64 + b"\n", "not_a_record"),
        (b"key 2 " + b"A" * 64 + b"\n", "not_a_record"),
        (b"x" * 1000 + b"\n", "not_a_record"),
        (b"\n", "not_a_record"),
    ],
)
def test_a_line_that_is_no_record_is_passed_over(line: bytes, reason: str) -> None:
    data = bundle(THREE)
    at = data.index(b"attestation 2")
    items, _ = read(data[:at] + line + data[at:])
    assert records(items) == THREE
    assert damage(items) == [Damage(reason, at, len(line))]


def test_a_record_left_out_is_noticed() -> None:
    data = bundle(THREE)
    start, end = data.index(b"attestation 2"), data.index(b"family 0")
    items, reader = read(data[:start] + data[end:])
    assert records(items) == [THREE[0], THREE[2]]
    assert [one.reason for one in damage(items)] == ["records_missing"]
    assert not reader.is_complete


def test_records_in_another_order_are_noticed() -> None:
    data = bundle(THREE)
    start, end = data.index(b"attestation 2"), data.index(b"family 0")
    last = data.index(b"end 3")
    items, reader = read(data[:start] + data[end:last] + data[start:end] + data[last:])
    assert records(items) == [THREE[0], THREE[2], THREE[1]]
    assert not reader.is_complete


def test_what_follows_the_end_is_not_read() -> None:
    data = bundle(THREE)
    more = bundle(THREE)[len(MAGIC) :]
    items, reader = read(data + more)
    assert records(items) == THREE
    assert damage(items) == [Damage("after_end", len(data), len(more))]
    assert not reader.is_complete


def test_a_kind_of_the_future_is_named_and_left_alone() -> None:
    checksum = hashlib.sha256(b"consent_grant\0{}").digest()
    whole = hashlib.sha256(checksum).hexdigest()
    line = f"consent_grant 2 {checksum.hex()}\n{{}}\nend 1 {whole}\n"
    data = MAGIC + line.encode()
    items, reader = read(data)
    assert items == [UnknownRecord("consent_grant", len(MAGIC))]
    assert reader.is_complete


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"ciris-mesh bundle", b"SQLite format 3\0" * 40, b"x" * 500, MAGIC[:-1] + b" "],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="no ciris-mesh bundle"):
        read(data)


def test_a_newer_version_is_refused_by_number() -> None:
    with pytest.raises(DecodeError, match="version 2 needs a newer"):
        read(b"ciris-mesh bundle 2\nwhatever\n")


def test_a_long_line_is_never_held() -> None:
    reader = BundleReader()
    list(reader.feed(MAGIC))
    for _ in range(200):
        assert list(reader.feed(b"x" * 100_000)) == []
        assert len(reader._buffer) <= LINE_BYTES_MAX
    (torn, cut) = reader.close()
    assert isinstance(torn, Damage)
    assert (torn.reason, torn.size_bytes) == ("not_a_record", 20_000_000)
    assert isinstance(cut, Damage)
    assert cut.reason == "cut_short"


def test_a_file_made_to_keep_us_hashing_is_given_up() -> None:
    line = b"key 70 " + b"0" * 64 + b"\n"
    fed = MAGIC + line * (FALSE_STARTS_MAX + 2)
    with pytest.raises(DecodeError, match="beyond repair"):
        read(fed)
    items, _ = read(MAGIC + line * 50)
    assert re.match(r"checksum", damage(items)[0].reason)
