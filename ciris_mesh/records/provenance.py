"""From a key up its scrub signatures to a root pinned here.

    leaf ── signed by ──> parent ── signed by ──> ... ──> steward, self-signed, pinned

A chain runs leaf first. Every link is a key record whose scrub signature, both halves over JCS of
its registration envelope, is by the next link's key; that is the message admission verifies, and
the envelope must bind the columns, or `identity_type` could be anybody's claim. Being rooted is a
question of its own: a key is admitted without a chain. Whether a key in the chain is expired or
revoked is not asked here. Source: records-and-protocol.md, section 3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from itertools import pairwise
from typing import Final

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.envelope import Envelope, decode_base64
from ciris_mesh.records.hybrid import (
    HybridPolicy,
    HybridPublicKey,
    HybridSignature,
    verify_halves,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.signing import mirror_problem

#: Keys in a chain, leaf and root included: bounds the look-ups and signature checks of one answer.
CHAIN_LINKS_MAX: Final = 64

STEWARD_TYPE: Final = "steward"


class ProvenanceReason(StrEnum):
    """Why a key is not rooted; NONE when it is."""

    NONE = ""
    EMPTY = "chain_empty"
    TOO_LONG = "chain_too_long"
    CYCLE = "chain_cycle"
    BROKEN = "chain_broken"
    SELF_SIGNED_INSIDE = "chain_self_signed_inside"
    NOT_SELF_SIGNED = "chain_not_self_signed"
    NOT_STEWARD = "chain_root_not_steward"
    UNTRUSTED_ANCHOR = "chain_untrusted_anchor"
    COLUMNS_NOT_SIGNED = "chain_columns_not_signed"
    LINK_NOT_HYBRID = "chain_link_not_hybrid"
    LINK_SIGNATURE_INVALID = "chain_link_signature_invalid"
    KEY_UNKNOWN = "chain_key_unknown"
    PARENT_UNKNOWN = "chain_parent_unknown"


@dataclass(frozen=True, slots=True)
class ChainLink:
    """What a chain needs of one key record.

    Attributes:
        ed25519: 32 bytes.
        mldsa65: 1952 bytes; None for a key without a post-quantum half.
        identity_type: as in the record: words joined by commas.
        scrub_key_id: who signed this record; the key's own id when self-signed.
        message: the signed bytes, JCS of the registration envelope.
        is_bound: the signed envelope repeats every column, so the fields above are signed.
    """

    key_id: str
    ed25519: bytes
    mldsa65: bytes | None
    identity_type: str
    scrub_key_id: str
    message: bytes
    signature: HybridSignature
    is_bound: bool

    @property
    def is_self_signed(self) -> bool:
        """True for a root, and for the key of a node nobody has vouched for yet."""
        return self.scrub_key_id == self.key_id


@dataclass(frozen=True, slots=True)
class Provenance:
    """The answer.

    Attributes:
        path: the key ids walked, the key asked for first.
        at: the key id the reason is about; "" when there is none.
        waits_for: key ids whose arrival makes it worth asking again.
    """

    reason: ProvenanceReason
    path: tuple[str, ...] = ()
    at: str = ""
    waits_for: tuple[str, ...] = ()

    @property
    def root(self) -> str | None:
        """The pinned key the chain ends at; None when the key is not rooted."""
        return self.path[-1] if self.reason is ProvenanceReason.NONE else None


#: Key id -> its admitted key record as a link, or None.
LinkLookup = Callable[[str], ChainLink | None]

#: Key id -> 32-byte fingerprint over both public halves; from local configuration alone.
Anchors = Mapping[str, bytes]


def link_of(envelope: Envelope) -> ChainLink:
    """Read a key record as a link. Nothing is verified.

    Raises:
        LocalProtocolError: the envelope is of another kind.
        MalformedRecord: `value_not_allowed` for a number in the signed envelope that no double
            can hold.
    """
    if envelope.kind is not EnvelopeKind.KEY:
        raise LocalProtocolError(f"a {envelope.kind.value} is no link of a chain of keys")
    record = envelope.record
    mldsa65 = record.get("pubkey_ml_dsa_65_base64")
    return ChainLink(
        key_id=str(record["key_id"]),
        ed25519=decode_base64(str(record["pubkey_ed25519_base64"])),
        mldsa65=decode_base64(mldsa65) if isinstance(mldsa65, str) else None,
        identity_type=str(record["identity_type"]),
        scrub_key_id=envelope.claims[0].key_id,
        message=jcs(record["registration_envelope"]),
        signature=envelope.claims[0].signature,
        is_bound=mirror_problem(EnvelopeKind.KEY, record) is None,
    )


def identity_types(identity_type: str) -> frozenset[str]:
    """The words of an `identity_type` column: exact, no spaces trimmed, no case folded."""
    return frozenset(identity_type.split(","))


def verify_provenance_chain(
    chain: Sequence[ChainLink],
    anchors: Anchors,
    policy: HybridPolicy = HybridPolicy.REQUIRE_HYBRID,
) -> Provenance:
    """Judge a chain, leaf first. Its shape and its root come before any signature.

    `anchors` pin both halves of a root, so a root without a post-quantum key is never trusted.
    """
    path = tuple(link.key_id for link in chain[: CHAIN_LINKS_MAX + 1])
    for problems in (_shape_problems(chain), _root_problems(chain, anchors)):
        for reason, at in problems:
            return Provenance(reason, path, at)
    for child, parent in zip(chain, (*chain[1:], chain[-1]), strict=True):
        reason = _link_problem(child, parent, policy)
        if reason is not ProvenanceReason.NONE:
            return Provenance(reason, path, child.key_id)
    return Provenance(ProvenanceReason.NONE, path)


def root_of(
    key_id: str,
    links: LinkLookup,
    anchors: Anchors,
    policy: HybridPolicy = HybridPolicy.REQUIRE_HYBRID,
) -> Provenance:
    """Follow the scrub signatures from `key_id` and judge the chain that comes out.

    At most 64 look-ups and 64 signature checks. PARENT_UNKNOWN says which key would lead on.
    """
    chain: list[ChainLink] = []
    seen: set[str] = set()
    wanted = key_id
    while not chain or not chain[-1].is_self_signed:
        path = tuple(link.key_id for link in chain)
        if wanted in seen:
            return Provenance(ProvenanceReason.CYCLE, path, wanted)
        if len(chain) == CHAIN_LINKS_MAX:
            return Provenance(ProvenanceReason.TOO_LONG, path, wanted)
        link = links(wanted)
        if link is None or link.key_id != wanted:
            unknown = ProvenanceReason.PARENT_UNKNOWN if chain else ProvenanceReason.KEY_UNKNOWN
            return Provenance(unknown, path, wanted, (wanted,))
        seen.add(wanted)
        chain.append(link)
        wanted = link.scrub_key_id
    return verify_provenance_chain(chain, anchors, policy)


_Problem = tuple[ProvenanceReason, str]


def _shape_problems(chain: Sequence[ChainLink]) -> Iterator[_Problem]:
    if not chain:
        yield ProvenanceReason.EMPTY, ""
        return
    if len(chain) > CHAIN_LINKS_MAX:
        yield ProvenanceReason.TOO_LONG, chain[CHAIN_LINKS_MAX].key_id
        return
    seen: set[str] = set()
    for link in chain:
        if link.key_id in seen:
            yield ProvenanceReason.CYCLE, link.key_id
        seen.add(link.key_id)
    for child, parent in pairwise(chain):
        if child.is_self_signed:
            yield ProvenanceReason.SELF_SIGNED_INSIDE, child.key_id
        if child.scrub_key_id != parent.key_id:
            yield ProvenanceReason.BROKEN, child.key_id
    for link in chain:
        if not link.is_bound:
            yield ProvenanceReason.COLUMNS_NOT_SIGNED, link.key_id


def _root_problems(chain: Sequence[ChainLink], anchors: Anchors) -> Iterator[_Problem]:
    root = chain[-1]
    if not root.is_self_signed:
        yield ProvenanceReason.NOT_SELF_SIGNED, root.key_id
    if STEWARD_TYPE not in identity_types(root.identity_type):
        yield ProvenanceReason.NOT_STEWARD, root.key_id
    if not _is_pinned(root, anchors):
        yield ProvenanceReason.UNTRUSTED_ANCHOR, root.key_id


def _is_pinned(root: ChainLink, anchors: Anchors) -> bool:
    pinned = anchors.get(root.key_id)
    if pinned is None or root.mldsa65 is None:
        return False
    return compare_digest(pinned, HybridPublicKey(root.ed25519, root.mldsa65).fingerprint)


def _link_problem(child: ChainLink, parent: ChainLink, policy: HybridPolicy) -> ProvenanceReason:
    is_hybrid = parent.mldsa65 is not None and child.signature.mldsa65 is not None
    if policy is HybridPolicy.REQUIRE_HYBRID and not is_hybrid:
        return ProvenanceReason.LINK_NOT_HYBRID
    reason = verify_halves(parent.ed25519, parent.mldsa65, child.message, child.signature, policy)
    if reason is Reason.NONE:
        return ProvenanceReason.NONE
    return ProvenanceReason.LINK_SIGNATURE_INVALID
