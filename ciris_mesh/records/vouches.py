"""Vouches: one node's word that rows of a registry may be used which lack what is asked for here.

A vouch is an attestation by a key about itself, of the dimension below. Its signed envelope names
the registry, one kind, and the ids of rows as they stand there:

    {"dimension": "registry:vouched:v1", "registry_key_id": "...", "vouched_kind": "community",
     "vouched_ids": ["00ff...", ...]}

Anybody may sign one; it means something only to nodes whose configuration lists who signed it. It
is withdrawn as every attestation is. What a vouched row counts for is `resolve.vouched`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import KINDS, EnvelopeKind

VOUCH_DIMENSION: Final = "registry:vouched:v1"

#: A vouch of 32 ids is 8 kB, most of it signature; a larger one would not fit a radio's patience.
IDS_PER_VOUCH_MAX: Final = 32

#: Never organizations, memberships or partner records: there who may say what is all there is.
VOUCHABLE: Final = frozenset(
    {
        EnvelopeKind.KEY,
        EnvelopeKind.ATTESTATION,
        EnvelopeKind.REVOCATION,
        EnvelopeKind.IDENTITY_OCCURRENCE,
        EnvelopeKind.FAMILY,
        EnvelopeKind.COMMUNITY,
        EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION,
        EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION,
        EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION,
        EnvelopeKind.LOCATION_PROOF,
    }
)

_ATTESTATION: Final = EnvelopeKind.ATTESTATION
_REGISTRY: Final = "registry_key_id"
_KIND: Final = "vouched_kind"
_IDS: Final = "vouched_ids"
#: As ids of other software's keys are; a registry's need not certify itself.
_REGISTRY_CHARS_MAX: Final = 128
_ID: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Vouch:
    """What a vouch says.

    Attributes:
        registry: whose rows they are.
        ids: envelope ids of `kind`, in the order of their bytes.
    """

    registry: str
    kind: EnvelopeKind
    ids: tuple[bytes, ...]

    def members(self) -> dict[str, object]:
        """The members of its signed envelope, as `vouch_of` reads them."""
        return {
            "dimension": VOUCH_DIMENSION,
            _REGISTRY: self.registry,
            _KIND: self.kind.value,
            _IDS: [one.hex() for one in sorted(self.ids)],
        }


def is_vouch(envelope: Envelope) -> bool:
    """Does an attestation claim to be one? A withdrawal repeats the dimension and is none."""
    if envelope.kind is not _ATTESTATION:
        return False
    is_score = envelope.record["attestation_type"] == "scores"
    return is_score and _said(envelope).get("dimension") == VOUCH_DIMENSION


def vouch_of(envelope: Envelope) -> Vouch | None:
    """Read one; None for every other record, and for one that is not as it must be."""
    if not is_vouch(envelope) or vouch_problem(envelope):
        return None
    said = _said(envelope)
    ids = said[_IDS]
    assert isinstance(ids, list), "looked at by vouch_problem"
    named = tuple(bytes.fromhex(str(one)) for one in ids)
    return Vouch(str(said[_REGISTRY]), EnvelopeKind(str(said[_KIND])), named)


def vouch_problem(envelope: Envelope) -> str:
    """What is wrong with an attestation that claims to be a vouch; "" when nothing is."""
    record, said = envelope.record, _said(envelope)
    if record["attesting_key_id"] != record["attested_key_id"]:
        return "a vouch is said by a key of itself"
    registry = said.get(_REGISTRY)
    if not isinstance(registry, str) or not 0 < len(registry) <= _REGISTRY_CHARS_MAX:
        return f"{_REGISTRY} names the registry node"
    if said.get(_KIND) not in {kind.value for kind in VOUCHABLE}:
        return f"{_KIND} is none that can be vouched for"
    return _ids_problem(said.get(_IDS))


def _ids_problem(ids: JsonValue) -> str:
    if not isinstance(ids, list) or not 0 < len(ids) <= IDS_PER_VOUCH_MAX:
        return f"{_IDS} is a list of 1 to {IDS_PER_VOUCH_MAX} ids"
    texts = [one for one in ids if isinstance(one, str) and _ID.fullmatch(one)]
    if len(texts) < len(ids) or texts != sorted(set(texts)):
        return f"{_IDS} are 64 lower-case hex digits each, in order, each once"
    return ""


def _said(envelope: Envelope) -> dict[str, JsonValue]:
    inner = envelope.record.get(KINDS[envelope.kind].envelope_field or "")
    return inner if isinstance(inner, dict) else {}
