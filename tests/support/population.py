"""Some thousand records of one federation, of every kind, written to race with one another.

Everybody speaks about the same few subjects at the same few instants, so that ties, rollbacks,
rotations, revocations by all who may and some who may not, and group decisions with too few
signers come up by themselves. What a record needs may be missing, dated later, or revoked.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.groups import ID_COLUMNS
from ciris_mesh.records.rules.base import Trust
from support import answers
from support.answers import at, fingerprints, roster
from support.records import AT_MS, columns, group_columns
from support.rulebook import K, Record, key_id, key_record, made, name_of, really_signed

MINUTE_MS = 60_000
#: Keys are older than what they sign.
KEYS_MS = AT_MS - 60 * MINUTE_MS
#: When things are said, after the simulation began: half before, some ahead of every clock.
MOMENTS_MS = tuple(minute * MINUTE_MS for minute in range(-18, 10))
CELLS = ("872830828ffffff", "872830829ffffff", "87283082affffff")
ACT = "agency:act_on_behalf"

TRUST = Trust(
    roots=fingerprints("root"),
    root_stewards=frozenset({key_id("chief"), key_id("deputy")}),
    partner_stewards=frozenset(map(key_id, ("p-one", "p-two", "p-three"))),
    partner_threshold=2,
)
STEWARDS = ("chief", "deputy", "p-one", "p-two", "p-three", "vera")
STRANGERS = ("mallory", "sybil", "junk")

#: Of a hundred records so many are of the kind. Keys come on top.
SHARES = {
    K.KEY: 6,
    K.ATTESTATION: 26,
    K.REVOCATION: 7,
    K.IDENTITY_OCCURRENCE: 7,
    K.FAMILY: 7,
    K.COMMUNITY: 6,
    K.IDENTITY_OCCURRENCE_REVOCATION: 5,
    K.FAMILY_MEMBERSHIP_REVOCATION: 7,
    K.COMMUNITY_MEMBERSHIP_REVOCATION: 5,
    K.LOCATION_PROOF: 6,
    K.ORGANIZATION: 5,
    K.ORG_MEMBERSHIP: 7,
    K.PARTNER_RECORD: 6,
}


@dataclass
class World:
    """What there is to speak about, and what was said so far."""

    rng: random.Random
    people: tuple[str, ...]
    devices: tuple[str, ...]
    orgs: tuple[str, ...]
    licenses: tuple[str, ...]
    said: dict[Any, list[Envelope]] = field(default_factory=dict)

    def moment(self) -> int:
        return self.rng.choice(MOMENTS_MS)

    def person(self) -> str:
        return self.rng.choice(self.people)

    def anybody(self) -> str:
        return self.rng.choice((*self.people, *self.devices, *STEWARDS, *STRANGERS))

    def some(self, names: Sequence[str], most: int) -> list[str]:
        return self.rng.sample(names, min(len(names), self.rng.randint(1, most)))

    def keys(self) -> tuple[str, ...]:
        return ("root", *STEWARDS, *STRANGERS, *self.people, *self.devices)


def population(size: int) -> tuple[Envelope, ...]:
    """`size` different records, signed in name only. The same ones every time."""
    rng = random.Random(size)
    world = World(
        rng,
        people=tuple(f"person{n}" for n in range(6 if size < 1000 else 18)),
        devices=tuple(f"device{n}" for n in range(4 if size < 1000 else 10)),
        orgs=("acme", "globex", "initech")[: 1 if size < 1000 else 3],
        licenses=tuple(f"license{n}" for n in range(2 if size < 1000 else 8)),
    )
    made_so_far = {name_of(it): it for it in _first_keys(world)}
    kinds, weights = list(SHARES), list(SHARES.values())
    while len(made_so_far) < size:
        kind = rng.choices(kinds, weights)[0]
        envelope = _MAKERS[kind](world)
        if made_so_far.setdefault(name_of(envelope), envelope) is envelope:
            world.said.setdefault(kind, []).append(envelope)
    return tuple(made_so_far.values())


@dataclass(frozen=True)
class Signed:
    """A population with signatures that stand, and the file that keeps them.

    Signing is randomized and the ids of three kinds cover the signature, so a history can be
    replayed only with the same bytes: keep the file together with the seed.
    """

    records: tuple[Record, ...]
    file: Path


def signed_population(size: int, folder: Path) -> Signed:
    """Sign once, keep in `folder`, and use the same bytes from then on while drafts are the same.

    Of several who begin at once the first one's file counts.
    """
    drafts = population(size)
    digest = sha256(b"".join(draft.raw for draft in drafts)).hexdigest()[:16]
    file = folder / f"federation-{size}-{digest}.json"
    if not file.exists():
        rows = [[draft.kind.value, really_signed(draft).decode()] for draft in drafts]
        draft_file = folder / f"{file.name}.{os.getpid()}"
        draft_file.write_text(json.dumps(rows))
        with suppress(FileExistsError):
            os.link(draft_file, file)
        draft_file.unlink()
    return Signed(read_records(file), file)


def read_records(file: Path) -> tuple[Record, ...]:
    """Records of a file as `signed_population` writes it."""
    return tuple((K(kind), text.encode()) for kind, text in json.loads(file.read_text()))


# -- keys ------------------------------------------------------------------------------------------


def _first_keys(world: World) -> Iterable[Envelope]:
    """Everybody's own; all but strangers and some devices lead to the root."""
    yield key_record("root", "steward", at_ms=KEYS_MS)
    for name in (*STEWARDS, *STRANGERS, *world.people, *world.devices):
        yield key_record(name, at_ms=KEYS_MS)
    yield key_record("vera", "agent,steward", by="root", ref="appointed", at_ms=KEYS_MS)
    for name in (*STEWARDS, *world.people[:-1], *world.devices[::2]):
        by = world.rng.choice(("root", "vera"))
        yield key_record(name, "agent", by=by, ref="vouched", at_ms=KEYS_MS)


