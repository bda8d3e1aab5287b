"""One small federation in which something of every kind may come in and something may not.

Every record that waits for another has that other in here, and most rules have one who tries to get
around them, so that orders, duplicates and partitions of it exercise all of admission.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.groups import ID_COLUMNS
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.timestamps import from_unix_ms
from support.keys import key
from support.records import AT_MS, columns, group_columns, member
from support.rulebook import MINUTE_MS, K, countersigned, key_id, key_record, made

PEOPLE = ("alice", "bob", "carol", "dave", "erin", "laptop", "phone", "mallory", "chief")
CELL = "872830828ffffff"
ACT = "agency:act_on_behalf"

TRUST = Trust(
    roots={key_id("root"): key("root").public.fingerprint},
    root_stewards=frozenset({key_id("chief")}),
    partner_stewards=frozenset(map(key_id, ("alice", "bob", "carol"))),
    partner_threshold=2,
)

_Columns = dict[str, Any]


@cache
def federation() -> tuple[Envelope, ...]:
    """All of it, signed in name only."""
    honest = (
        *_keys(),
        *_attestations(),
        *_occurrences(),
        *_families(),
        *_communities(),
        *_operations(),
    )
    return honest + tuple(_countersigned(honest))


def _countersigned(records: Iterable[Envelope]) -> Iterator[Envelope]:
    """Copies with signatures nobody asked for and that never count."""
    cosigned = [envelope for envelope in records if is_cosigned(envelope.kind)]
    for number, envelope in enumerate(cosigned):
        yield countersigned(envelope, "mallory", "chief", alone=number % 3 == 0)


def _keys() -> Iterator[Envelope]:
    for name in PEOPLE:
        yield key_record(name)
    yield key_record("root", "steward")
    yield key_record("bob", "agent,steward", by="root", ref="vouched")
    yield key_record("erin", "agent", by="root", ref="vouched")
    yield key_record("carol", "witness", by="erin", ref="vouched")
    yield key_record("alice", "witness", by="bob", ref="vouched")
    yield key_record("mallory", "steward,witness", ref="self-made")
    yield key_record("mallory", "steward, witness", ref="spaced")
    yield made(K.REVOCATION, {"revoked_key_id": key_id("dave"), "reason": "a claim"}, "mallory")
    yield made(K.REVOCATION, {"revoked_key_id": key_id("dave")}, "dave")


def _attest(by: str, about: str, type_: str, inner: _Columns, **more: Any) -> Envelope:
    given = {
        "attested_key_id": key_id(about),
        "attestation_type": type_,
        "attestation_envelope": inner,
    }
    at_ms = AT_MS - 1000 if type_ == "delegates_to" else AT_MS
    return made(K.ATTESTATION, given | more, by, at_ms=at_ms)


def _attestations() -> Iterator[Envelope]:
    score = _attest("alice", "bob", "scores", {"dimension": "identity:continuity:v1"})
    yield score
    for name in ("alice", "carol", "mallory"):
        yield _attest(name, "bob", "scores", {"dimension": "transparency_log:cosigned"})
    yield _attest("alice", "carol", "delegates_to", {"delegated_scope": [ACT]})
    yield _attest("carol", "dave", "delegates_to", {"delegated_scope": [ACT]})
    yield _attest("bob", "erin", "delegates_to", {"delegated_scope": [ACT]})
    yield _attest("bob", "erin", "delegates_to", {"delegated_scope": ["agency:fly"]})
    about = {"references_attestation_id": score.record["attestation_id"]}
    for by, rule, acting_for in (
        ("alice", 1, "alice"),
        ("alice", 4, "alice"),
        ("bob", 2, "bob"),
        ("erin", 3, "bob"),
        ("carol", 4, "alice"),
        ("mallory", 4, "alice"),
    ):
        yield _attest(by, acting_for, "withdraws", about, withdraws_admission_rule=rule)
    chained = about | {"delegation_chain": [key_id("carol")]}
    for by in ("dave", "mallory"):
        yield _attest(by, "alice", "withdraws", chained, withdraws_admission_rule=4)
    yield _attest("alice", "bob", "supersedes", about)
    yield _attest("mallory", "bob", "supersedes", about)
    yield _attest("mallory", "bob", "scores", {"dimension": ""})


def _occurrence(device: str, by: str) -> Envelope:
    given = {
        "identity_key_id": key_id("alice"),
        "occurrence_key_id": key_id(device),
        "device_class": "laptop",
    }
    return made(K.IDENTITY_OCCURRENCE, given, by)


def _occurrences() -> Iterator[Envelope]:
    yield _occurrence("laptop", "alice")
    phone = _occurrence("phone", "laptop")
    yield phone
    yield countersigned(phone, "alice", "phone")
    yield countersigned(phone, "carol", "dave", alone=True)
    yield _occurrence("mallory", "mallory")
    gone = {"identity_key_id": key_id("alice"), "occurrence_key_id": key_id("phone")}
    for by, at_ms in (("phone", AT_MS), ("mallory", AT_MS), ("mallory", AT_MS + 1)):
        yield made(K.IDENTITY_OCCURRENCE_REVOCATION, gone, by, at_ms=at_ms)
    for by, at_ms in (("alice", AT_MS - 1), ("carol", AT_MS - 2), ("mallory", AT_MS - 3)):
        yield _proof("alice", by, at_ms)
    at_home = _proof("bob", "bob", AT_MS - 1)
    yield at_home
    yield countersigned(at_home, "erin", "laptop", alone=True)
    yield _proof("erin", "erin", AT_MS + 1)


def _proof(subject: str, by: str, at_ms: int) -> Envelope:
    given = {"subject_key_id": key_id(subject), "cell_id": CELL, "cell_resolution": 7}
    return made(K.LOCATION_PROOF, given, by, at_ms=at_ms)


def _roster(founders: str, others: str = "") -> list[_Columns]:
    return [
        *(member(key_id(name), founder=True) for name in founders.split()),
        *(member(key_id(name)) for name in others.split()),
    ]


def _group(kind: EnvelopeKind, given: _Columns, *by: str) -> Envelope:
    return made(kind, group_columns(kind, "us", given), *by)


def _changed(group: Envelope, after_ms: int, members: list[_Columns], *by: str) -> Envelope:
    kept = {name: group.record[name] for name in group.record if name != "persist_row_hash"}
    at_ms = AT_MS + after_ms
    given: _Columns = {**kept, "founded_at": from_unix_ms(at_ms), "members": members}
    return made(group.kind, given, *by, at_ms=at_ms)


def _removed(group: Envelope, who: str, after_ms: int, *by: str) -> Envelope:
    column = ID_COLUMNS[group.kind]
    kind = EnvelopeKind(f"{group.kind.value}_membership_revocation")
    given: _Columns = {column: group.record[column], "removed_identity_key_id": key_id(who)}
    return made(kind, given, *by, at_ms=AT_MS + after_ms)


def _families() -> Iterator[Envelope]:
    members = _roster("alice", "bob carol dave")
    given = {"members": members, "consensus_protocol": "majority"}
    group = _group(K.FAMILY, given, "alice", "bob", "carol")
    yield group
    larger = _changed(group, 1, _roster("alice", "bob carol dave erin"), "bob", "carol", "dave")
    yield larger
    yield countersigned(larger, "erin", "alice", "mallory", alone=True)
    yield _changed(group, 2, _roster("alice", "bob carol erin"), "alice", "carol", "erin")
    yield _changed(group, -5, _roster("mallory"), "mallory")
    yield _removed(group, "carol", 3, "carol")
    yield _removed(group, "dave", 3, "dave")
    by_device = _removed(group, "alice", 4, "phone")
    yield by_device
    yield countersigned(by_device, "laptop", "mallory", alone=True)
    yield _removed(group, "bob", 5, "alice", "bob")
    yield _removed(group, "bob", 5, "mallory", "dave")
    yield _removed(group, "bob", 6, "mallory")
    entrenched = {
        "members": _roster("alice bob"),
        "consensus_protocol": "founder_only",
        "consensus_protocol_entrenched": True,
    }
    fixed = _group(K.FAMILY, entrenched, "alice")
    yield _changed(fixed, 1, _roster("alice"), "alice", "bob")
    yield fixed
    yield _group(K.FAMILY, given | {"family_name": "too few"}, "alice")


def _communities() -> Iterator[Envelope]:
    policy = {
        "cohort_subkind": "geographic",
        "geographic_constraint": {"cell_id": CELL, "cell_resolution": 7},
    }
    given = {"consensus_protocol": "founder_only", "policy_blob": policy}
    place = _group(K.COMMUNITY, given | {"members": _roster("bob", "alice")}, "bob")
    yield _removed(place, "alice", 2, "bob")
    yield _removed(place, "alice", 2, "mallory")
    yield _removed(place, "alice", 3, "mallory")
    yield _changed(place, 1, _roster("bob"), "bob")
    yield place
    yield _group(K.COMMUNITY, given | {"members": _roster("bob", "erin")}, "bob")


def _grant(by: str, to: str, role: str = "org_admin", after_ms: int = 0) -> Envelope:
    given = {"user_id": key_id(to), "org_id": "acme", "role": role, "status": "active"}
    return made(K.ORG_MEMBERSHIP, given, by, at_ms=AT_MS + after_ms)


def _operations() -> Iterator[Envelope]:
    given = {"org_id": "acme", "name": "Acme", "org_type": "internal", "status": "active"}
    yield made(K.ORGANIZATION, given | {"name": "Acme Ltd"}, "bob", at_ms=AT_MS + MINUTE_MS)
    yield made(K.ORGANIZATION, given, "chief")
    yield made(K.ORGANIZATION, given | {"org_id": "evil"}, "mallory")
    yield made(K.ORGANIZATION, given | {"name": "cus_123"}, "chief")
    yield _grant("alice", "bob", after_ms=2)
    yield _grant("chief", "alice", after_ms=1)
    yield _grant("bob", "carol", "operator", 3)
    yield _grant("carol", "dave", "viewer", 4)
    yield _grant("mallory", "erin")
    yield _grant("erin", "mallory")
    license_ = columns(K.PARTNER_RECORD, "x", 1)
    yield made(K.PARTNER_RECORD, license_, "alice", "carol")
    yield made(K.PARTNER_RECORD, license_, "alice", "bob", "carol")
    yield made(K.PARTNER_RECORD, license_, "alice", "mallory")
