"""From a difference in short ids to records, and the check that it is the right one.

Both sides come to the same split: a short id that either side has more often than the other
"differs", with every record that bears it; all others are common. So a collision sends a record
too many and never one too few, and the full ids of what is common must hash to the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ciris_mesh.protocol.shortid import Item, SaltedSet, check_of
from ciris_mesh.wire import bitpack


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the reader of a sketch found out.

    Attributes:
        offer: own items the peer lacks (or, with equal short ids, may lack).
        wanted: short ids whose records the peer is asked for.
        ranks: those, packed as `Wants` carries them.
        check: of what is common.
    """

    offer: tuple[Item, ...]
    wanted: int
    ranks: bytes
    check: bytes


def outcome(own: SaltedSet, values: Sequence[int], net: Mapping[int, int]) -> Outcome | None:
    """Work out both sides' records.

    Args:
        values: the short id of each of `own.items`.
        net: short id -> how many more of them the peer has; below zero: fewer. Never zero.

    Returns:
        None when that cannot be: the peer would have fewer than none of something.
    """
    held = Counter(values)
    if any(held[value] + more < 0 for value, more in net.items()):
        return None
    theirs = set(held)
    for value, more in net.items():
        (theirs.add if held[value] + more else theirs.discard)(value)
    ordered = sorted(theirs)
    ranks = [bisect_left(ordered, value) for value in sorted(net.keys() & theirs)]
    offer, common = _split(own, values, net)
    return Outcome(
        offer, len(ranks), bitpack.pack_distinct(ranks, len(ordered)), check_of(common, own.key)
    )


def found_among(
    spare: Sequence[Item], key: bytes, width: int, cells_log2: int, net: Mapping[int, int]
) -> tuple[list[Item], list[int], Mapping[int, int]]:
    """Spare items that the peer seems to have: they, their short ids, and `net` without them.

    A short id alone may deceive. Then the check over what is common does not hold, and the next
    attempt has another salt.
    """
    if not spare or not net:
        return [], [], net
    rest, met, values = dict(net), [], []
    spare_values = SaltedSet(spare, key).values(width, cells_log2)
    for element, value in zip(spare, spare_values, strict=True):
        if rest.get(value) == 1:
            met.append(element)
            values.append(value)
            del rest[value]
    return met, values, rest


def wanted_items(
    own: SaltedSet, values: Sequence[int], ranks: bytes, check: bytes
) -> tuple[Item, ...] | None:
    """The items a peer's Wants name.

    Returns:
        None when the check says that the peer means another set.

    Raises:
        DecodeError: the ranks are malformed or beyond what is held.
    """
    ordered = sorted(set(values))
    chosen = bitpack.unpack_distinct(ranks, len(ordered), count_max=len(ordered))
    wanted, common = _split(own, values, {ordered[rank] for rank in chosen})
    return wanted if check_of(common, own.key) == check else None


def _split(
    own: SaltedSet, values: Sequence[int], differing: Mapping[int, int] | set[int]
) -> tuple[tuple[Item, ...], list[bytes]]:
    apart: list[Item] = []
    common: list[bytes] = []
    for element, value in zip(own.items, values, strict=True):
        if value in differing:
            apart.append(Item(element))
        else:
            common.append(element)
    return tuple(apart), common
