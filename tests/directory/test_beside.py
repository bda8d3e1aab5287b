"""What waits beside a record that is held is never lost, whatever comes in the same breath."""

from __future__ import annotations

from collections.abc import Callable

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.records.envelope import Envelope
from support.answers import changed, family, member_removal
from support.attacks import keys, signed
from support.doors import NOW_MS
from support.rulebook import K, key_id

HUB = Source("peer", "hub")


def test_a_copy_released_together_with_what_it_waits_for_beside_is_looked_at_again(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    """The founding roster releases two: one lists dave, and of the other dave is a signer.

    Both are judged while dave is listed nowhere; then the first is written, and when the second
    comes to wait for dave, he is there already.
    """
    directory = open_directory()
    founding = family("majority", "alice", "bob", "alice", "bob")
    with_dave = changed(founding, 1, "alice", "bob dave", "alice", "bob")
    removal = member_removal(founding, "bob", 2, "bob", "dave")

    def admit(envelope: Envelope) -> None:
        kind, raw = signed(envelope)
        directory.admit(kind, raw, HUB, now_ms=NOW_MS)

    for kind, raw in keys("alice", "bob", "dave"):
        directory.admit(kind, raw, HUB, now_ms=NOW_MS)
    for envelope in (with_dave, removal, founding):
        admit(envelope)
    (signers,) = directory.signers(K.FAMILY_MEMBERSHIP_REVOCATION).values()
    assert set(signers) == {key_id("bob"), key_id("dave")}
    assert directory.pools().deferred == 0
