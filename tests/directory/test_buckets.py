"""Equal digests mean equal sets, and an unchanged digest costs nothing."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.directory.buckets import (
    BUCKET_COUNT,
    EMPTY_SET,
    BucketDigests,
    bucket_of,
    digest_of,
)

ids = st.binary(min_size=32, max_size=32)
#: Ids that share buckets, so that buckets with several ids occur.
crowded = st.tuples(st.sampled_from([b"\x00", b"\x01", b"\xff"]), st.integers(0, 50)).map(
    lambda parts: parts[0] + parts[1].to_bytes(31, "big")
)
id_sets = st.frozensets(st.one_of(ids, crowded), max_size=40)


class Rows:
    """A store that counts how often a bucket is read."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.reads = 0

    def bucket(self, number: int) -> list[bytes]:
        self.reads += 1
        return [one for one in self.ids if bucket_of(one) == number]

    def digests(self) -> BucketDigests:
        return BucketDigests(self.bucket, {}, range(BUCKET_COUNT))

    def add(self, one: bytes, digests: BucketDigests) -> None:
        self.ids.add(one)
        digests.mark([bucket_of(one)])


@given(id_sets, id_sets)
def test_digests_are_equal_exactly_when_sets_are(
    one: frozenset[bytes], other: frozenset[bytes]
) -> None:
    assert (digest_of(one) == digest_of(other)) is (one == other)


@given(st.lists(crowded, max_size=30))
def test_order_and_repetition_do_not_matter(many: list[bytes]) -> None:
    assert digest_of(many) == digest_of([*reversed(many), *many])
    assert digest_of(many).count == len(set(many))


@given(st.lists(st.one_of(ids, crowded), max_size=30), st.data())
def test_the_kept_digest_is_the_digest_of_the_set(many: list[bytes], data: st.DataObject) -> None:
    rows = Rows()
    digests = rows.digests()
    for one in many:
        rows.add(one, digests)
        if data.draw(st.booleans()):
            assert digests.current() == digest_of(rows.ids)
    assert digests.current() == digest_of(rows.ids)


def test_the_layout_is_pinned() -> None:
    """Peers compare this value: 256 times big-endian u32 count and SHA-256 of the sorted ids."""
    one, two = b"\x01" + bytes(31), b"\x01" + b"\xff" * 31
    empty = bytes(4) + hashlib.sha256(b"").digest()
    full = bytes([0, 0, 0, 2]) + hashlib.sha256(one + two).digest()
    expected = hashlib.sha256(empty + full + empty * 254).digest()
    assert digest_of([two, one]).digest == expected
    assert EMPTY_SET.digest == hashlib.sha256(empty * 256).digest()


def test_moving_an_id_between_buckets_is_seen() -> None:
    """The count and place of every bucket are hashed, so concatenations cannot be confused."""
    assert digest_of([b"\x01" + bytes(31)]) != digest_of([b"\x02" + bytes(31)])


def test_only_dirty_buckets_are_read() -> None:
    rows = Rows()
    digests = rows.digests()
    digests.current()
    assert rows.reads == BUCKET_COUNT
    digests.current()
    assert rows.reads == BUCKET_COUNT
    rows.add(b"\x07" + bytes(31), digests)
    rows.add(b"\x07" + b"\x01" * 31, digests)
    rows.add(b"\x09" + bytes(31), digests)
    digests.current()
    assert rows.reads == BUCKET_COUNT + 2


def test_saved_digests_are_taken_over_and_dirty_ones_are_read() -> None:
    rows = Rows()
    first = rows.digests()
    for number in range(40):
        rows.add(bytes([number]) + bytes(31), first)
    whole = first.current()
    saved = first.unsaved()
    first.mark_saved(saved)
    assert first.unsaved() == {}
    rows.reads = 0
    second = BucketDigests(rows.bucket, saved, [3])
    assert second.current() == whole
    assert rows.reads == 1


@pytest.mark.parametrize("bucket", [0, 255])
def test_a_digest_that_is_out_of_date_is_not_saved(bucket: int) -> None:
    rows = Rows()
    digests = rows.digests()
    digests.current()
    assert bucket in digests.unsaved()
    rows.add(bytes([bucket]) * 32, digests)
    assert bucket not in digests.unsaved()


def test_the_store_is_told_once_that_a_digest_is_out_of_date() -> None:
    rows = Rows()
    digests = BucketDigests(rows.bucket, {}, [3])
    assert digests.note([3, 4]) == [4], "it has 3 so already"
    assert digests.note([3, 4]) == []
    digests.mark([4])
    digests.current()
    digests.mark_saved(digests.unsaved())
    assert digests.note([4]) == [4], "it has had a current one since"
    assert digests.note([3, 4, 5]) == [3, 5]
