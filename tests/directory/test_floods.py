"""What others can make this node do for one record: judgements and signature checks, counted.

Time says little on a busy machine; work does not depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ciris_mesh.directory import admission, core
from ciris_mesh.directory.admission import Admission
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import Candidate, Judgement
from ciris_mesh.directory.pools import TOKEN_BYTES
from ciris_mesh.records import checks, hybrid
from ciris_mesh.records import groups as rosters
from ciris_mesh.records.envelope import Envelope, one_spelling_problem
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rules import groups
from ciris_mesh.records.rules.base import WAITS_MAX
from ciris_mesh.records.timestamps import from_unix_ms
from support.records import AT_MS, group_columns, member
from support.rulebook import K, key_id, key_record, made, really_signed

HUB = Source("peer", "hub")
NOW_MS = AT_MS + 600_000
Open = Callable[..., DirectoryCore]


@dataclass
class Work:
    """Judgements by kind, records and signatures verified, and rosters read, since `clear`."""

    judged: Counter[EnvelopeKind] = field(default_factory=Counter)
    looked_at: int = 0
    verified: int = 0
    rosters_read: int = 0

    def clear(self) -> None:
        self.judged.clear()
        self.looked_at = self.verified = self.rosters_read = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()
    judge_all = Admission.judge_all

    def judging(self: Admission, asked: Sequence[Candidate], now_ms: int) -> list[Judgement]:
        done.judged.update(what.kind for what in asked)
        return judge_all(self, asked, now_ms)

    def looking(envelope: Envelope) -> str | None:
        done.looked_at += 1
        return one_spelling_problem(envelope)

    def verifying(*arguments: Any) -> Any:
        done.verified += 1
        return hybrid.verify_hybrid(*arguments)

    def reading(envelope: Envelope) -> Any:
        done.rosters_read += 1
        return rosters.read_group(envelope)

    monkeypatch.setattr(Admission, "judge_all", judging)
    monkeypatch.setattr(admission, "one_spelling_problem", looking)
    monkeypatch.setattr(checks, "verify_hybrid", verifying)
    monkeypatch.setattr(groups, "read_group", reading)
    return done


def put(directory: DirectoryCore, envelope: Envelope) -> Reason:
    verdict = directory.admit(envelope.kind, really_signed(envelope), HUB, now_ms=NOW_MS)
    assert verdict.outcome in (Outcome.ADMITTED, Outcome.DEFERRED), verdict
    return verdict.reason


def know(directory: DirectoryCore, *names: str) -> None:
    for name in names:
        assert put(directory, key_record(name)) is Reason.NONE


def family(label: str, founder: str, *others: str, protocol: str = "founder_only") -> Envelope:
    members = [member(key_id(founder), founder=True), *(member(key_id(it)) for it in others)]
    given = {"members": members, "consensus_protocol": protocol}
    return made(K.FAMILY, group_columns(K.FAMILY, label, given), founder)


def later(group: Envelope, after_ms: int, founder: str, *by: str) -> Envelope:
    kept = {name: group.record[name] for name in group.record if name != "persist_row_hash"}
    members = [member(key_id(founder), founder=True)]
    at_ms = AT_MS + after_ms
    given: dict[str, Any] = {**kept, "founded_at": from_unix_ms(at_ms), "members": members}
    return made(K.FAMILY, given, *by, at_ms=at_ms)


def score(by: str, about: str, n: int = 0, dimension: str = "d") -> Envelope:
    given = {
        "attested_key_id": key_id(about),
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": dimension, "n": n},
    }
    return made(K.ATTESTATION, given, by)


# -- what waits ----------------------------------------------------------------------------------


def test_keys_that_trickle_in_ask_a_roster_again_now_and_then(
    open_directory: Open, work: Work
) -> None:
    directory, names = open_directory(), [f"n{number:02}" for number in range(2 * WAITS_MAX + 1)]
    know(directory, "mallory")
    for label in ("f", "g"):
        assert put(directory, family(label, "mallory", *names)) is Reason.KEY_UNKNOWN
    work.clear()
    for name in sorted(names, key=key_id):
        know(directory, name)
    assert len(directory.holdings(K.FAMILY)) == 2
    assert work.judged == {K.KEY: len(names), K.FAMILY: 2 * 3}, "not once for each key"
    assert work.verified == work.looked_at == len(names), "the rosters stood before"


def test_an_entry_keeps_few_tokens_and_they_count(open_directory: Open) -> None:
    directory = open_directory()
    know(directory, "mallory")
    group = family("f", "mallory", *(f"n{number:02}" for number in range(60)))
    put(directory, group)
    (entry,) = directory._store.pool_entries()
    assert len(entry.waits_for) == WAITS_MAX
    held = directory._deferred.size_bytes
    assert held > entry.size_bytes + WAITS_MAX * TOKEN_BYTES


def test_each_signature_of_a_record_is_verified_once(open_directory: Open, work: Work) -> None:
    directory = open_directory()
    names = sorted(("alice", "bob", "carol", "dave"), key=key_id)
    group = family("f", names[0], *names[1:], protocol="unanimous")
    whole = made(K.FAMILY, {k: v for k, v in group.record.items() if k in _COLUMNS}, *names)
    put(directory, whole)
    assert work.verified == 0, "nobody's key is here"
    for count, name in enumerate(names, start=1):
        know(directory, name)
        assert work.verified == 2 * count, "the key's own signature and one of the roster"
    assert directory.holdings(K.FAMILY)


_COLUMNS = ("family_key_id", "family_name", "members", "founded_at", "consensus_protocol")


def test_a_key_is_news_once(open_directory: Open, work: Work) -> None:
    directory = open_directory()
    know(directory, "mallory", "eve")
    for n in range(5):
        assert put(directory, score("mallory", "mallory", n, "accord:x")) is Reason.NOT_ROOTED
    given = {
        "attested_key_id": key_id("eve"),
        "attestation_type": "delegates_to",
        "attestation_envelope": {"delegated_scope": ["agency:act_on_behalf"]},
    }
    put(directory, key_record("relay", "node"))
    to_relay = made(K.ATTESTATION, {**given, "attested_key_id": key_id("relay")}, "mallory")
    assert put(directory, to_relay) is Reason.DELEGATE_TYPE_NOT_ALLOWED
    work.clear()
    for name in ("mallory", "eve"):
        for ref in "abc":
            put(directory, key_record("mallory", by=name, ref=f"{name} {ref}"))
            put(directory, key_record("relay", by=name, ref=f"{name} {ref}"))
    assert work.judged == {K.KEY: 12}
    put(directory, key_record("relay", "agent,node", ref="itself"))
    assert work.judged == {K.KEY: 13, K.ATTESTATION: 1}, "what it says of itself is news"


def test_what_was_verified_after_a_restart_is_not_again(open_directory: Open, work: Work) -> None:
    directory = open_directory()
    know(directory, "alice")
    assert put(directory, score("alice", "bob")) is Reason.KEY_UNKNOWN
    directory._load()  # what opening does; the store in memory cannot be opened twice
    work.clear()
    assert len(directory.retry_due(NOW_MS)) == 1
    assert work.verified == 1, "nothing of it was written down"
    know(directory, "bob")
    assert work.verified == 2, "bob's own"
    assert directory.holdings(K.ATTESTATION)


# -- how much at once ----------------------------------------------------------------------------


def test_what_one_record_releases_has_a_limit_and_the_oldest_come_first(
    open_directory: Open, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "RELEASES_MAX", 5)
    monkeypatch.setattr(core, "OVERDUE_BATCH", 2)
    directory = open_directory()
    know(directory, "alice", "carol")
    raws = [really_signed(score("alice", "bob", n)) for n in range(14)]
    raws.append(raws[0])  # judged again, it keeps its turn
    verdicts = [directory.admit(K.ATTESTATION, raw, HUB, now_ms=NOW_MS) for raw in raws]
    assert {verdict.reason for verdict in verdicts} == {Reason.KEY_UNKNOWN}

    def held() -> list[bool]:
        rows = {ref.envelope_hash for ref in directory.holdings(K.ATTESTATION)}
        return [verdict.envelope_id in rows for verdict in verdicts[:-1]]

    work.clear()
    know(directory, "bob")
    assert held() == [True] * 5 + [False] * 9
    put(directory, key_record("bob", ref="again"))
    assert held() == [True] * 7 + [False] * 7, "a key is news once, even to who is late"
    directory.retry_due(NOW_MS)
    assert held() == [True] * 12 + [False] * 2
    directory.retry_due(NOW_MS)
    assert held() == [True] * 14
    assert work.judged[K.ATTESTATION] == 14
    assert work.verified == 2, "of bob's two records"
    assert directory.pools().deferred == 0


def test_what_becomes_due_has_a_limit_too(
    open_directory: Open, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "RELEASES_MAX", 3)
    directory = open_directory()
    know(directory, "alice")
    ahead = {"asserted_at": from_unix_ms(NOW_MS + 400_000)}
    for n in range(5):
        given = {"attested_key_id": key_id("alice"), "attestation_type": "scores"}
        inner = {"attestation_envelope": {"dimension": "d", "n": n}}
        assert put(directory, made(K.ATTESTATION, given | ahead | inner, "alice")) is (
            Reason.TIME_AHEAD
        )
    work.clear()
    assert len(directory.retry_due(NOW_MS + 400_000)) == 3
    assert len(directory.retry_due(NOW_MS + 400_000)) == 2
    assert (work.judged, work.verified) == ({K.ATTESTATION: 5}, 0)


# -- rosters -------------------------------------------------------------------------------------


def test_a_chain_of_rosters_is_judged_link_by_link(open_directory: Open, work: Work) -> None:
    directory, count = open_directory(), 12
    know(directory, *(f"k{n}" for n in range(count + 1)), "eve")
    group = family("f", "k0")
    chain = [later(group, n, f"k{n}", f"k{n - 1}") for n in range(1, count + 1)]
    for record in reversed(chain):
        assert put(directory, record) is Reason.ROSTER_UNKNOWN
    for n in range(count):
        assert put(directory, later(group, count + 1 + n, "eve", "eve")) is Reason.ROSTER_UNKNOWN
    work.clear()
    put(directory, group)
    assert len(directory.holdings(K.FAMILY)) == count + 1
    assert work.judged[K.FAMILY] <= 1 + 2 * count + count, "eve's wake for the first alone"
    assert work.verified == 1


def test_a_chain_counts_as_one_record(
    open_directory: Open, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "RELEASES_MAX", 4)
    directory = open_directory()
    know(directory, *(f"k{n}" for n in range(4)))
    group = family("f", "k0")
    for n in range(1, 4):
        put(directory, later(group, n, f"k{n}", f"k{n - 1}"))
    work.clear()
    put(directory, group)
    assert work.judged[K.FAMILY] == 1 + 4, "three for the first, one for the second"
    assert len(directory.holdings(K.FAMILY)) == 3
    directory.retry_due(NOW_MS)
    assert len(directory.holdings(K.FAMILY)) == 4


def test_rosters_and_removals_are_read_once_each(open_directory: Open, work: Work) -> None:
    directory, count = open_directory(), 10
    know(directory, "mallory", "alice", "eve")
    group = family("f", "mallory", "alice")
    put(directory, group)
    for n in range(count):
        put(directory, later(group, n + 1, "mallory", "mallory"))
        gone = {
            "family_key_id": group.record["family_key_id"],
            "removed_identity_key_id": key_id("alice"),
        }
        at_ms = AT_MS + n + 1
        put(directory, made(K.FAMILY_MEMBERSHIP_REVOCATION, gone, "mallory", at_ms=at_ms))
    hostile = later(group, 999, "eve", "eve")
    put(directory, hostile)
    for n in range(5):
        work.clear()
        assert put(directory, later(group, 1000 + n, "eve", "eve")) is (
            Reason.CONSENSUS_NOT_REACHED
        )
        assert work.rosters_read == 2, "the roster itself, by its content and its standing"
        assert work.judged == {K.FAMILY: 1}


def test_removals_wake_only_who_might_now_be_enough(open_directory: Open, work: Work) -> None:
    directory = open_directory()
    know(directory, "alice", "bob", "carol", "eve")
    group = family("f", "alice", "bob", "carol", protocol="majority")
    founding = {k: v for k, v in group.record.items() if k in _COLUMNS}
    put(directory, made(K.FAMILY, founding, "alice", "bob"))
    for by in ("eve", "bob"):
        for n in range(3):
            assert put(directory, later(group, 100 + n, "bob", by)) is Reason.CONSENSUS_NOT_REACHED
    work.clear()
    gone = {
        "family_key_id": group.record["family_key_id"],
        "removed_identity_key_id": key_id("alice"),
    }
    put(directory, made(K.FAMILY_MEMBERSHIP_REVOCATION, gone, "alice", at_ms=AT_MS + 1))
    assert work.judged == {K.FAMILY_MEMBERSHIP_REVOCATION: 1, K.FAMILY: 3}
    assert work.verified == 1
