"""What is passed on because a record of ours relies on it.

A record by one of ours may rest on records by strangers: the key an attestation is about, the
occurrence that vouched for another, the roster that decided a later one. Without them it would
wait for ever at nodes that know the friend and not the stranger. So each row keeps what it relied
on when it was admitted, and what rows of ours rely on, and those again, is marked as introduced.
Strangers introduce nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ciris_mesh.directory.buckets import bucket_of
from ciris_mesh.directory.rooting import RootedKeys
from ciris_mesh.directory.store import Name, Store
from ciris_mesh.records.kinds import EnvelopeKind

#: What one record relies on: its signers' keys, those it names, what its rule found. A roster of
#: more members introduces the first of them; the others are left to those who know them.
RELIED_MAX: Final = 256

#: Names of key records kept at hand: nearly every record relies on one that was just looked for,
#: and the first record of a key stays the first. 200 B each.
KEY_NAMES_MAX: Final = 4096


class Introductions:
    """Follows who relies on whom. Used by the writer only, inside a transaction.

    Args:
        touched: gets (kind, bucket) of rows that may be offered from now on.
        rooted: who is one of ours besides friends.
    """

    def __init__(
        self, store: Store, touched: set[tuple[EnvelopeKind, int]], rooted: RootedKeys
    ) -> None:
        self._store = store
        self._touched = touched
        self._rooted = rooted
        self._key_names: dict[str, Name] = {}
        self._met: tuple[frozenset[str], frozenset[str]] | None = None

    def note(self, name: Name, key_ids: Iterable[str], others: Iterable[Name]) -> None:
        """A row was written; it relied on these keys and rows."""
        relied = dict.fromkeys([*map(self._key_name, key_ids), *others])
        for known in (None, name):
            relied.pop(known, None)
        self._store.rely(name, [one for one in relied if one is not None][:RELIED_MAX])

    def know(self, key_id: str, name: Name) -> None:
        """The first record of this key was written."""
        if len(self._key_names) >= KEY_NAMES_MAX:
            self._key_names.clear()
        self._key_names[key_id] = name

    def forget(self, key_id: str) -> None:
        """Look again, which record of this key is the first."""
        self._key_names.pop(key_id, None)

    def _key_name(self, key_id: str) -> Name | None:
        name = self._key_names.get(key_id)
        if name is None and (name := self._store.key_name(key_id)) is not None:
            self.know(key_id, name)
        return name

    def befriend(self, friends: frozenset[str]) -> bool:
        """Look who is one of ours by now: what they signed before is no stranger's any more.

        Returns:
            True when some rows are charged to nobody any more.
        """
        rooted = self._rooted.ids()
        if self._met is None:
            new = self._store.stranger_signers() & (friends | rooted)
        elif self._met[0] == friends and self._met[1] is rooted:
            return False
        else:
            new = (friends - self._met[0]) | (rooted - self._met[1])
        self._met = (friends, rooted)
        names = [name for key_id in sorted(new) for name in self._store.strangers_named(key_id)]
        for name in names:
            self._store.drop_stranger(name)
        self.introduce_below(names)
        return bool(names)

    def introduce_below(self, names: Sequence[Name]) -> None:
        """Pass on what these rows rely on, and what that does. Each row is marked once, ever."""
        while names and (names := self._store.not_introduced(names)):
            self._store.introduce(names)
            self._touched.update((kind, bucket_of(envelope_id)) for kind, envelope_id in names)
