"""Which keys count as rooted, and that it does not depend on the order in which they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory import rooting
from ciris_mesh.directory.admission import Admission
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import Candidate, Judgement
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.rooting import RootedKeys
from ciris_mesh.records import provenance
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.keys import rooted_as
from support import rulebook
from support.keys import alice, bob, carol, key, steward
from support.records import AT_MS, sample
from support.rulebook import really_signed

K = EnvelopeKind
HUB = Source("peer", "hub")

#: The steward whose key is configured, and that key's own record.
TRUST = Trust(roots={steward().key_id: steward().public.fingerprint})


def key_record(of: str, by: str = "", identity_type: str = "agent") -> bytes:
    """A record of somebody's key, signed by another, or by itself."""
    ref = f"{of} by {by} as {identity_type}"
    return really_signed(rulebook.key_record(of, identity_type, by=by, ref=ref))


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
    rooted = RootedKeys(lambda key_id: children.get(key_id, []), CHAIN_LINKS_MAX)
    rooted.add_root("1")
    assert len(rooted.ids()) == min(links, CHAIN_LINKS_MAX)


def test_a_shorter_way_found_later_counts_for_all_below() -> None:
    children = chain(CHAIN_LINKS_MAX + 10)
    rooted = RootedKeys(lambda key_id: children.get(key_id, []), CHAIN_LINKS_MAX)
    rooted.add_root("1")
    assert str(CHAIN_LINKS_MAX + 10) not in rooted
    children["1"].append("20")
    rooted.add("20", "1")
    assert str(CHAIN_LINKS_MAX + 10) in rooted


def test_keys_that_sign_each_other_end_the_search() -> None:
    children = {"root": ["a"], "a": ["b"], "b": ["a", "root"]}
    rooted = RootedKeys(lambda key_id: children.get(key_id, []), CHAIN_LINKS_MAX)
    rooted.add_root("root")
    assert rooted.ids() == {"root", "a", "b"}
    stray = RootedKeys({"a": ["b"], "b": ["a"]}.__getitem__, CHAIN_LINKS_MAX)
    stray.add("a", "b")
    assert stray.ids() == frozenset()


# -- stewards --------------------------------------------------------------------------------------

NAMES = ("root", "a", "b", "c", "d")
LINKS_MAX = 3
ROOT = Trust(roots={rulebook.key_id("root"): key("root").public.fingerprint})


@cache
def world() -> tuple[tuple[Envelope, bytes], ...]:
    """Everybody signs everybody, as an agent and as a steward."""
    records = [
        rulebook.key_record(of, types, by=by, ref=f"{of} {types} by {by}")
        for of in NAMES
        for by in NAMES
        for types in ("agent", "steward,witness")
    ]
    return tuple((record, really_signed(record)) for record in records)


def introduced() -> MemoryDirectory:
    """A directory that knows all keys, none of them as a steward."""
    directory = MemoryDirectory(trust=ROOT)
    admit(directory, *(really_signed(rulebook.key_record(name, ref="own")) for name in NAMES))
    return directory


_orders = st.lists(st.sampled_from(range(2 * len(NAMES) ** 2)), unique=True, max_size=14)


@pytest.fixture
def short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (provenance, rooting):
        monkeypatch.setattr(module, "CHAIN_LINKS_MAX", LINKS_MAX)


@pytest.mark.usefixtures("short_chains")
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=_orders)
def test_rooted_stewards_are_those_of_the_definition_and_only_ever_more(order: list[int]) -> None:
    directory, shelf = introduced(), rulebook.Shelf(ROOT)
    score = _cosigned("d")
    before: frozenset[str] = frozenset()
    for number in order:
        record, raw = world()[number]
        is_witness = _outcome(directory, score) in (Outcome.ADMITTED, Outcome.DUPLICATE)
        admit(directory, raw)
        shelf.add(record)
        assert directory.stewards() == shelf.stewards() >= before
        before = shelf.stewards()
        rooted_as_witness = rooted_as("witness", rulebook.key_id("d"), shelf, ROOT).is_fine
        held = bool(directory.holdings(K.ATTESTATION))
        assert held >= is_witness
        assert held is rooted_as_witness, "released as soon as, and not before, it is rooted"
    directory._load()
    assert directory.stewards() == before
    directory.close()


@cache
def _cosigned(by: str) -> bytes:
    columns = {
        "attested_key_id": rulebook.key_id("root"),
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": "transparency_log:cosigned"},
    }
    return really_signed(rulebook.made(K.ATTESTATION, columns, by))


def _outcome(directory: DirectoryCore, raw: bytes) -> Outcome:
    return directory.admit(K.ATTESTATION, raw, HUB, now_ms=AT_MS).outcome


def test_what_waits_for_a_steward_is_asked_again_only_for_one(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(directory, *(key_record(name) for name in ("alice", "bob", "carol")), STEWARD)
    judged: list[EnvelopeKind] = []
    judge_all = Admission.judge_all

    def counting(self: Admission, asked: Sequence[Candidate], now_ms: int) -> list[Judgement]:
        judged.extend(what.kind for what in asked)
        return judge_all(self, asked, now_ms)

    monkeypatch.setattr(Admission, "judge_all", counting)
    columns = {
        "attested_key_id": carol().key_id,
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": "accord:x"},
    }
    score = really_signed(rulebook.made(K.ATTESTATION, columns, "alice"))
    assert _outcome(directory, score) is Outcome.DEFERRED
    admit(
        directory,
        key_record("alice", by="bob", identity_type="accord_test"),
        really_signed(rulebook.key_record("alice", "steward", ref="myself")),
        key_record("bob", by="carol", identity_type="steward"),
        key_record("bob", by="steward"),
    )
    assert judged.count(K.ATTESTATION) == 1, "strangers' records and one's own ask nothing again"
    admit(directory, key_record("bob", by="steward", identity_type="steward"))
    assert judged.count(K.ATTESTATION) == 2
    admit(directory, key_record("alice", by="bob", identity_type="witness"))
    assert judged.count(K.ATTESTATION) == 3
    assert not directory.holdings(K.ATTESTATION)


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
