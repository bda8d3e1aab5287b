"""Who vouched for whom, by the signed records alone: neither revocations nor expiry are looked at.

Anybody may vouch for any key, so only vouchers who lead to a root themselves are looked at: the
others cannot be in a chain. Who signed is read from the index, and no record; so strangers who
vouch, however many they are, neither hide a chain nor use up what an answer may read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.names import name
from ciris_mesh.records.resolve.ancestry import Ancestry, shortest_chains
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.keys import is_root

#: Signers of records of one key that are looked through. Where there are more, each rooted key is
#: asked for instead: of those there are as many as this node's federation has.
SIGNERS_MAX: Final = 1000


class NamedRows(Protocol):
    """What is read from; `view.Reader` is one."""

    def federation(self, name: str) -> list[Envelope]:
        """All federation-shelf rows of a name. Raises TooManyRows."""
        ...

    def signers(self, name: str, limit: int) -> list[tuple[str, ...]]:
        """Who signed those of the federation shelf, at most `limit`, at no cost."""
        ...

    def rooted(self) -> Collection[str]:
        """Keys with a chain of signed records to a configured root."""
        ...


class Vouching:
    """Chains of key records up to the roots of this node's configuration, looked for once each."""

    def __init__(self, reader: NamedRows, trust: Trust) -> None:
        self._reader = reader
        self._trust = trust
        self._roots: list[str] | None = None
        self._ancestries: dict[str, Ancestry] = {}

    def ancestry(self, key_id: str) -> Ancestry:
        """The shortest chains of a key.

        Raises:
            TooManyRows: more rooted keys stand above it than are climbed.
        """
        if key_id not in self._ancestries:
            self._ancestries[key_id] = shortest_chains(
                key_id, self.vouchers, self.is_vouched_by, self._known_roots()
            )
        return self._ancestries[key_id]

    def vouchers(self, key_id: str) -> list[str]:
        """Rooted keys that signed records of this one, itself perhaps among them, by id."""
        rooted = self._reader.rooted()
        found = self._reader.signers(name("key", key_id), SIGNERS_MAX + 1)
        if len(found) > SIGNERS_MAX:
            return sorted(one for one in rooted if self.is_vouched_by(key_id, one))
        return sorted({one for signers in found for one in signers if one in rooted})

    def is_vouched_by(self, key_id: str, signer: str) -> bool:
        """True when a record of the key by this signer is here."""
        return bool(self._reader.signers(name("vouch", key_id, signer), 1))

    def _known_roots(self) -> list[str]:
        if self._roots is None:
            self._roots = [root for root in self._trust.roots if self._is_root(root)]
        return self._roots

    def _is_root(self, root: str) -> bool:
        records = self._reader.federation(name("vouch", root, root))
        return any(is_root(record, self._trust) for record in records)