def _key(world: World) -> Envelope:
    """Another word on a key: a rotation's new key, other types, an end."""
    rng, at_ms = world.rng, AT_MS + world.moment()
    ref = f"again {rng.randrange(1000)}"
    match rng.randrange(4):
        case 0:
            old = world.person()
            return key_record(f"{old}-new", by=rng.choice(("", old, "root")), ref=ref, at_ms=at_ms)
        case 1:
            by = rng.choice(("vera", "root", "mallory", world.person()))
            return key_record(world.person(), "witness", by=by, ref=ref, at_ms=at_ms)
        case 2:
            until = at(world.moment())
            return key_record(world.person(), ref=ref, at_ms=KEYS_MS, valid_until=until)
        case _:
            types = rng.choice(("steward", "agent,witness", "node"))
            return key_record(world.anybody(), types, ref=ref, at_ms=at_ms)


def _revocation(world: World) -> Envelope:
    """By itself, by who vouched for it, by stewards; and claims by anybody."""
    rng = world.rng
    of = rng.choice((*world.people[::3], *world.devices[::3], "deputy", "vera", "sybil"))
    by = rng.choice((of, "root", "vera", "chief", world.anybody()))
    region = rng.choice(("us", "eu", "apac"))
    return answers.revocation(by, of, world.moment(), effective_ms=world.moment(), region=region)


# -- attestations ----------------------------------------------------------------------------------


def _attestation(world: World) -> Envelope:
    rng = world.rng
    make = rng.choices((_score, _delegation, _taken_back), (5, 1, 2))[0]
    return make(world)


def _score(world: World) -> Envelope:
    rng = world.rng
    dimension = rng.choice(
        ("identity:continuity:v1", "trust:field:v1", "transparency_log:cosigned", "accord:x")
    )
    inner = {"dimension": dimension, "score": rng.randrange(3)}
    more = {"expires_at": at(world.moment())} if rng.random() < 0.2 else {}
    return answers.attestation(
        world.anybody(), world.anybody(), "scores", world.moment(), inner, **more
    )


def _delegation(world: World) -> Envelope:
    inner = {"delegated_scope": [world.rng.choice((ACT, "infra:serve", "agency:fly"))]}
    by, to = world.person(), world.anybody()
    return answers.attestation(by, to, "delegates_to", world.moment(), inner)


