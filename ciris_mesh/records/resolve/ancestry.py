"""From a key up to the roots configured here, along the shortest chains.

Anybody may vouch for any key, so a key can have many chains. Only the shortest decide: a chain
through a stranger who vouched too is longer than the one its owner was introduced by, unless that
stranger stands nearer to a root.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX

#: Keys looked at above one key. Only rooted keys are, so strangers cannot add to them.
KEYS_VISITED_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Ancestry:
    """The shortest chains from a key to roots.

    Attributes:
        path: one of them, the key first; of several the one with the smallest ids from the root
            down. Empty when the key is not rooted.
        above: every key in any of them but the first.
    """

    path: tuple[str, ...] = ()
    above: frozenset[str] = frozenset()


def shortest_chains(
    key_id: str,
    vouchers: Callable[[str], Iterable[str]],
    is_vouched_by: Callable[[str, str], bool],
    roots: Collection[str],
) -> Ancestry:
    """Climb level by level until some key of a level was vouched for by a root.

    Args:
        vouchers: key id -> who signed its records.
        is_vouched_by: (key id, root) -> whether this root did.
        roots: roots that are here and are what the configuration says.

    Raises:
        TooManyRows: more keys would have to be looked at than `KEYS_VISITED_MAX`.
    """
    if key_id in roots:
        return Ancestry((key_id,))
    below: dict[str, set[str]] = {}
    seen = {key_id}
    level = {key_id}
    for _ in range(CHAIN_LINKS_MAX - 1):
        tops = {root: {one for one in level if is_vouched_by(one, root)} for root in sorted(roots)}
        if any(tops.values()):
            return _ancestry(key_id, {root: ones for root, ones in tops.items() if ones}, below)
        following: set[str] = set()
        for one in sorted(level):
            for voucher in vouchers(one):
                if voucher not in seen:
                    below.setdefault(voucher, set()).add(one)
                    following.add(voucher)
        seen |= following
        if len(seen) > KEYS_VISITED_MAX:
            raise TooManyRows(f"keys above {key_id}", KEYS_VISITED_MAX)
        if not following:
            break
        level = following
    return Ancestry()


def _ancestry(key_id: str, tops: dict[str, set[str]], below: dict[str, set[str]]) -> Ancestry:
    root = min(tops)
    path = [root, min(tops[root])]
    while path[-1] != key_id:
        path.append(min(below[path[-1]]))
    above = set(tops)
    pending = set().union(*tops.values())
    while pending:
        one = pending.pop()
        if one != key_id and one not in above:
            above.add(one)
            pending |= below[one]
    return Ancestry(tuple(reversed(path)), frozenset(above))
