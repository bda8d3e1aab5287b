"""Set digests that are kept instead of recomputed.

A kind's envelope ids fall into 256 buckets by their first byte. A bucket hashes its sorted ids, the
set hashes its buckets' counts and digests. One new row makes one bucket dirty, and only dirty
buckets are read again. XOR or sums over ids would be cheaper still, but can be forged: whoever
chooses records could find a set that collides. Hashing the sorted ids leaves them SHA-256 itself.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ciris_mesh.directory.base import SetDigest

#: One per value of an id's first byte. At a million rows a bucket holds about 4 000 ids, 125 kB:
#: cheap to hash again; and 13 kinds x 256 digests stay under half a megabyte of memory.
BUCKET_COUNT: Final = 256


@dataclass(frozen=True, slots=True)
class BucketDigest:
    """How many ids a bucket holds and the SHA-256 of their sorted concatenation."""

    count: int
    digest: bytes


EMPTY_BUCKET: Final = BucketDigest(0, hashlib.sha256().digest())


def bucket_of(envelope_id: bytes) -> int:
    """The bucket an id belongs to, 0 .. 255."""
    return envelope_id[0]


def bucket_digest(ids: Iterable[bytes]) -> BucketDigest:
    """Hash one bucket's ids, given in any order and without duplicates."""
    ordered = sorted(ids)
    return BucketDigest(len(ordered), hashlib.sha256(b"".join(ordered)).digest())


def set_digest(buckets: Sequence[BucketDigest]) -> SetDigest:
    """Hash 256 buckets in order: big-endian u32 count, then digest, each.

    Peers compare this value, so its layout is part of the mesh profile.
    """
    packed = b"".join(struct.pack(">I", bucket.count) + bucket.digest for bucket in buckets)
    return SetDigest(sum(bucket.count for bucket in buckets), hashlib.sha256(packed).digest())


def digest_of(ids: Iterable[bytes]) -> SetDigest:
    """The digest of a whole set at once. Equal to what `BucketDigests` keeps for the same ids."""
    groups: list[list[bytes]] = [[] for _ in range(BUCKET_COUNT)]
    for envelope_id in set(ids):
        groups[bucket_of(envelope_id)].append(envelope_id)
    return set_digest([bucket_digest(group) for group in groups])


EMPTY_SET: Final = digest_of(())


class BucketDigests:
    """The kept digests of one kind. Not thread-safe: the owner holds a lock.

    Args:
        read_ids: the ids of one bucket, read from the store when that bucket is dirty.
        saved: clean digests from an earlier run; buckets left out are empty.
        dirty: buckets whose saved digest is out of date.
    """

    def __init__(
        self,
        read_ids: Callable[[int], Iterable[bytes]],
        saved: Mapping[int, BucketDigest],
        dirty: Iterable[int],
    ) -> None:
        self._read_ids = read_ids
        self._buckets = [saved.get(number, EMPTY_BUCKET) for number in range(BUCKET_COUNT)]
        self._dirty = set(dirty)
        self._unsaved: set[int] = set()
        self._noted = set(self._dirty)
        self._whole: SetDigest | None = None

    def mark(self, buckets: Iterable[int]) -> None:
        """Say that rows of these buckets changed."""
        self._dirty.update(buckets)
        self._unsaved -= self._dirty
        self._whole = None

    def current(self) -> SetDigest:
        """The digest now. Reads dirty buckets only; nothing at all when none is dirty."""
        for number in sorted(self._dirty):
            self._buckets[number] = bucket_digest(self._read_ids(number))
            self._dirty.discard(number)
            self._unsaved.add(number)
        if self._whole is None:
            self._whole = set_digest(self._buckets)
        return self._whole

    def unsaved(self) -> dict[int, BucketDigest]:
        """Digests computed since they were last written to the store."""
        return {number: self._buckets[number] for number in self._unsaved}

    def mark_saved(self, buckets: Iterable[int]) -> None:
        """Say that these digests are in the store now."""
        self._unsaved.difference_update(buckets)
        self._noted.difference_update(buckets)

    def note(self, buckets: Iterable[int]) -> list[int]:
        """Say that the store is about to have these as out of date. Returns those it does not yet.

        While much comes in, and nobody compares, that is soon none.
        """
        news = [number for number in buckets if number not in self._noted]
        self._noted.update(news)
        return news
