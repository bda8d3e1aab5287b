"""Which keys lead to a root of this node's configuration, kept up to date as keys arrive.

    root (configured) ── signed ──> key ── signed ──> key ...        at most 64, the root included

A question of its own: keys are admitted without it. It decides whose records this node passes on,
and who may bring as much as there is. Whether a key was revoked since is asked when answers are
made. Source: records-and-protocol.md, sections 3.5 and 4.1a.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ciris_mesh.records.provenance import CHAIN_LINKS_MAX

#: Key id -> the ids of keys whose records it signed.
Children = Callable[[str], Iterable[str]]


class RootedKeys:
    """Key ids with the length of their shortest chain. Grows with the keys held and never shrinks.

    Not thread-safe: the owner holds a lock. About 150 B a key.

    Args:
        children: whose records a key signed, among those on the federation shelf.
    """

    def __init__(self, children: Children) -> None:
        self._children = children
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
            if links > CHAIN_LINKS_MAX or links >= self._links.get(one, CHAIN_LINKS_MAX + 1):
                continue
            if one not in self._links:
                self._ids = None
            self._links[one] = links
            pending += [(child, links + 1) for child in self._children(one)]
