"""For every reason a record that gets it, and what differs least from it and is admitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ciris_mesh.directory.base import OWN, UNATTRIBUTED, Source
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.quotas import SAME_MAX
from ciris_mesh.records.authoring import assemble, draft
from ciris_mesh.records.envelope import ENVELOPE_BYTES_MAX, SIGNERS_FIT, Envelope, encode_base64
from ciris_mesh.records.jsontext import DEPTH_MAX
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.timestamps import from_unix_ms
from support import answers as say
from support import attacks as a
from support import forge
from support.attacks import signed
from support.federation import ACT, CELL, TRUST
from support.keys import alice, key
from support.records import AT_MS, columns, group_columns, member, sample
from support.rulebook import K, Record, key_id, key_record, made
from support.vouching import vouch_columns

R = Reason
PEER = Source("peer", "hub")
NOW_MS = AT_MS + 600_000
SKEW_MS = 300_000
NAMES = ("alice", "bob", "carol", "dave", "chief", "root", "mallory", "laptop")


@dataclass(frozen=True)
class Case:
    """What a node is given, after `before` and beside the keys of NAMES.

    Attributes:
        sends: the record, and what comes in one delivery after it.
    """

    sends: tuple[Record, ...]
    before: tuple[Record, ...] = ()
    source: Source = PEER
    trust: Trust = TRUST
    limits: PoolLimits = field(default_factory=PoolLimits)
    knows: tuple[str, ...] = NAMES


@dataclass(frozen=True)
class Twins:
    """`bad` gets the reason, `good` is admitted."""

    bad: Case
    good: Case


def of(bad: Envelope | Record, good: Envelope | Record, *before: Envelope, **both: Any) -> Twins:
    """Two records, to nodes that hold the same."""
    held = tuple(map(signed, before))
    return Twins(*(Case((_record(one),), held, **both) for one in (bad, good)))


def here(it: Envelope | Record, *prerequisite: Envelope, **both: Any) -> Twins:
    """One record, to a node without and with what it needs."""
    case = Case((_record(it),), **both)
    return Twins(case, replace(case, before=tuple(map(signed, prerequisite))))


def told(
    it: Envelope | Record, bad: dict[str, Any], good: dict[str, Any], *held: Envelope
) -> Twins:
    """One record, to nodes that differ in something else."""
    case = Case((_record(it),), tuple(map(signed, held)))
    return Twins(replace(case, **bad), replace(case, **good))


def _record(it: Envelope | Record) -> Record:
    return signed(it) if isinstance(it, Envelope) else it


def twins() -> dict[Reason, Twins]:
    """Every reason that admission gives a record."""
    return {
        reason: pair
        for part in (_malformed, _forged, _places_and_pools, _keys, _attestations, _groups, _others)
        for reason, pair in part()
    }


# -- bytes -----------------------------------------------------------------------------------------

FAMILY: Record = K.FAMILY, sample(K.FAMILY, alice())


def _changed(change: Callable[[dict[str, Any]], None], kind: K = K.FAMILY) -> Record:
    return kind, forge.edited(kind, sample(kind, alice()), change)


def _malformed() -> Iterator[tuple[Reason, Twins]]:
    raw = FAMILY[1]
    size = len(_padded(0)[1])
    largest = ENVELOPE_BYTES_MAX - size
    yield R.TOO_LARGE, of(_padded(largest + 1), _padded(largest))
    yield R.NOT_JSON, of((K.FAMILY, raw + b"}"), FAMILY)
    yield R.DUPLICATE_MEMBER, of((K.FAMILY, b'{"authority":[],' + raw[1:]), FAMILY)
    yield R.TOO_DEEP, of(_nested(DEPTH_MAX - 2), _nested(DEPTH_MAX - 3))
    yield R.WRONG_WRAPPER, of((K.FAMILY, raw.replace(b'{"family":', b'{"tribe":')), FAMILY)
    yield R.MISSING_MEMBER, of(_changed(lambda it: it["family"].pop("family_name")), FAMILY)
    yield R.WRONG_TYPE, of(_changed(lambda it: it["family"].update(family_name=1)), FAMILY)
    device = K.IDENTITY_OCCURRENCE
    toaster = _changed(lambda it: it["identity_occurrence"].update(device_class="oven"), device)
    yield R.VALUE_NOT_ALLOWED, of(toaster, (device, sample(device, alice())))
    yield R.NOT_ONE_SPELLING, of(_changed(lambda it: it.update(more=1)), FAMILY)


def _padded(size: int) -> Record:
    return _free({"pad": "x" * size})


def _nested(levels: int) -> Record:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return _free({"deep": value})


def _free(inner: dict[str, Any]) -> Record:
    """A score with something more inside, signed whether or not it may be."""
    given = columns(K.ATTESTATION, key_id("alice"), 0)
    given["attestation_envelope"] = {"dimension": "identity:x:v1", **inner}
    prepared = draft(K.ATTESTATION, given, alice(), at_ms=AT_MS)
    return K.ATTESTATION, assemble(prepared, {key_id("alice"): alice().sign(prepared.message)})


def _forged() -> Iterator[tuple[Reason, Twins]]:
    key_of_mallory = key_record("mallory", ref="again")
    yield R.KEY_ID_NOT_SELF_CERTIFYING, of(a.stolen_key_id()[0], key_of_mallory)
    score: Record = K.ATTESTATION, sample(K.ATTESTATION, alice())
    yield R.CONTENT_HASH_MISMATCH, of(a.another_content_hash()[1], score)
    yield R.COLUMNS_NOT_SIGNED, of(a.altered_columns((K.ATTESTATION,))[0], score)
    for reason, forgeries in (
        (R.SIGNATURE_MISSING, a.no_signatures),
        (R.PQC_SIGNATURE_MISSING, a.stripped_halves),
        (R.CLASSICAL_SIGNATURE_INVALID, a.swapped_signatures),
        (R.PQC_SIGNATURE_INVALID, a.unbound_halves),
    ):
        forged = next(it for it in forgeries() if it[0] is K.FAMILY)
        yield reason, of(forged, FAMILY)
    given = columns(K.ATTESTATION, key_id("mallory"), 1)
    theirs = made(K.ATTESTATION, given | {"attesting_key_id": key_id("alice")}, "mallory")
    yield R.SIGNER_NOT_ALLOWED, of(theirs, made(K.ATTESTATION, given, "mallory"))


# -- who brings it, and where there is room --------------------------------------------------------


def _places_and_pools() -> Iterator[tuple[Reason, Twins]]:
    stranger, known = {"source": UNATTRIBUTED}, {"source": PEER}
    yield R.UNATTRIBUTED, told(FAMILY, stranger, known)
    without = {"knows": ("alice",)}
    yield R.FIRST_CONTACT, told(key_record("bob"), stranger | without, known | without)
    local = a.score("alice", "identity:x:v1").record | {"tier": "local"}
    kept = {"attested_key_id", "attestation_type", "attestation_envelope", "tier"}
    mine = made(K.ATTESTATION, {name: local[name] for name in kept}, "alice")
    yield R.LOCAL_TIER, told(mine, known, {"source": OWN})
    again = key_record("mallory", ref="again")
    pins = [{key_id("mallory"): key(name).public.fingerprint} for name in ("bob", "mallory")]
    others = ("alice", "bob")
    bad, good = ({"trust": replace(TRUST, pinned=pin), "knows": others} for pin in pins)
    yield R.KEY_CONFLICT, told(again, bad, good)
    first, second = a.score("mallory", "identity:x:v1"), a.score("mallory", "identity:y:v1")
    for reason, limit in (
        (R.SIGNER_QUOTA, "stranger_rows_per_signer"),
        (R.PEER_QUOTA, "stranger_rows_per_peer"),
    ):
        small, larger = (PoolLimits(**{limit: rows}) for rows in (1, 2))
        yield reason, told(second, {"limits": small}, {"limits": larger}, first)
    waiting = (signed(first), signed(second))
    narrow = Case(waiting, limits=PoolLimits(deferred_per_source=1), knows=("alice",))
    yield R.POOL_FULL, Twins(narrow, replace(narrow, knows=NAMES))
    yield R.SIGNER_UNKNOWN, told(first, {"knows": ("alice",)}, {"knows": ("alice", "mallory")})
    ahead, just = (a.score("alice", "identity:x:v1", NOW_MS + SKEW_MS + n) for n in (1, 0))
    yield R.TIME_AHEAD, of(ahead, just)


# -- keys ------------------------------------------------------------------------------------------

HARDWARE = replace(TRUST, hardware_types=frozenset({"tpm"}))
DAY_MS = 86_400_000


def _holder(evidence: dict[str, Any] | None) -> Envelope:
    return key_record("mallory", "accord_holder", ref="holder", attestation_evidence=evidence)


def _evidence(hardware: str = "tpm", age_ms: int = DAY_MS) -> dict[str, Any]:
    return {
        "platform_attestation": {"hardware_type": hardware},
        "nonce_captured_at": from_unix_ms(AT_MS - age_ms),
    }


def _keys() -> Iterator[tuple[Reason, Twins]]:
    bad, good = (key_record("mallory", types, ref="types") for types in ("b,a", "a,b"))
    yield R.IDENTITY_TYPE_MALFORMED, of(bad, good)
    fine = _holder(_evidence())
    unfinished = _evidence()
    del unfinished["nonce_captured_at"]
    for reason, evidence in (
        (R.ACCORD_EVIDENCE_MISSING, None),
        (R.ACCORD_EVIDENCE_INCOMPLETE, unfinished),
        (R.ACCORD_EVIDENCE_STALE, _evidence(age_ms=DAY_MS + 1)),
        (R.HARDWARE_TYPE_NOT_ACCEPTED, _evidence("abacus")),
    ):
        yield reason, of(_holder(evidence), fine, trust=HARDWARE)


# -- attestations ----------------------------------------------------------------------------------


def _attest(type_: str, inner: dict[str, Any], by: str = "alice", **more: Any) -> Envelope:
    given = {
        "attested_key_id": key_id("bob"),
        "attestation_type": type_,
        "attestation_envelope": inner,
    }
    return made(K.ATTESTATION, given | more, by)


def _attestations() -> Iterator[tuple[Reason, Twins]]:
    about = {"dimension": "identity:x:v1"}
    score = _attest("scores", about)
    yield R.ATTESTATION_TYPE_UNKNOWN, of(_attest("score", about), score)
    yield R.DIMENSION_MISSING, of(_attest("scores", {"dimension": ""}), score)
    spaced = _attest("scores", {"dimension": "identity:x: v1"})
    yield R.DIMENSION_MALFORMED, of(spaced, score)
    naming = {"references_attestation_id": score.record["attestation_id"]}
    recants = _attest("recants", naming)
    yield R.REFERENCE_MISSING, of(_attest("recants", {}), recants, score)
    yield R.REFERENCE_UNKNOWN, here(recants, score)
    yield R.REFERENCE_NOT_ENTITLED, of(_attest("recants", naming, "mallory"), recants, score)
    rules = (_attest("withdraws", naming, withdraws_admission_rule=rule) for rule in (5, 1))
    yield R.WITHDRAWS_RULE_INVALID, of(*rules, score)
    chained = naming | {"delegation_chain": [key_id("carol")]}
    withdrawals = (_attest("withdraws", it, withdraws_admission_rule=1) for it in (chained, naming))
    yield R.DELEGATION_CHAIN_MALFORMED, of(*withdrawals, score)
    other = _attest("scores", {"dimension": "identity:y:v1"})
    again = [_attest("recants", naming | {"note": n}) for n in range(SAME_MAX)]
    elsewhere = {"references_attestation_id": other.record["attestation_id"]}
    once_more = _attest("recants", naming | {"note": SAME_MAX}), _attest("recants", elsewhere)
    yield R.SAID_OFTEN_ENOUGH, of(*once_more, score, other, *again)
    scopes: Any = (_attest("delegates_to", {"delegated_scope": [it]}) for it in ("agency:fly", ACT))
    yield R.SCOPES_MALFORMED, of(*scopes)
    vouches = (vouch_columns("alice", kind, [bytes(32)]) for kind in (K.ORGANIZATION, K.FAMILY))
    yield R.VOUCH_MALFORMED, of(*(made(K.ATTESTATION, it, "alice") for it in vouches))
    cohorts: Any = (_attest("scores", about, cohort_scope=it) for it in ("family", "community"))
    yield R.SCOPE_PRIVATE, of(*cohorts)
    node = key_record("dave", "node")
    given = {"attested_key_id": key_id("dave"), "attestation_type": "delegates_to"}
    agency, infra = (
        made(K.ATTESTATION, given | {"attestation_envelope": {"delegated_scope": [it]}}, "alice")
        for it in ("agency:reason", "infra:serve")
    )
    people = {"knows": ("alice",)}
    yield R.DELEGATE_TYPE_NOT_ALLOWED, of(agency, infra, node, **people)
    yield R.KEY_UNKNOWN, told(score, people, {"knows": ("alice", "bob")})
    witness = key_record("alice", "witness", by="root", ref="witness")
    steward = key_record("root", "steward")
    cosigned = a.score("alice", "transparency_log:cosigned")
    self_made = key_record("alice", "witness", ref="witness")
    bad, good = (beside(cosigned, steward, one) for one in (self_made, witness))
    yield R.NOT_ROOTED, Twins(bad, good)


def beside(it: Envelope, *before: Envelope) -> Case:
    """A record to a node that holds these."""
    return Case((signed(it),), tuple(map(signed, before)), knows=("alice", "bob"))


# -- groups ----------------------------------------------------------------------------------------


def _family(*by: str, label: str = "us", **more: Any) -> Envelope:
    given = {"members": say.roster("alice", "bob"), "consensus_protocol": "majority", **more}
    return made(K.FAMILY, group_columns(K.FAMILY, label, given), *(by or ("alice", "bob")))


def _place(founder: str, cell: str = CELL, **more: Any) -> Envelope:
    constraint = {"cell_id": cell, "cell_resolution": 7}
    policy = {"cohort_subkind": "geographic", "geographic_constraint": constraint, **more}
    given = {"members": [member(key_id(founder), founder=True)], "policy_blob": policy}
    return made(K.COMMUNITY, group_columns(K.COMMUNITY, "place", given), founder)


def _groups() -> Iterator[tuple[Reason, Twins]]:
    family = _family()
    protocols = (_family(consensus_protocol=it) for it in ("quorum:3/2", "quorum:2/3"))
    yield R.CONSENSUS_MALFORMED, of(*protocols)
    many = [f"person{n}" for n in range(SIGNERS_FIT + 1)]  # one more than fits
    members = say.roster(" ".join(many))
    unanimous, quorum = (
        _family(*many[:few], members=members, consensus_protocol=it)
        for few, it in ((1, "unanimous"), (8, f"quorum:8/{len(many)}"))
    )
    yield R.CONSENSUS_OUT_OF_REACH, of(unanimous, quorum, knows=tuple(many))
    twice = [*say.roster("alice", "bob"), *say.roster("", "bob")]
    yield R.MEMBERS_NOT_UNIQUE, of(_family(members=twice), family)
    yield R.FOUNDER_MISSING, of(_family(members=say.roster("", "alice bob")), family)
    yield R.FOUNDERS_NOT_ENOUGH, of(_family("alice"), family)
    home = a.location("alice", "alice")
    early = told_earlier(home)
    wrong = _place("alice", geographic_constraint={"cell_id": CELL, "cell_resolution": 6})
    yield R.GROUP_POLICY_MALFORMED, of(wrong, _place("alice"), early)
    yield R.LOCATION_UNPROVEN, here(_place("alice"), early)
    later = say.changed(family, 1, "alice", "bob carol", "alice", "bob")
    given = {name: later.record[name] for name in later.record if name != "persist_row_hash"}
    free = made(K.FAMILY, given | {"family_key_id": "us"}, "alice", "bob", at_ms=AT_MS + 1)
    yield R.GROUP_ID_NOT_SELF_CERTIFYING, of(free, later, family)
    yield R.ROSTER_UNKNOWN, here(say.member_removal(family, "bob", 1, "bob"), family)
    few = say.changed(family, 1, "alice", "bob carol", "alice")
    yield R.CONSENSUS_NOT_REACHED, of(few, later, family)
    fixed = _family(consensus_protocol_entrenched=True)
    changed = say.changed(fixed, 1, "alice", "bob carol", "alice", "bob")
    yield (
        R.GROUP_ENTRENCHED,
        Twins(
            Case((signed(changed),), (signed(fixed),)), Case((signed(later),), (signed(family),))
        ),
    )
    community = made(
        K.COMMUNITY,
        group_columns(K.COMMUNITY, "here", {"members": say.roster("alice", "bob")}),
        "alice",
    )
    removals = (
        made(
            K.COMMUNITY_MEMBERSHIP_REVOCATION,
            {
                "community_key_id": community.record["community_key_id"],
                "removed_identity_key_id": key_id("bob"),
                "effective_at": from_unix_ms(AT_MS + after_ms),
            },
            "bob",
        )
        for after_ms in (1, 0)
    )
    yield R.REMOVAL_IN_ADVANCE, of(*removals, community)


def told_earlier(proof: Envelope) -> Envelope:
    """The same place, told a moment earlier."""
    given = {name: proof.record[name] for name in ("subject_key_id", "cell_id")}
    return made(K.LOCATION_PROOF, given | {"cell_resolution": 7}, "alice", at_ms=AT_MS - 1)


# -- devices, places, business ---------------------------------------------------------------------


def _device(by: str, **more: Any) -> Envelope:
    return say.occurrence("alice", "laptop", by, **more)


def _others() -> Iterator[tuple[Reason, Twins]]:
    yield R.OCCURRENCE_NOT_VOUCHED, of(_device("laptop"), _device("alice"))
    sizes = ((31, 1184), (32, 1184))
    lopsided, whole = (
        _device(
            "alice",
            encryption_pubkeys={
                "x25519_base64": encode_base64(bytes(small)),
                "ml_kem_768_base64": encode_base64(bytes(large)),
            },
        )
        for small, large in sizes
    )
    yield R.ENCRYPTION_KEYS_MALFORMED, of(lopsided, whole)
    gone = (say.device_removal("alice", "laptop", by, 1) for by in ("mallory", "laptop"))
    yield R.REMOVAL_NOT_VOUCHED, of(*gone)
    home = a.location("alice", "alice")
    yield R.CELL_MALFORMED, of(a.location("alice", "alice", resolution=6), home)
    precise = a.location("alice", "alice", "8828308281fffff", 8)
    yield R.LOCATION_TOO_PRECISE, of(precise, home)
    yield R.NOT_DELEGATED, of(a.location("mallory", "alice"), home)
    org = a.organization("chief")
    yield R.PAYMENT_ID, of(a.organization("chief", "cus_1"), a.organization("chief", "cus_"))
    yield R.NOT_ORG_ADMIN, of(a.organization("mallory"), org)
    yield R.ORGANIZATION_UNKNOWN, here(a.grant("chief", "alice"), org)
    sets = (a.partner("alice", "bob", capabilities_granted=it) for it in (["b", "a"], ["a", "b"]))
    yield R.SET_UNSORTED, of(*sets)
    enough = a.partner("alice", "bob")
    yield R.STEWARDS_NOT_ENOUGH, of(a.partner("alice"), enough)
    yield R.SIGNER_NOT_STEWARD, of(a.partner("alice", "bob", "mallory"), enough)
    unset = {"trust": replace(TRUST, partner_threshold=0)}
    nobody = {"trust": replace(TRUST, root_stewards=frozenset())}
    yield R.ROOT_STEWARDS_UNSET, told(org, nobody, {"trust": TRUST})
    yield R.PARTNER_STEWARDS_UNSET, told(enough, unset, {"trust": TRUST})
