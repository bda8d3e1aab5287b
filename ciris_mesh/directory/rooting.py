"""Which keys lead to a root of this node's configuration, kept up to date as keys arrive.

    root (configured) ── signed ──> key ── signed ──> key ...        at most 64, the root included

A question of its own: keys are admitted without it. It decides whose records this node passes on,
and who may bring as much as there is.

Rooted *stewards* are fewer: roots, and keys of which a rooted steward signed a record that says
`steward`. Only their word makes a key what reserved dimensions ask for, or anyone who was signed
for anything could make his friends whatever he likes. Whether a key was revoked since is asked when
answers are made. Source: records-and-protocol.md, sections 3.5 and 4.1a.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Self

from ciris_mesh.directory.store import Store
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.keys import is_root
from ciris_mesh.records.tokens import (
    STEWARDS,
    rooted_token,
    self_key_token,
    steward_token,
    vouched_token,
)

#: Names read at a time: 30 kB.
SUBJECTS_PAGE: Final = 512

#: Key id -> the ids of keys whose records it signed.
Children = Callable[[str], Iterable[str]]


class RootedKeys:
    """Key ids with the length of their shortest chain. Grows with the keys held and never shrinks.

    Not thread-safe: the owner holds a lock. About 150 B a key.

    Args:
        children: whose records a key signed, among those on the federation shelf.
        links_max: keys in a chain, both ends included.
    """

    def __init__(self, children: Children, links_max: int) -> None:
        self._children = children
        self._links_max = links_max
        self._links: dict[str, int] = {}
        self._ids: frozenset[str] | None = frozenset()

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._links

    def ids(self) -> frozenset[str]:
        """All rooted keys, roots included. The same object until one more comes."""
        if self._ids is None:
            self._ids = frozenset(self._links)
        return self._ids

    def add_root(self, key_id: str) -> None:
        """The record of a configured root is here."""
        self._shorten(key_id, 1)

    def add(self, key_id: str, signer: str) -> None:
        """A record of `key_id` signed by `signer` is here."""
        links = self._links.get(signer)
        if links is not None:
            self._shorten(key_id, links + 1)

    def _shorten(self, key_id: str, links: int) -> None:
        pending = [(key_id, links)]
        while pending:
            one, links = pending.pop()
            if links > self._links_max or links >= self._links.get(one, self._links_max + 1):
                continue
            if one not in self._links:
                self._ids = None
            self._links[one] = links
            pending += [(child, links + 1) for child in self._children(one)]


class Rooting:
    """Both sets over one store. Not thread-safe, as above."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.keys = RootedKeys(
            lambda signer: self._subjects(vouched_token(signer)), CHAIN_LINKS_MAX
        )
        # One link less: who was signed by the last of them ends the longest chain.
        self.stewards = RootedKeys(
            lambda signer: self._subjects(steward_token(signer)), CHAIN_LINKS_MAX - 1
        )

    @classmethod
    def found(cls, store: Store, trust: Trust, named: Callable[[str], Iterable[Envelope]]) -> Self:
        """Both sets as the store has them: from the configured roots whose records are here.

        Args:
            named: the records that answer to a token.
        """
        made = cls(store)
        for key_id in sorted(trust.roots):
            if any(is_root(record, trust) for record in named(self_key_token(key_id))):
                made.add_root(key_id)
        return made

    def add_root(self, key_id: str) -> None:
        """The record of a configured root is here."""
        self.keys.add_root(key_id)
        self.stewards.add_root(key_id)

    def add(
        self, key_id: str, signer: str, tokens: Iterable[str], *, is_root: bool
    ) -> tuple[str, ...]:
        """A key record is here, and answers to these tokens. Returns what else that publishes."""
        before = self.stewards.ids()
        if is_root:
            self.add_root(key_id)
        self.keys.add(key_id, signer)
        if steward_token(signer) in tokens:
            self.stewards.add(key_id, signer)
        is_rooted = signer in self.stewards and (is_root or signer != key_id)
        rooted = (rooted_token(key_id),) if is_rooted else ()
        return rooted if self.stewards.ids() is before else (*rooted, STEWARDS)

    def _subjects(self, token: str) -> Iterator[str]:
        after = 0
        while page := self._store.subjects(token, limit=SUBJECTS_PAGE, after=after):
            yield from (subject for _, subject in page)
            after, _ = page[-1]
