"""Valid sample records of all thirteen kinds, signed by one node.

The content is made up, the signatures are real: every node admits these by the same path as any
other record. Subjects carry the signer's name and a counter, so no two nodes claim the same one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ciris_mesh.records.authoring import author
from ciris_mesh.records.groups import ID_COLUMNS, new_group_id
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.timestamps import from_unix_ms

#: A point in the sea, at the finest resolution a location may be told with.
SAMPLE_CELL: Final = "872830828ffffff"
SAMPLE_CELL_RESOLUTION: Final = 7
_YEAR_MS: Final = 365 * 86_400_000

#: The kinds in wire order: what the n-th record of a node is.
ORDER: Final = tuple(EnvelopeKind)


def sample_records(
    signer: FederationKey, count: int, *, at_ms: int, key_envelope: bytes
) -> Iterator[tuple[EnvelopeKind, bytes]]:
    """Yield (kind, envelope) `count` times: one of each kind in wire order, then round again.

    A node has one key record, so from the second time round that kind is left out. Times are
    the milliseconds up to `at_ms`, one for each record, so none lies in the future. What a record
    builds on comes before it. Nodes admit them all where the signer is a root steward and enough
    of a partner steward.

    Args:
        key_envelope: the signer's own key record: a second one would contradict it.
    """
    rest = ORDER[1:]
    for number in range(count):
        kind = ORDER[number] if number < len(ORDER) else rest[(number - len(ORDER)) % len(rest)]
        if kind is EnvelopeKind.KEY:
            yield kind, key_envelope
        else:
            signed_ms = at_ms - (count - 1 - number)
            columns = sample_columns(signer, kind, number, at_ms=signed_ms)
            yield kind, author(kind, columns, signer, at_ms=signed_ms)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the columns of one record are made from."""

    kind: EnvelopeKind
    me: str
    number: int
    at_ms: int

    @property
    def tag(self) -> str:
        return f"{self.me}-{self.number}"

    @property
    def uuid(self) -> str:
        name = f"ciris-mesh:demo:{self.kind.value}:{self.tag}"
        return str(uuid.uuid5(uuid.NAMESPACE_URL, name))

    @property
    def now(self) -> str:
        return from_unix_ms(self.at_ms)

    def before(self, kind: EnvelopeKind) -> _Sample:
        """The sample of `kind` this node signed last before this one."""
        steps = ORDER.index(self.kind) - ORDER.index(kind)
        return _Sample(kind, self.me, self.number - steps, self.at_ms - steps)


_Columns: TypeAlias = dict[str, Any]


def sample_columns(
    signer: FederationKey, kind: EnvelopeKind, number: int, *, at_ms: int
) -> _Columns:
    """Return the columns of one sample record of any kind but `key`."""
    return _COLUMNS[kind](_Sample(kind, signer.key_id, number, at_ms))


def _attestation(it: _Sample) -> _Columns:
    return {
        "attestation_id": it.uuid,
        "attesting_key_id": it.me,
        "attested_key_id": it.me,
        "attestation_type": "scores",
        "weight": 1.0,
        "asserted_at": it.now,
        "attestation_envelope": {"dimension": "identity:continuity:v1", "score": 1},
    }


def _revocation(it: _Sample) -> _Columns:
    return {
        "revocation_id": it.uuid,
        "revoked_key_id": f"retired-{it.tag}",
        "revoking_key_id": it.me,
        "reason": "demo: superseded",
        "revoked_at": it.now,
        "effective_at": it.now,
    }


def _occurrence(it: _Sample) -> _Columns:
    return {
        "identity_key_id": it.me,
        "occurrence_key_id": it.me,
        "device_class": "laptop",
        "asserted_at": it.now,
    }


def _group(it: _Sample) -> _Columns:
    word = it.kind.value
    columns = {
        f"{word}_name": f"The {word} {it.number} of {it.me}",
        "members": [{"key_id": it.me, "joined_at": it.now, "role": "founder"}],
        "founded_at": it.now,
        "consensus_protocol": "founder_only",
    }
    return {**columns, ID_COLUMNS[it.kind]: new_group_id(it.kind, f"{word}-demo", columns)}


def _occurrence_removal(it: _Sample) -> _Columns:
    return {
        "identity_key_id": it.me,
        "occurrence_key_id": f"phone-{it.tag}",
        "revoked_at": it.now,
        "effective_at": it.now,
        "reason": "lost",
    }


def _member_removal(it: _Sample) -> _Columns:
    kind = _GROUPS[it.kind]
    return {
        ID_COLUMNS[kind]: _group(it.before(kind))[ID_COLUMNS[kind]],
        "removed_identity_key_id": it.me,
        "removed_at": it.now,
        "effective_at": it.now,
        "witness_set": [it.me],
    }


def _location(it: _Sample) -> _Columns:
    return {
        "subject_key_id": it.me,
        "cell_id": SAMPLE_CELL,
        "cell_resolution": SAMPLE_CELL_RESOLUTION,
        "asserted_at": it.now,
    }


def _organization(it: _Sample) -> _Columns:
    return {
        "attestation_id": it.uuid,
        "org_id": f"org-{it.tag}",
        "name": f"Organization {it.number} of {it.me}",
        "org_type": "community",
        "status": "active",
        "asserted_at": it.now,
        "attesting_key_id": it.me,
    }


def _org_membership(it: _Sample) -> _Columns:
    return {
        "attestation_id": it.uuid,
        "user_id": it.me,
        "org_id": _organization(it.before(EnvelopeKind.ORGANIZATION))["org_id"],
        "role": "operator",
        "status": "active",
        "asserted_at": it.now,
        "attesting_key_id": it.me,
    }


def _partner_record(it: _Sample) -> _Columns:
    return {
        "attestation_id": it.uuid,
        "license_id": f"license-{it.tag}",
        "partner_id": f"partner-{it.tag}",
        "org_id": f"org-{it.tag}",
        "license_type": "demo",
        "max_autonomy_tier": "A1",
        "requires_supervisor": True,
        "deployment_limit": 1,
        "offline_grace_hours": 72,
        "status": "active",
        "revision": 1,
        "issued_at": it.now,
        "expires_at": from_unix_ms(it.at_ms + _YEAR_MS),
        "asserted_at": it.now,
    }


_K: Final = EnvelopeKind
_GROUPS: Final = {
    _K.FAMILY_MEMBERSHIP_REVOCATION: _K.FAMILY,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _K.COMMUNITY,
}
_COLUMNS: Final[dict[EnvelopeKind, Callable[[_Sample], _Columns]]] = {
    _K.ATTESTATION: _attestation,
    _K.REVOCATION: _revocation,
    _K.IDENTITY_OCCURRENCE: _occurrence,
    _K.FAMILY: _group,
    _K.COMMUNITY: _group,
    _K.IDENTITY_OCCURRENCE_REVOCATION: _occurrence_removal,
    _K.FAMILY_MEMBERSHIP_REVOCATION: _member_removal,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _member_removal,
    _K.LOCATION_PROOF: _location,
    _K.ORGANIZATION: _organization,
    _K.ORG_MEMBERSHIP: _org_membership,
    _K.PARTNER_RECORD: _partner_record,
}
