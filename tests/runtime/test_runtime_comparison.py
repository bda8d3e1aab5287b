"""Salted digests: equal exactly when the sets are, different on every link."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.directory.base import SetDigest
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.comparison import DIGEST_BYTES, beyond, own_digests, salted, split
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh import Digests, KindDigest

SALT = bytes(range(16))
ONE, TWO, THREE = tuple(EnvelopeKind)[:3]

ids = st.frozensets(st.binary(min_size=32, max_size=32), max_size=6)


@dataclass
class Views:
    """A bridge that has one set of ids a kind."""

    sets: dict[EnvelopeKind, frozenset[bytes]]

    def view_digest(self, peer: str, kind: EnvelopeKind) -> SetDigest:
        return digest_of(self.sets.get(kind, frozenset()))


def digests(sets: dict[EnvelopeKind, frozenset[bytes]], salt: bytes = SALT) -> Digests:
    return own_digests(Views(sets), "bob", frozenset(EnvelopeKind), salt, reply=False)


@given(ids, ids, st.binary(min_size=16, max_size=16))
def test_digests_are_equal_exactly_when_the_sets_are(
    mine: frozenset[bytes], theirs: frozenset[bytes], salt: bytes
) -> None:
    one, two = salted(digest_of(mine), salt), salted(digest_of(theirs), salt)
    assert len(one) == DIGEST_BYTES
    assert (one == two) == (mine == theirs)


@given(ids, st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_every_salt_gives_other_bytes(held: frozenset[bytes], one: bytes, two: bytes) -> None:
    assert (salted(digest_of(held), one) == salted(digest_of(held), two)) == (one == two)


def test_the_bytes_are_pinned() -> None:
    """Two releases must agree that they hold the same."""
    assert salted(SetDigest(3, bytes(32)), SALT).hex() == "248108df208328fd"


def test_kinds_are_named_in_wire_order_and_only_those_asked_for() -> None:
    said = own_digests(Views({}), "bob", {THREE, ONE}, SALT, reply=True)
    assert [entry.kind for entry in said.entries] == [ONE, THREE]
    assert said.reply
    unwrapped = try_unwrap(wrap(said))
    assert unwrapped is not None
    assert unwrapped.message == said


def test_split_tells_equal_from_different_kinds() -> None:
    same = frozenset({b"a" * 32})
    mine = digests({ONE: same, TWO: same})
    theirs = digests({ONE: same, TWO: frozenset({b"b" * 32})})
    equal, differ = split(mine, theirs)
    assert differ == [TWO]
    assert equal == [kind for kind in EnvelopeKind if kind is not TWO]


def test_split_says_nothing_of_kinds_only_one_side_named() -> None:
    entry = KindDigest(ONE, 0, bytes(8))
    assert split(Digests((entry,), False), Digests((), True)) == ([], [])
    assert split(Digests((), False), Digests((entry,), True)) == ([], [])


def test_the_same_digest_with_another_count_differs() -> None:
    mine, theirs = KindDigest(ONE, 1, bytes(8)), KindDigest(ONE, 2, bytes(8))
    assert split(Digests((mine,), False), Digests((theirs,), True)) == ([], [ONE])


def test_what_a_peer_has_beyond_ours_is_counted_by_kind() -> None:
    """What we have more of another kind says nothing about it."""
    some = [bytes([n]) * 32 for n in range(9)]
    ours = digests({ONE: frozenset(some[:2]), TWO: frozenset(some)})
    theirs = digests({ONE: frozenset(some[:7]), TWO: frozenset(some[:1]), THREE: frozenset(some)})
    assert beyond(ours, theirs) == 5 + 9
    assert beyond(theirs, ours) == 8
    assert beyond(ours, ours) == 0
    unnamed = Digests(tuple(it for it in theirs.entries if it.kind is not THREE), reply=True)
    assert beyond(unnamed, theirs) == 0
