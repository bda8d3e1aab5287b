"""Mixed records that any node admits: 60 % attestations, 20 % keys, 20 % of eight other kinds.

The seed and the number fix every column: who says what about whom, and when. Signatures differ
from run to run, because ML-DSA signing is hedged, and so do the bytes.

Keys come first. A few signers sign everything; every other key belongs to somebody who signs
nothing and was registered by a signer, so whoever pins the signers may pass all of it on.
Organizations, memberships and partner records are left out: a node takes them only from people
its own configuration names.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ciris_mesh.bench.pool import in_order
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import encode_base64
from ciris_mesh.records.groups import ID_COLUMNS, new_group_id
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.timestamps import from_unix_ms

#: As many as sign in a small federation; each signs an eighth of everything.
SIGNERS_MAX: Final = 8
#: 2026-01-01T00:00:00Z: before any clock this runs under, so nothing is dated ahead.
START_MS: Final = 1_767_225_600_000
#: Records made by one piece of work: about half a second of one core.
PIECE_RECORDS: Final = 200

#: Keys whose public half is kept in each process, 4 kB each.
_KEYS_CACHED: Final = 4096
#: A cell in the sea, at the finest resolution a location may be told with.
_CELL: Final = "872830828ffffff"
_CELL_RESOLUTION: Final = 7

_K: Final = EnvelopeKind
#: What a group is made of, in this order: what is removed was there before.
REST: Final = (
    _K.IDENTITY_OCCURRENCE,
    _K.FAMILY,
    _K.COMMUNITY,
    _K.LOCATION_PROOF,
    _K.IDENTITY_OCCURRENCE_REVOCATION,
    _K.FAMILY_MEMBERSHIP_REVOCATION,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION,
    _K.REVOCATION,
)

Record: TypeAlias = tuple[EnvelopeKind, bytes]
_Columns: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which records a number and a seed stand for.

    Attributes:
        span_ms: times are drawn from this many milliseconds; a millisecond after each other if 0.
    """

    count: int
    seed: int
    span_ms: int = 0

    @property
    def keys(self) -> int:
        """Key records: a fifth, and one at least."""
        return max(1, self.count // 5)

    @property
    def signers(self) -> tuple[FederationKey, ...]:
        """The keys that sign everything; theirs are the first records."""
        return tuple(self.key(index) for index in range(min(SIGNERS_MAX, self.keys)))

    def key(self, index: int) -> FederationKey:
        """The key the `index`-th record publishes."""
        return _key(self.seed, index)

    def kind(self, number: int) -> EnvelopeKind:
        """What the `number`-th record is."""
        if number < self.keys:
            return _K.KEY
        group, place = divmod(number - self.keys, 4)
        return REST[group % len(REST)] if place == 3 else _K.ATTESTATION

    def time_ms(self, number: int) -> int:
        """When the `number`-th record was signed."""
        if not self.span_ms:
            return START_MS + number
        return START_MS + int.from_bytes(_hash(self.seed, "time", number)[:8]) % self.span_ms

    def make(self, number: int) -> Record:
        """The `number`-th record, signed."""
        kind = self.kind(number)
        group = (number - self.keys) // (4 * len(REST))
        names = _Names(self, number, group)
        columns = _COLUMNS[kind](names)
        return kind, author(kind, columns, names.signer, at_ms=self.time_ms(number))


def made_records(pool: ProcessPoolExecutor, plan: Plan) -> Iterator[Record]:
    """Yield the records of a plan in order, made on all cores."""
    pieces = (
        (plan, start, min(start + PIECE_RECORDS, plan.count))
        for start in range(0, plan.count, PIECE_RECORDS)
    )
    for made in in_order(pool, _make_piece, pieces):
        yield from made


def _make_piece(piece: tuple[Plan, int, int]) -> list[Record]:
    plan, start, end = piece
    return [plan.make(number) for number in range(start, end)]


@lru_cache(maxsize=_KEYS_CACHED)
def _key(seed: int, index: int) -> FederationKey:
    name = "signer" if index < SIGNERS_MAX else "agent"
    return FederationKey.from_seeds(
        f"{name}-{index}", _hash(seed, "ed25519", index), _hash(seed, "mldsa65", index)
    )


def _hash(seed: int, *what: object) -> bytes:
    return hashlib.sha256(f"ciris-mesh bench {seed} {what}".encode()).digest()


@dataclass(frozen=True, slots=True)
class _Names:
    """Who and what one record speaks of.

    Attributes:
        group: of the rest, how many of this kind came before.
    """

    plan: Plan
    number: int
    group: int

    @property
    def signer(self) -> FederationKey:
        """Signers sign their own key; a group has one founder, who signs all of it."""
        signers = self.plan.signers
        kind = self.plan.kind(self.number)
        if kind is _K.ATTESTATION or kind is _K.KEY:
            return signers[self.number % len(signers)]
        if kind is _K.REVOCATION:  # by whoever registered the key
            return signers[self._revoked % len(signers)]
        return signers[self.group % len(signers)]

    @property
    def me(self) -> str:
        return self.signer.key_id

    @property
    def now(self) -> str:
        return from_unix_ms(self.plan.time_ms(self.number))

    @property
    def tag(self) -> str:
        return f"{self.plan.seed}-{self.group}"

    @property
    def somebody(self) -> str:
        """Any of the keys."""
        drawn = int.from_bytes(_hash(self.plan.seed, "somebody", self.number)[:8])
        return self.plan.key(drawn % self.plan.keys).key_id

    @property
    def guest(self) -> str:
        """Who joins and leaves with this group."""
        signers = len(self.plan.signers)
        return self.plan.key(min(signers + self.group, self.plan.keys - 1)).key_id

    @property
    def _revoked(self) -> int:
        return max(0, self.plan.keys - 1 - self.group)

    @property
    def revoked(self) -> str:
        return self.plan.key(self._revoked).key_id

    def before(self, kind: EnvelopeKind) -> _Names:
        """The record of `kind` among the rest that this one belongs to."""
        steps = REST.index(self.plan.kind(self.number)) - REST.index(kind)
        return _Names(self.plan, self.number - 4 * steps, self.group)

    def uuid(self, what: str) -> str:
        return str(uuid.UUID(bytes=_hash(self.plan.seed, what, self.number)[:16], version=4))


def _key_columns(it: _Names) -> _Columns:
    key = it.plan.key(it.number)
    return {
        "key_id": key.key_id,
        "pubkey_ed25519_base64": encode_base64(key.public.ed25519),
        "pubkey_ml_dsa_65_base64": encode_base64(key.public.mldsa65),
        "identity_type": "agent",
        "identity_ref": f"bench-{it.plan.seed}-{it.number}",
    }


def _attestation(it: _Names) -> _Columns:
    score = _hash(it.plan.seed, "score", it.number)[0] / 256
    return {
        "attestation_id": it.uuid("attestation"),
        "attested_key_id": it.somebody,
        "attestation_type": "scores",
        "weight": 1.0,
        "attestation_envelope": {"dimension": "identity:continuity:v1", "score": score},
    }


def _revocation(it: _Names) -> _Columns:
    return {
        "revocation_id": it.uuid("revocation"),
        "revoked_key_id": it.revoked,
        "reason": "retired",
    }


def _occurrence(it: _Names) -> _Columns:
    return {
        "identity_key_id": it.me,
        "occurrence_key_id": it.guest,
        "device_class": "laptop",
    }


def _occurrence_removal(it: _Names) -> _Columns:
    return {"identity_key_id": it.me, "occurrence_key_id": it.guest, "reason": "lost"}


def _group(it: _Names) -> _Columns:
    kind = it.plan.kind(it.number)
    guests = [{"key_id": it.guest, "joined_at": it.now}] if it.guest != it.me else []
    columns = {
        f"{kind.value}_name": f"The {kind.value} {it.group}",
        "members": [{"key_id": it.me, "joined_at": it.now, "role": "founder"}, *guests],
        "founded_at": it.now,
        "consensus_protocol": "founder_only",
    }
    return {**columns, ID_COLUMNS[kind]: new_group_id(kind, f"{kind.value}-{it.tag}", columns)}


def _member_removal(it: _Names) -> _Columns:
    kind = _GROUPS[it.plan.kind(it.number)]
    return {
        ID_COLUMNS[kind]: _group(it.before(kind))[ID_COLUMNS[kind]],
        "removed_identity_key_id": it.guest,
        "witness_set": [it.me],
    }


def _location(it: _Names) -> _Columns:
    return {
        "subject_key_id": it.me,
        "cell_id": _CELL,
        "cell_resolution": _CELL_RESOLUTION,
    }


_GROUPS: Final = {
    _K.FAMILY_MEMBERSHIP_REVOCATION: _K.FAMILY,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _K.COMMUNITY,
}
_COLUMNS: Final[dict[EnvelopeKind, Callable[[_Names], _Columns]]] = {
    _K.KEY: _key_columns,
    _K.ATTESTATION: _attestation,
    _K.REVOCATION: _revocation,
    _K.IDENTITY_OCCURRENCE: _occurrence,
    _K.FAMILY: _group,
    _K.COMMUNITY: _group,
    _K.IDENTITY_OCCURRENCE_REVOCATION: _occurrence_removal,
    _K.FAMILY_MEMBERSHIP_REVOCATION: _member_removal,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _member_removal,
    _K.LOCATION_PROOF: _location,
}
