"""Keys at hand: as good as reading them, read once, and not too many."""

from __future__ import annotations

import pytest

from ciris_mesh.directory import keycache
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.keycache import KeyCache, public_key_in
from ciris_mesh.records.kinds import EnvelopeKind
from support.keys import alice, bob, carol
from support.records import AT_MS, sample

K = EnvelopeKind
PEOPLE = (alice(), bob(), carol())


def admit_all(directory: DirectoryCore) -> None:
    for one in PEOPLE:
        directory.admit(K.KEY, sample(K.KEY, one), Source("peer", "hub"), now_ms=AT_MS)


def test_a_key_is_read_once_it_is_there_and_only_then_kept(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyCache(directory._store)
    assert keys.get(alice().key_id) is None
    admit_all(directory)
    assert keys.get(alice().key_id) == alice().public
    monkeypatch.setattr(keys, "read", lambda _: None)
    assert keys.get(alice().key_id) == alice().public
    assert keys.get(bob().key_id) is None


def test_the_least_used_makes_room(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keycache, "KEY_CACHE_MAX", 2)
    admit_all(directory)
    keys = KeyCache(directory._store)
    for one in (alice(), bob(), alice(), carol()):
        assert keys.get(one.key_id) == one.public
    monkeypatch.setattr(keys, "read", lambda _: None)
    assert [keys.get(one.key_id) is not None for one in PEOPLE] == [True, False, True]


def test_what_is_no_key_record_has_no_key() -> None:
    assert public_key_in(b"{}") is None
    assert public_key_in(sample(K.KEY, alice())) == alice().public
