"""The one question every envelope is asked, whatever path it came by: may this come in?

    same id on the federation shelf -> Duplicate            (before any signature is looked at,
                                       unless it names a signer our copy lacks)
    same bytes refused before       -> that refusal again
    structure, one spelling         -> else Malformed
    who delivers may deliver this   -> else Refused
    both signature halves           -> else Refused; a signer we lack -> Deferred (of several
                                       around one record, those we know suffice at first)
    the kind's rule                 -> else Refused; a prerequisite we lack -> Deferred
    dated ahead of our clock        -> Deferred

Judging reads, never writes, and takes no lock: verification is slow. What it decides is carried
out by `core`, which looks at equality again under the write lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from ciris_mesh.directory.base import Shelf, Source, StoredRow
from ciris_mesh.directory.store import PooledEntry
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.checks import KeyLookup, outcome_of, public_key_of, verify
from ciris_mesh.records.cosigning import is_cosigned, only_signed_by
from ciris_mesh.records.envelope import Envelope, one_spelling_problem, parse_envelope
from ciris_mesh.records.hybrid import HybridPolicy, HybridPublicKey
from ciris_mesh.records.kinds import BOOTSTRAP_KINDS, EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rules.base import FINE, Finding, Trust
from ciris_mesh.records.rules.keys import is_root
from ciris_mesh.records.rules.table import judge_content, judge_standing
from ciris_mesh.records.timestamps import to_unix_ms
from ciris_mesh.records.tokens import key_token, published_by, tokens_of

#: CEG 0.7: what is dated more than five minutes ahead of the receiver's clock does not count yet.
SKEW_MS: Final = 300_000

DEFERRED: Final = "deferred"
FIRST_CONTACT: Final = "first_contact"

#: What a registry's record may lack and still stand on the bridged shelf. A closed list: what is
#: present and wrong (a failing signature, another content hash) is refused from everyone.
BRIDGEABLE: Final = frozenset(
    {
        Reason.NOT_ONE_SPELLING,
        Reason.COLUMNS_NOT_SIGNED,
        Reason.SIGNATURE_MISSING,
        Reason.PQC_SIGNATURE_MISSING,
        Reason.KEY_ID_NOT_SELF_CERTIFYING,
        Reason.SIGNER_UNKNOWN,
    }
)

_View = TypeVar("_View")

_ATTRIBUTED_BY_PEER: Final = frozenset({"peer", "registry"})
_PATHS: Final = _ATTRIBUTED_BY_PEER | {"own", "import", "unattributed"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bytes that ask to come in. `digest` names them: SHA-256 over kind and bytes.

    `proven` are signers whose signatures in them were verified before. `is_waiting` when they come
    from the deferred pool, so that nobody waits for the answer.
    """

    kind: EnvelopeKind
    raw: bytes
    source: Source
    digest: bytes
    proven: frozenset[str] = frozenset()
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a candidate.

    Attributes:
        verdict: final, unless `row` is set: then writing it decides between Admitted, Upgraded
            and Duplicate.
        row: goes on its shelf.
        entry: goes into its pool. Beside a row: the whole, while some of its signers lack a key.
        public: of a KEY row, the key it introduces.
        is_root: the row is the record of a root of this node's configuration.
        tokens: what the row answers to; empty unless it goes to the federation shelf.
        published: what it publishes when it gets there, as `published_by`.
        mark: how much had been published when judging began.
    """

    candidate: Candidate
    verdict: Verdict
    row: StoredRow | None = None
    entry: PooledEntry | None = None
    public: HybridPublicKey | None = None
    is_root: bool = False
    tokens: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    mark: int = 0


class Known(Protocol):
    """What judging needs to know about the directory. Thread-safe."""

    def shelf_of(self, kind: EnvelopeKind, envelope_id: bytes) -> Shelf | None:
        """Where the row with this id stands, None without one."""
        ...

    def signers_of(self, kind: EnvelopeKind, envelope_id: bytes) -> tuple[str, ...]:
        """The verified signers of the row with this id, () without one."""
        ...

    def federation_key(self, key_id: str) -> HybridPublicKey | None:
        """The key on the federation shelf."""
        ...

    def named(self, token: str) -> Iterator[Envelope]:
        """Federation-shelf records that answer to this token."""
        ...

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        """What `read` makes of each record that answers to this token."""
        ...

    def stewards(self) -> frozenset[str]:
        """Keys with a chain of stewards to a configured root."""
        ...

    def published_mark(self) -> int:
        """Grows with every token published; what was published by then can be read."""
        ...

    def first_contact_key(self, key_id: str) -> HybridPublicKey | None:
        """The key in the first-contact pool."""
        ...

    def remembered_refusal(self, digest: bytes, now_ms: int) -> Verdict | None:
        """What was said about exactly these bytes."""
        ...

    def remember_refusal(self, digest: bytes, verdict: Verdict, now_ms: int) -> None:
        """Say it again without looking, for a while."""
        ...


def candidate(kind: EnvelopeKind, envelope: bytes, source: Source) -> Candidate:
    """Name the bytes.

    Raises:
        ValueError: `source.path` is none of the known ones: a bug in the caller.
    """
    if source.path not in _PATHS:
        raise ValueError(f"unknown source path {source.path!r}")
    raw = bytes(envelope)
    return Candidate(kind, raw, source, hashlib.sha256(kind.encode() + b"\0" + raw).digest())


def is_attributed(source: Source) -> bool:
    """True when we know whose delivery this is: a peer that is named, or ourselves."""
    if source.path in _ATTRIBUTED_BY_PEER:
        return source.peer != ""
    return source.path in ("own", "import")


class _Facts:
    """The federation shelf as the rules see it; what is in a pool is no fact."""

    def __init__(self, known: Known) -> None:
        self.public_key = known.federation_key
        self.named = known.named
        self.stewards = known.stewards
        self._known = known

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        return self._known.views(token, read)


class Admission:
    """Judges candidates. Stateless but for what `known` answers."""

    def __init__(self, known: Known, trust: Trust) -> None:
        self._known = known
        self._facts = _Facts(known)
        self._trust = trust

    def judge(self, what: Candidate, now_ms: int) -> Judgement:
        """Decide. Never raises because of what the bytes hold."""
        mark = self._known.published_mark()
        return replace(self._judge(what, now_ms), mark=mark)

    def _judge(self, what: Candidate, now_ms: int) -> Judgement:
        remembered = self._known.remembered_refusal(what.digest, now_ms)
        if remembered is not None and what.source.path != "registry":
            return Judgement(what, self._duplicate(what, remembered.envelope_id) or remembered)
        try:
            envelope = parse_envelope(what.kind, what.raw)
        except MalformedRecord as error:
            verdict = Verdict(
                Outcome.MALFORMED, Reason(error.reason), what.kind, None, error.detail
            )
            return self._refuse(what, verdict, now_ms)
        duplicate = self._duplicate(what, envelope.envelope_id)
        if duplicate is not None and not self._names_more(what, envelope):
            return Judgement(what, duplicate)
        if not is_attributed(what.source):
            return self._judge_stranger(what, envelope, now_ms)
        if envelope.tier_local and what.source.path != "own":
            return Judgement(what, _refused(envelope, Reason.LOCAL_TIER))
        return self._judge_known(what, envelope, remembered, now_ms)

    def _duplicate(self, what: Candidate, envelope_id: bytes | None) -> Verdict | None:
        if envelope_id is None:
            return None
        if self._known.shelf_of(what.kind, envelope_id) is not Shelf.FEDERATION:
            return None
        return Verdict(Outcome.DUPLICATE, Reason.NONE, what.kind, envelope_id)

    def _names_more(self, what: Candidate, envelope: Envelope) -> bool:
        """Does this copy of a record we hold claim signers that ours lacks?

        Without another look whoever countersigns a record first would keep its author's own
        signature out.
        """
        if not is_cosigned(what.kind) or not is_attributed(what.source):
            return False
        known = self._known.signers_of(what.kind, envelope.envelope_id)
        return not set(known).issuperset(envelope.signers)

    def _judge_known(
        self, what: Candidate, envelope: Envelope, remembered: Verdict | None, now_ms: int
    ) -> Judgement:
        proven = what.proven
        verdict, signers = (remembered, ()) if remembered else self._verify(envelope, proven)
        proven |= frozenset(signers)
        is_bridged = what.source.path == "registry" and verdict.reason in BRIDGEABLE
        if is_bridged or verdict.outcome in (Outcome.ADMITTED, Outcome.DEFERRED):
            finding = self._rule(envelope, verdict)
            verdict = verdict if finding.is_fine else _found(envelope, finding)
        whole, entry = envelope, None
        if verdict.reason is Reason.SIGNER_UNKNOWN and is_cosigned(what.kind):
            verdict, part, signers = self._known_part(envelope, verdict, proven)
            proven |= frozenset(signers)
            if part is not None:
                envelope, entry = part, _deferred(what, whole, verdict, proven)
                verdict = _verdict(envelope, Outcome.ADMITTED)
        is_bridged = is_bridged and verdict.reason in BRIDGEABLE
        if verdict.outcome is not Outcome.ADMITTED and not is_bridged:
            if verdict.outcome is Outcome.DEFERRED:
                return Judgement(what, verdict, entry=_deferred(what, whole, verdict, proven))
            return self._refuse(what, verdict, now_ms)
        if _signed_ms(whole) - now_ms > SKEW_MS and what.source.path != "own":
            verdict = _verdict(whole, Outcome.DEFERRED, Reason.TIME_AHEAD)
            return Judgement(what, verdict, entry=_deferred(what, whole, verdict, proven))
        shelf = Shelf.FEDERATION
        if is_bridged:
            shelf = Shelf.BRIDGED
        elif envelope.tier_local:
            shelf = Shelf.LOCAL
        return Judgement(
            what,
            _verdict(envelope, Outcome.ADMITTED),
            row=_row(envelope, shelf, signers, now_ms),
            entry=entry,
            public=public_key_of(envelope),
            is_root=envelope.kind is EnvelopeKind.KEY and is_root(envelope, self._trust),
            tokens=tokens_of(envelope) if shelf is Shelf.FEDERATION else (),
            published=published_by(envelope) if shelf is Shelf.FEDERATION else (),
        )

    def _rule(self, envelope: Envelope, verdict: Verdict) -> Finding:
        """What the kind's rule says; of what is unsigned or local only the content matters.

        A row that is held may take on signers: no rule minds one more.
        """
        finding = judge_content(envelope, self._trust)
        is_signed = verdict.outcome is Outcome.ADMITTED
        if not finding.is_fine or not is_signed or envelope.tier_local:
            return finding
        if is_cosigned(envelope.kind) and self._is_held(envelope):
            return FINE
        return judge_standing(envelope, self._facts, self._trust)

    def _is_held(self, envelope: Envelope) -> bool:
        return self._known.shelf_of(envelope.kind, envelope.envelope_id) is Shelf.FEDERATION

    def _known_part(
        self, envelope: Envelope, verdict: Verdict, proven: frozenset[str]
    ) -> tuple[Verdict, Envelope | None, tuple[str, ...]]:
        """The record with those signers whose keys are here, if it may stand on them alone.

        Else anyone could keep a record waiting by adding a signer nobody knows.

        Returns:
            What the whole waits for: where the part cannot stand yet, what that lacks too. The
            part, if it may stand. Its signers, if their signatures do.
        """
        known = [name for name in envelope.signers if key_token(name) not in verdict.waits_for]
        if not known:
            return verdict, None, ()
        part = only_signed_by(envelope, known)
        found, signers = self._verify(part, proven)
        if found.outcome is not Outcome.ADMITTED:
            return verdict, None, ()
        finding = self._rule(part, found)
        if finding.is_fine:
            return verdict, part, signers
        waits_for = tuple(dict.fromkeys((*verdict.waits_for, *finding.waits_for)))
        return replace(verdict, waits_for=waits_for), None, signers

    def _judge_stranger(self, what: Candidate, envelope: Envelope, now_ms: int) -> Judgement:
        """First contact: a key that signs itself, then its occurrences. Nothing else."""
        if what.kind not in BOOTSTRAP_KINDS or envelope.tier_local:
            return Judgement(what, _refused(envelope, Reason.UNATTRIBUTED))
        owner = _owner(envelope)
        if envelope.signers != (owner,):
            return Judgement(what, _refused(envelope, Reason.UNATTRIBUTED))
        is_key = what.kind is EnvelopeKind.KEY
        may_come = self._known.federation_key if is_key else self._known.first_contact_key
        if (may_come(owner) is None) is not is_key:
            return Judgement(what, _refused(envelope, Reason.UNATTRIBUTED))
        verdict, _ = self._verify(envelope, keys=self._known.first_contact_key)
        if verdict.outcome is Outcome.DEFERRED:
            return Judgement(what, _refused(envelope, Reason.UNATTRIBUTED))
        finding = judge_content(envelope, self._trust)
        if verdict.outcome is Outcome.ADMITTED and not finding.is_fine:
            verdict = _found(envelope, finding)
        if verdict.outcome is not Outcome.ADMITTED:
            return self._refuse(what, verdict, now_ms)
        entry = PooledEntry(
            digest=what.digest,
            pool=FIRST_CONTACT,
            kind=what.kind,
            envelope_id=envelope.envelope_id,
            source=what.source,
            signers=envelope.signers,
            waits_for=(),
            not_before_ms=0,
            size_bytes=len(what.raw),
        )
        verdict = _verdict(envelope, Outcome.DEFERRED, Reason.FIRST_CONTACT)
        return Judgement(what, verdict, entry=entry)

    def _verify(
        self,
        envelope: Envelope,
        proven: frozenset[str] = frozenset(),
        *,
        keys: KeyLookup | None = None,
    ) -> tuple[Verdict, tuple[str, ...]]:
        if envelope.signers and proven.issuperset(envelope.signers):
            return _verdict(envelope, Outcome.ADMITTED), envelope.signers
        problem = one_spelling_problem(envelope)
        if problem is not None:
            return _verdict(envelope, Outcome.MALFORMED, Reason.NOT_ONE_SPELLING, problem), ()
        policy = (
            HybridPolicy.ALLOW_CLASSICAL_PENDING
            if envelope.tier_local
            else HybridPolicy.REQUIRE_HYBRID
        )
        verification = verify(
            envelope,
            keys or self._known.federation_key,
            policy=policy,
            pinned=self._trust.pinned,
            proven=proven,
        )
        return verification.verdict, verification.signers

    def _refuse(self, what: Candidate, verdict: Verdict, now_ms: int) -> Judgement:
        """Bytes judged for good. Only verdicts that no path or later arrival could change."""
        self._known.remember_refusal(what.digest, verdict, now_ms)
        return Judgement(what, verdict)


def _owner(envelope: Envelope) -> str:
    column = "key_id" if envelope.kind is EnvelopeKind.KEY else "identity_key_id"
    return str(envelope.record.get(column))


def _verdict(
    envelope: Envelope, outcome: Outcome, reason: Reason = Reason.NONE, detail: str = ""
) -> Verdict:
    return Verdict(outcome, reason, envelope.kind, envelope.envelope_id, detail)


def _found(envelope: Envelope, finding: Finding) -> Verdict:
    return Verdict(
        outcome_of(finding.reason),
        finding.reason,
        envelope.kind,
        envelope.envelope_id,
        finding.detail,
        finding.waits_for,
        finding.needs_all,
    )


def _signed_ms(envelope: Envelope) -> int:
    """The latest time the record claims to have been made or signed at, in Unix ms."""
    signed_at = envelope.record.get("scrub_timestamp")
    signed_ms = to_unix_ms(signed_at) if isinstance(signed_at, str) else 0
    return max(envelope.seq, signed_ms)


def _refused(envelope: Envelope, reason: Reason) -> Verdict:
    return _verdict(envelope, Outcome.REFUSED, reason)


def _row(envelope: Envelope, shelf: Shelf, signers: tuple[str, ...], now_ms: int) -> StoredRow:
    return StoredRow(
        kind=envelope.kind,
        envelope_id=envelope.envelope_id,
        shelf=shelf,
        seq=envelope.seq,
        subject=envelope.subject,
        signers=signers,
        envelope=envelope.raw,
        admitted_at_ms=now_ms,
    )


def _deferred(
    what: Candidate, envelope: Envelope, verdict: Verdict, proven: frozenset[str]
) -> PooledEntry:
    is_dated = verdict.reason is Reason.TIME_AHEAD
    return PooledEntry(
        digest=what.digest,
        pool=DEFERRED,
        kind=what.kind,
        envelope_id=envelope.envelope_id,
        source=what.source,
        signers=envelope.signers,
        waits_for=verdict.waits_for,
        not_before_ms=_signed_ms(envelope) - SKEW_MS if is_dated else 0,
        size_bytes=len(what.raw),
        needs_all=verdict.needs_all,
        proven=proven,
    )