def _taken_back(world: World) -> Envelope:
    """By who said it, by who it is about, by who may act for them, and by strangers."""
    rng = world.rng
    if not world.said.get(K.ATTESTATION):
        return _score(world)
    of = rng.choice(world.said[K.ATTESTATION])
    attester, about = _name(of, "attesting_key_id"), _name(of, "attested_key_id")
    inner = {"references_attestation_id": of.record["attestation_id"]}
    type_ = rng.choice(("supersedes", "recants", "withdraws"))
    if type_ != "withdraws":
        by = rng.choice((attester, attester, world.anybody()))
        return answers.attestation(by, about, type_, world.moment(), inner)
    rule = rng.randint(1, 4)
    by = {1: attester, 2: about}.get(rule, world.person())
    acting_for = {3: about, 4: attester}.get(rule, by)
    return answers.attestation(
        by, acting_for, type_, world.moment(), inner, withdraws_admission_rule=rule
    )


def _name(envelope: Envelope, column: str) -> str:
    return str(envelope.record[column]).rpartition("-")[0]


# -- devices and places ----------------------------------------------------------------------------


def _occurrence(world: World) -> Envelope:
    rng = world.rng
    of, device = world.person(), rng.choice(world.devices)
    by = rng.choice((of, of, rng.choice(world.devices), world.anybody()))
    more = {"valid_until": at(world.moment())} if rng.random() < 0.2 else {}
    classes = ("phone", "laptop", "server", "embedded", "agent", "service")
    return answers.occurrence(
        of, device, by, world.moment(), device_class=rng.choice(classes), **more
    )


def _occurrence_removal(world: World) -> Envelope:
    rng = world.rng
    of, device = world.person(), rng.choice(world.devices)
    if world.said.get(K.IDENTITY_OCCURRENCE) and rng.random() < 0.7:
        known = rng.choice(world.said[K.IDENTITY_OCCURRENCE])
        of, device = _name(known, "identity_key_id"), _name(known, "occurrence_key_id")
    by = rng.choice((of, device, device, world.anybody()))
    return answers.device_removal(of, device, by, world.moment(), effective_ms=world.moment())


def _proof(world: World) -> Envelope:
    rng = world.rng
    subject = world.person()
    more = {}
    if rng.random() < 0.3:
        more[rng.choice(("valid_until", "withdrawn_at"))] = at(world.moment())
    by = rng.choice((subject, subject, world.anybody()))
    return answers.proof(subject, by, world.moment(), rng.choice(CELLS), **more)


# -- groups ----------------------------------------------------------------------------------------


def _group(kind: K, world: World) -> Envelope:
    """A group is founded, or a roster of a known one follows it."""
    rng, known = world.rng, world.said.get(kind, ())
    if known and rng.random() < 0.6:
        group = rng.choice(known)
        listed = _listed(group)
        later = [name for name in listed if rng.random() < 0.8] or listed
        others = " ".join(sorted({*later[1:], world.person()} - {later[0]}))
        return answers.changed(group, world.moment(), later[0], others, *_deciders(world, listed))
    members = world.some(world.people, 5)
    protocols = ("founder_only", "majority", "unanimous", "quorum:2/3", "custom:by dance")
    given: dict[str, Any] = {
        "members": roster(members[0], " ".join(members[1:])),
        "consensus_protocol": rng.choice(protocols),
    }
    if kind is K.COMMUNITY and rng.random() < 0.3:
        place = {"cell_id": CELLS[0], "cell_resolution": 7}
        policy = {"cohort_subkind": "geographic", "geographic_constraint": place}
        given |= {"policy_blob": policy, "consensus_protocol": "founder_only"}
    label, moment = f"g{rng.randrange(100)}", world.moment()
    founding = group_columns(kind, label, given, AT_MS + moment)
    return made(kind, founding, *_deciders(world, members), at_ms=AT_MS + moment)


def _deciders(world: World, listed: Sequence[str]) -> list[str]:
    """Mostly enough of the listed; sometimes too few, sometimes others."""
    rng = world.rng
    if rng.random() < 0.1:
        return [world.anybody()]
    return list(listed) if rng.random() < 0.6 else world.some(listed, len(listed))


def _listed(group: Envelope) -> list[str]:
    members: Any = group.record["members"]
    return [str(member["key_id"]).rpartition("-")[0] for member in members]


