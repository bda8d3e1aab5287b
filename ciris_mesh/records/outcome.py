"""What became of a record offered to this node: one outcome, one stable reason.

Every path (peer, import, restore, command line) ends in one `Verdict`. Counters, logs, screens and
`--json` all use these names, so none of them may change meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.kinds import EnvelopeKind


class Outcome(StrEnum):
    """What `admit` did. Only ADMITTED, UPGRADED and SUPERSEDED changed the directory's shelves.

    SUPERSEDED: written and passed on as an admitted record is, and says nothing new.
    """

    ADMITTED = "admitted"
    UPGRADED = "upgraded"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    DEFERRED = "deferred"
    REFUSED = "refused"
    MALFORMED = "malformed"

    __hash__ = str.__hash__  # see EnvelopeKind

    @property
    def is_change(self) -> bool:
        """True when a row was written."""
        return self in (Outcome.ADMITTED, Outcome.UPGRADED, Outcome.SUPERSEDED)

    @property
    def is_shelved(self) -> bool:
        """True when the record stands on a shelf here afterwards."""
        return self.is_held and self is not Outcome.DEFERRED

    @property
    def is_held(self) -> bool:
        """True when the record is known here afterwards and need not be asked for again."""
        return self in (
            Outcome.ADMITTED,
            Outcome.UPGRADED,
            Outcome.DUPLICATE,
            Outcome.SUPERSEDED,
            Outcome.DEFERRED,
        )


class Reason(StrEnum):
    """Why. Closed set: a metric label, a word on the screen, an `explain` page."""

    NONE = ""

    # malformed: the bytes are no record of this kind
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    DUPLICATE_MEMBER = "duplicate_member"
    TOO_DEEP = "too_deep"
    WRONG_WRAPPER = "wrong_wrapper"
    UNKNOWN_MEMBER = "unknown_member"
    MISSING_MEMBER = "missing_member"
    WRONG_TYPE = "wrong_type"
    VALUE_NOT_ALLOWED = "value_not_allowed"
    NOT_ONE_SPELLING = "not_one_spelling"

    # refused: a record, but not one this node takes
    UNKNOWN_KIND = "unknown_kind"
    KEY_ID_NOT_SELF_CERTIFYING = "key_id_not_self_certifying"
    CONTENT_HASH_MISMATCH = "content_hash_mismatch"
    COLUMNS_NOT_SIGNED = "columns_not_signed"
    SIGNATURE_MISSING = "signature_missing"
    PQC_SIGNATURE_MISSING = "pqc_signature_missing"
    CLASSICAL_SIGNATURE_INVALID = "classical_signature_invalid"
    PQC_SIGNATURE_INVALID = "pqc_signature_invalid"
    SIGNER_NOT_ALLOWED = "signer_not_allowed"
    UNATTRIBUTED = "unattributed"
    LOCAL_TIER = "local_tier"
    KEY_CONFLICT = "key_conflict"
    POOL_FULL = "pool_full"
    SIGNER_QUOTA = "signer_quota"
    PEER_QUOTA = "peer_quota"
    BRIDGED_QUOTA = "bridged_quota"
    SAID_OFTEN_ENOUGH = "said_often_enough"
    BINDING_EXPIRED = "binding_expired"
    ROW_DIFFERS = "row_differs"

    # refused by a kind's rule: no later arrival changes it
    IDENTITY_TYPE_MALFORMED = "identity_type_malformed"
    ACCORD_EVIDENCE_MISSING = "accord_evidence_missing"
    ACCORD_EVIDENCE_INCOMPLETE = "accord_evidence_incomplete"
    ACCORD_EVIDENCE_STALE = "accord_evidence_stale"
    HARDWARE_TYPE_NOT_ACCEPTED = "hardware_type_not_accepted"
    ATTESTATION_TYPE_UNKNOWN = "attestation_type_unknown"
    DIMENSION_MISSING = "dimension_missing"
    DIMENSION_MALFORMED = "dimension_malformed"
    REFERENCE_MISSING = "reference_missing"
    SCOPES_MALFORMED = "scopes_malformed"
    WITHDRAWS_RULE_INVALID = "withdraws_rule_invalid"
    DELEGATION_CHAIN_MALFORMED = "delegation_chain_malformed"
    SCOPE_PRIVATE = "scope_private"
    VOUCH_MALFORMED = "vouch_malformed"
    ENCRYPTION_KEYS_MALFORMED = "encryption_keys_malformed"
    CONSENSUS_MALFORMED = "consensus_malformed"
    CONSENSUS_OUT_OF_REACH = "consensus_out_of_reach"
    MEMBERS_NOT_UNIQUE = "members_not_unique"
    FOUNDER_MISSING = "founder_missing"
    GROUP_POLICY_MALFORMED = "group_policy_malformed"
    GROUP_ID_NOT_SELF_CERTIFYING = "group_id_not_self_certifying"
    GROUP_ENTRENCHED = "group_entrenched"
    REMOVAL_IN_ADVANCE = "removal_in_advance"
    CELL_MALFORMED = "cell_malformed"
    LOCATION_TOO_PRECISE = "location_too_precise"
    PAYMENT_ID = "payment_id"
    SET_UNSORTED = "set_unsorted"
    ROOT_STEWARDS_UNSET = "root_stewards_unset"
    PARTNER_STEWARDS_UNSET = "partner_stewards_unset"
    SIGNER_NOT_STEWARD = "signer_not_steward"
    STEWARDS_NOT_ENOUGH = "stewards_not_enough"

    # deferred: valid as far as can be seen; something is missing here
    SIGNER_UNKNOWN = "signer_unknown"
    TIME_AHEAD = "time_ahead"
    FIRST_CONTACT = "first_contact"
    KEY_UNKNOWN = "key_unknown"
    NOT_ROOTED = "not_rooted"
    DELEGATE_TYPE_NOT_ALLOWED = "delegate_type_not_allowed"
    REFERENCE_UNKNOWN = "reference_unknown"
    REFERENCE_NOT_ENTITLED = "reference_not_entitled"
    OCCURRENCE_NOT_VOUCHED = "occurrence_not_vouched"
    FOUNDERS_NOT_ENOUGH = "founders_not_enough"
    REMOVAL_NOT_VOUCHED = "removal_not_vouched"
    NOT_DELEGATED = "not_delegated"
    ROSTER_UNKNOWN = "roster_unknown"
    CONSENSUS_NOT_REACHED = "consensus_not_reached"
    LOCATION_UNPROVEN = "location_unproven"
    ORGANIZATION_UNKNOWN = "organization_unknown"
    NOT_ORG_ADMIN = "not_org_admin"

    __hash__ = str.__hash__  # see EnvelopeKind


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Verdict:
    """The one answer to "may this come in?".

    Attributes:
        envelope_id: 32 bytes, recomputed from the record; None when it could not be read.
        detail: for people and logs; never parsed, never a metric label.
        waits_for: tokens (`records.tokens`) whose arrival makes a deferred record worth another
            look.
        needs_all: it takes all of them.
        copy_id: of what was judged (`cosigning.copy_id`), signed as it claims to be; None when it
            could not be read.
    """

    outcome: Outcome
    reason: Reason = Reason.NONE
    kind: EnvelopeKind | None = None
    envelope_id: bytes | None = None
    detail: str = ""
    waits_for: tuple[str, ...] = ()
    needs_all: bool = False
    copy_id: bytes | None = field(default=None, compare=False, repr=False)
