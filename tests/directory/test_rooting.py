"""Which keys count as rooted, and that it does not depend on the order in which they came."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.rooting import RootedKeys
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX
from ciris_mesh.records.rules.base import Trust
from support import rulebook
from support.keys import alice, bob, carol, steward
from support.records import AT_MS, sample
from support.rulebook import really_signed

K = EnvelopeKind
HUB = Source("peer", "hub")

#: The steward whose key is configured, and that key's own record.
TRUST = Trust(roots={steward().key_id: steward().public.fingerprint})


def key_record(of: str, by: str = "", identity_type: str = "agent") -> bytes:
    """A record of somebody's key, signed by another, or by itself."""
    return really_signed(rulebook.key_record(of, identity_type, by=by, ref=f"{of} by {by}"))


def names(directory: DirectoryCore) -> set[str]:
    """The names of the rooted keys."""
    return {key_id.rpartition("-")[0] for key_id in directory.rooted()}


def admit(directory: DirectoryCore, *raws: bytes) -> None:
    for raw in raws:
        verdict = directory.admit(K.KEY, raw, HUB, now_ms=AT_MS)
        assert verdict.outcome in (Outcome.ADMITTED, Outcome.DEFERRED), verdict


STEWARD = key_record("steward", identity_type="steward")
BY_STEWARD = key_record("alice", by="steward")
BY_ALICE = key_record("bob", by="alice")
ALL = [STEWARD, key_record("alice"), BY_STEWARD, BY_ALICE, key_record("carol")]


@pytest.fixture
def directory(open_directory: Callable[..., DirectoryCore]) -> DirectoryCore:
    return open_directory(trust=TRUST)


def test_keys_below_a_configured_root_are_rooted(directory: DirectoryCore) -> None:
    admit(directory, *ALL)
    assert names(directory) == {"steward", "alice", "bob"}


def test_a_steward_nobody_configured_roots_nobody(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    for trust in (Trust(), Trust(roots={steward().key_id: alice().public.fingerprint})):
        directory = open_directory(trust=trust)
        admit(directory, *ALL)
        assert names(directory) == set()


def test_a_configured_root_must_call_itself_a_steward(directory: DirectoryCore) -> None:
    admit(directory, key_record("steward"), BY_STEWARD)
    assert names(directory) == set()
    admit(directory, STEWARD)
    assert names(directory) == {"steward", "alice"}


@settings(max_examples=40, deadline=None)
@given(st.permutations(ALL))
def test_the_order_of_arrival_does_not_matter(raws: list[bytes]) -> None:
    directory = MemoryDirectory(trust=TRUST)
    admit(directory, *raws)
    assert names(directory) == {"steward", "alice", "bob"}
    directory.close()


def test_a_restart_finds_them_again(open_directory: Callable[..., DirectoryCore]) -> None:
    directory = open_directory(trust=TRUST)
    admit(directory, *ALL)
    rooted = directory.rooted()
    directory._load()  # what opening does; the store in memory cannot be opened twice
    assert directory.rooted() == rooted


def test_the_set_is_the_same_object_until_it_grows(directory: DirectoryCore) -> None:
    admit(directory, STEWARD)
    before = directory.rooted()
    admit(directory, key_record("carol"))
    assert directory.rooted() is before
    admit(directory, BY_STEWARD)
    assert directory.rooted() is not before


def test_a_bridged_key_is_no_link(directory: DirectoryCore) -> None:
    admit(directory, STEWARD)
    directory.admit(K.KEY, sample(K.KEY, bob()), Source("registry", "r"), now_ms=AT_MS)
    assert names(directory) == {"steward"}


def chain(links: int) -> dict[str, list[str]]:
    """Key n signed key n + 1; the root is key 1."""
    return {f"{n}": [f"{n + 1}"] for n in range(1, links)}


@pytest.mark.parametrize("links", [CHAIN_LINKS_MAX, CHAIN_LINKS_MAX + 1, 200])
def test_a_chain_has_at_most_so_many_links(links: int) -> None:
    children = chain(links)
    rooted = RootedKeys(lambda key_id: children.get(key_id, []))
    rooted.add_root("1")
    assert len(rooted.ids()) == min(links, CHAIN_LINKS_MAX)


def test_a_shorter_way_found_later_counts_for_all_below() -> None:
    children = chain(CHAIN_LINKS_MAX + 10)
    rooted = RootedKeys(lambda key_id: children.get(key_id, []))
    rooted.add_root("1")
    assert str(CHAIN_LINKS_MAX + 10) not in rooted
    children["1"].append("20")
    rooted.add("20", "1")
    assert str(CHAIN_LINKS_MAX + 10) in rooted


def test_keys_that_sign_each_other_end_the_search() -> None:
    children = {"root": ["a"], "a": ["b"], "b": ["a", "root"]}
    rooted = RootedKeys(lambda key_id: children.get(key_id, []))
    rooted.add_root("root")
    assert rooted.ids() == {"root", "a", "b"}
    stray = RootedKeys(lambda key_id: {"a": ["b"], "b": ["a"]}.get(key_id, []))
    stray.add("a", "b")
    assert stray.ids() == frozenset()


def test_whoever_is_rooted_may_bring_more(open_directory: Callable[..., DirectoryCore]) -> None:
    assert carol().key_id not in TRUST.roots
    directory = open_directory(trust=TRUST, limits=PoolLimits(stranger_rows_per_signer=1))
    admit(directory, STEWARD, key_record("carol"))
    raws = [sample(K.ATTESTATION, carol(), n) for n in range(2)]
    outcomes = [directory.admit(K.ATTESTATION, raw, HUB, now_ms=AT_MS).reason for raw in raws]
    assert [reason.value for reason in outcomes] == ["signer_quota", "signer_quota"]
    admit(directory, key_record("carol", by="steward"))
    outcomes = [directory.admit(K.ATTESTATION, raw, HUB, now_ms=AT_MS).reason for raw in raws]
    assert [reason.value for reason in outcomes] == ["", ""]
