"""Every kind's rule, and the one question asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules import (
    attestations,
    groups,
    keys,
    locations,
    occurrences,
    operations,
)
from ciris_mesh.records.rules.base import (
    ContentRule,
    Counted,
    CountedRule,
    Facts,
    Finding,
    StandingRule,
    Trust,
    every_signer,
    no_content_rule,
    no_standing_rule,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`content` looks at the record alone, `standing` at its signers and prerequisites.

    `counted` says whose signatures `standing` could look at. A row of its own for each kind to
    whose records anybody may add signatures under the same id.
    """

    content: ContentRule = no_content_rule
    standing: StandingRule = no_standing_rule
    counted: CountedRule = every_signer


_K: Final = EnvelopeKind
_GROUP: Final = Rule(groups.content, groups.standing, groups.counted)
_MEMBER_REMOVAL: Final = Rule(
    groups.removal_content, groups.removal_standing, groups.removal_counted
)

RULES: Final[Mapping[EnvelopeKind, Rule]] = MappingProxyType(
    {
        _K.KEY: Rule(keys.content),
        _K.ATTESTATION: Rule(attestations.content, attestations.standing),
        _K.REVOCATION: Rule(),  # anybody may claim; whose claim counts is decided by who asks
        _K.IDENTITY_OCCURRENCE: Rule(
            occurrences.content, occurrences.standing, occurrences.counted
        ),
        _K.FAMILY: _GROUP,
        _K.COMMUNITY: _GROUP,
        _K.IDENTITY_OCCURRENCE_REVOCATION: Rule(
            standing=occurrences.removal_standing, counted=occurrences.removal_counted
        ),
        _K.FAMILY_MEMBERSHIP_REVOCATION: _MEMBER_REMOVAL,
        _K.COMMUNITY_MEMBERSHIP_REVOCATION: _MEMBER_REMOVAL,
        _K.LOCATION_PROOF: Rule(locations.content, locations.standing, locations.counted),
        _K.ORGANIZATION: Rule(operations.content, operations.organization_standing),
        _K.ORG_MEMBERSHIP: Rule(operations.content, operations.membership_standing),
        _K.PARTNER_RECORD: Rule(operations.partner_content, operations.partner_standing),
    }
)


def judge_content(envelope: Envelope, trust: Trust) -> Finding:
    """May a record that says this be held at all? Asked of unsigned ones too."""
    return RULES[envelope.kind].content(envelope, trust)


def judge_standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """May they who signed say this? Asked once the signatures stand and the content is fine."""
    return RULES[envelope.kind].standing(envelope, facts, trust)


def judge_counted(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """Whose signatures can matter? Asked of records whose content is fine."""
    return RULES[envelope.kind].counted(envelope, facts, trust)


def judge(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """May this record, whose signatures stand, be federation truth? Spelling was looked at."""
    finding = judge_content(envelope, trust)
    return finding if not finding.is_fine else judge_standing(envelope, facts, trust)