def _member_removal(group_kind: K, kind: K, world: World) -> Envelope:
    rng = world.rng
    if not world.said.get(group_kind):
        return _group(group_kind, world)
    group = rng.choice(world.said[group_kind])
    listed = _listed(group)
    who, moment = rng.choice(listed), world.moment()
    ahead = 0 if group_kind is K.COMMUNITY else rng.choice((0, 0, 3, -3)) * MINUTE_MS
    column = ID_COLUMNS[group_kind]
    given: dict[str, Any] = {
        column: group.record[column],
        "removed_identity_key_id": key_id(who),
        "effective_at": at(moment + ahead),
    }
    by = [who] if rng.random() < 0.4 else _deciders(world, listed)
    return made(kind, given, *by, at_ms=AT_MS + moment)


# -- business --------------------------------------------------------------------------------------


def _organization(world: World) -> Envelope:
    rng = world.rng
    by = rng.choice(("chief", "deputy", world.person(), world.person()))
    status = rng.choices(("active", "suspended", "deactivated"), (20, 4, 1))[0]
    given = {"org_id": rng.choice(world.orgs), "name": f"Name {rng.randrange(6)}"}
    return answers.organization(by, world.moment(), status=status, **given)


def _membership(world: World) -> Envelope:
    rng = world.rng
    by = rng.choice(("chief", "deputy", world.person(), "mallory"))
    role = rng.choice(("org_admin", "org_admin", "operator", "viewer"))
    status = rng.choices(("active", "deactivated"), (8, 1))[0]
    given = {"org_id": rng.choice(world.orgs), "status": status}
    return answers.grant(by, world.person(), world.moment(), role, **given)


def _partner(world: World) -> Envelope:
    """Revisions and states of few licences, at few instants, by two or three or too few."""
    rng = world.rng
    stewards = world.some(("p-one", "p-two", "p-three", "mallory"), 4)
    given = columns(K.PARTNER_RECORD, "x", 1) | {
        "license_id": rng.choice(world.licenses),
        "status": rng.choices(("active", "suspended", "revoked"), (6, 2, 1))[0],
        "revision": rng.randint(1, 5),
        "deployment_limit": rng.randint(1, 9),
    }
    return made(K.PARTNER_RECORD, given, *stewards, at_ms=AT_MS + world.moment())


_MAKERS: dict[K, Callable[[World], Envelope]] = {
    K.KEY: _key,
    K.ATTESTATION: _attestation,
    K.REVOCATION: _revocation,
    K.IDENTITY_OCCURRENCE: _occurrence,
    K.FAMILY: partial(_group, K.FAMILY),
    K.COMMUNITY: partial(_group, K.COMMUNITY),
    K.IDENTITY_OCCURRENCE_REVOCATION: _occurrence_removal,
    K.FAMILY_MEMBERSHIP_REVOCATION: partial(
        _member_removal, K.FAMILY, K.FAMILY_MEMBERSHIP_REVOCATION
    ),
    K.COMMUNITY_MEMBERSHIP_REVOCATION: partial(
        _member_removal, K.COMMUNITY, K.COMMUNITY_MEMBERSHIP_REVOCATION
    ),
    K.LOCATION_PROOF: _proof,
    K.ORGANIZATION: _organization,
    K.ORG_MEMBERSHIP: _membership,
    K.PARTNER_RECORD: _partner,
}


# -- questions -------------------------------------------------------------------------------------


def questions(records: Sequence[Envelope]) -> tuple[tuple[str, str, str], ...]:
    """Every question, put to everybody and everything these records are about."""
    asked: dict[tuple[str, str, str], None] = {("revoked", "", ""): None}
    key_ids = {envelope.subject for envelope in records if envelope.kind is K.KEY}
    words = ("key", "chain", "occurrences", "revoked", "attestations", "location")
    for subject in sorted(key_ids):
        asked |= {(word, subject, ""): None for word in words}
    for envelope in records:
        match envelope.kind:
            case K.FAMILY | K.COMMUNITY:
                asked["members", str(envelope.record[ID_COLUMNS[envelope.kind]]), ""] = None
            case K.ORGANIZATION:
                asked["org", str(envelope.record["org_id"]), ""] = None
            case K.ORG_MEMBERSHIP:
                org_id, user = str(envelope.record["org_id"]), str(envelope.record["user_id"])
                asked["membership", org_id, user] = None
            case K.PARTNER_RECORD:
                asked["partner", str(envelope.record["license_id"]), ""] = None
            case _:
                pass
    return tuple(asked)
