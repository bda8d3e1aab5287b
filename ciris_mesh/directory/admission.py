"""The one question every envelope is asked, whatever path it came by: may this come in?

    same id on the federation shelf -> Duplicate            (before any signature is looked at,
                                       unless our copy lacks one of a signer who counts)
    same bytes refused before       -> that refusal again
    structure, one spelling         -> else Malformed
    who delivers may deliver this   -> else Refused
    both signature halves           -> else Refused; a signer we lack -> Deferred (of several
                                       around one record, those we know suffice at first)
    the kind's rule                 -> else Refused; a prerequisite we lack -> Deferred; from a
                                       registry, or vouched for by whom the configuration lists
                                       -> bridged, if only who signed was wrong
    dated ahead of our clock        -> Deferred

Judging reads, never writes, and takes no lock: verification is slow. What it decides is carried
out by `core`, which looks at equality again under the write lock.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

from ciris_mesh.directory.ahead import Ahead, read_batch
from ciris_mesh.directory.base import Shelf
from ciris_mesh.directory.foresight import Foreseen
from ciris_mesh.directory.joining import Joining
from ciris_mesh.directory.judgement import (
    DEFERRED,
    FIRST_CONTACT,
    Candidate,
    Judgement,
    Known,
    ShelfFacts,
    is_attributed,
)
from ciris_mesh.directory.shelving import shelve
from ciris_mesh.directory.store import Name, PooledEntry
from ciris_mesh.directory.verifying import Verifiers
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.checks import KeyLookup, outcome_of, verify
from ciris_mesh.records.cosigning import copy_id, is_cosigned, only_signed_by
from ciris_mesh.records.envelope import Envelope, one_spelling_problem, parse_envelope
from ciris_mesh.records.hybrid import (
    HybridPolicy,
)
from ciris_mesh.records.kinds import BOOTSTRAP_KINDS, KINDS, EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rules.base import Finding, Trust
from ciris_mesh.records.rules.table import judge_content, judge_standing
from ciris_mesh.records.timestamps import to_unix_ms
from ciris_mesh.records.tokens import bridged_token, key_token

#: CEG 0.7: what is dated more than five minutes ahead of the receiver's clock does not count yet.
SKEW_MS: Final = 300_000

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
        # What other software leaves out of records it makes, or writes otherwise.
        Reason.FOUNDER_MISSING,
        Reason.GROUP_ID_NOT_SELF_CERTIFYING,
        Reason.DIMENSION_MISSING,
        Reason.ATTESTATION_TYPE_UNKNOWN,
    }
)


class Admission:
    """Judges candidates. Stateless but for what `known` answers.

    Attributes:
        verifiers: who may check the signatures of a batch ahead, if anybody.
    """

    def __init__(self, known: Known, trust: Trust, ahead: Ahead | None = None) -> None:
        self._known = known
        self._trust = trust
        self._ahead = ahead
        self.verifiers: Verifiers | None = None

    def judge_all(
        self, asked: Sequence[Candidate], now_ms: int, foreseen: Foreseen | None = None
    ) -> list[Judgement]:
        """Decide on each, in order. Never raises because of what the bytes hold.

        Args:
            foreseen: the first of `asked`, read ahead. Closed when this returns.
        """
        ahead = self.begin(len(asked)) if foreseen is None else foreseen.ahead
        if ahead is None:
            judged = self._judge_batch(asked, now_ms, ())
        else:
            with closing(ahead):
                knowing = Admission(self._known, self._trust, ahead)
                read = () if foreseen is None else foreseen.read
                judged = knowing._judge_batch(asked, now_ms, read)
        return [_named(one) for one in judged]

    def begin(self, count: int) -> Ahead | None:
        """Have signatures of so many candidates checked; None when nobody is there for that."""
        checking = self.verifiers.open(count) if self.verifiers is not None else None
        return Ahead(checking, self._known.federation_key) if checking is not None else None

    def expect(self, count: int) -> None:
        """So many are on their way."""
        if self.verifiers is not None:
            self.verifiers.expect(count)

    def is_of_use(self) -> bool:
        """Would anybody check signatures ahead?"""
        return self.verifiers is not None and self.verifiers.is_of_use()

    def _read(self, what: Candidate, now_ms: int) -> Envelope | Judgement:
        remembered = self._known.remembered_refusal(what.digest, now_ms)
        if remembered is not None and not self._may_bring_more(what, remembered.envelope_id):
            verdict = self._refused_before(what, remembered)
            return Judgement(what._replace(copy_id=remembered.copy_id), verdict)
        try:
            return parse_envelope(what.kind, what.raw)
        except MalformedRecord as error:
            verdict = Verdict(
                Outcome.MALFORMED, Reason(error.reason), what.kind, None, error.detail
            )
            return self._refuse(what, verdict, now_ms)

    def _judge_batch(
        self, asked: Sequence[Candidate], now_ms: int, foreseen: Sequence[Envelope | None]
    ) -> list[Judgement]:
        def read(what: Candidate) -> Envelope | Judgement:
            return self._read(what, now_ms)

        first = [one or read(what) for what, one in zip(asked, foreseen, strict=False)]
        names = [(one.kind, one.envelope_id) for one in first if isinstance(one, Envelope)]
        held = set(self._known.on_federation_shelf(names))
        if self._ahead is not None and first:
            self._ahead.hand_rest(
                one
                for one in first
                if isinstance(one, Envelope) and (one.kind, one.envelope_id) not in held
            )
        rest, rest_held = read_batch(asked[len(first) :], read, self._known, self._ahead)
        held |= rest_held
        return [
            self._judge(what, one, held, now_ms) if isinstance(one, Envelope) else one
            for what, one in zip(asked, [*first, *rest], strict=True)
        ]

    def _judge(
        self, what: Candidate, envelope: Envelope, held: Container[Name], now_ms: int
    ) -> Judgement:
        name = copy_id(what.kind, envelope.envelope_id, envelope.signers)
        what = Candidate(*what[:-1], name)  # the copy id is the last
        if (what.kind, envelope.envelope_id) in held:
            duplicate = _verdict(envelope, Outcome.DUPLICATE)
            if is_cosigned(what.kind) and is_attributed(what.source):
                return self._judge_copy(what, envelope, duplicate, now_ms)
            return Judgement(what, duplicate)
        if not is_attributed(what.source):
            return self._judge_stranger(what, envelope, now_ms)
        if envelope.tier_local and what.source.path != "own":
            return Judgement(what, _refused(envelope, Reason.LOCAL_TIER))
        return self.judge_known(what, envelope, now_ms)

    def _may_bring_more(self, what: Candidate, envelope_id: bytes | None) -> bool:
        """Does what others may not bring come to the bridged shelf from here?

        From registries, or once a voucher of the configuration named the row: whichever came
        first, so that the order makes no difference.
        """
        if what.source.path == "registry":
            return True
        vouchers = self._trust.vouchers
        if not vouchers or envelope_id is None or what.source.path not in ("peer", "import"):
            return False
        tokens = (bridged_token(one, what.kind, envelope_id) for one in vouchers)
        return any(next(self._known.named(token), None) is not None for token in tokens)

    def _refused_before(self, what: Candidate, remembered: Verdict) -> Verdict:
        """That refusal again, unless the record came in as other bytes since."""
        if remembered.envelope_id is None:
            return remembered
        name = what.kind, remembered.envelope_id
        if name not in self._known.on_federation_shelf([name]):
            return remembered
        return Verdict(Outcome.DUPLICATE, Reason.NONE, *name)

    def _judge_copy(
        self, what: Candidate, envelope: Envelope, duplicate: Verdict, now_ms: int
    ) -> Judgement:
        """Another copy of a record we hold: does it bring a signature that counts?

        Without another look whoever countersigns a record first would keep its author's own
        signature out.
        """
        held = self._known.get(what.kind, envelope.envelope_id)
        if held is None:  # another node changed it a moment ago; this one has yet to look
            return Judgement(what, duplicate)
        if set(held.signers).issuperset(envelope.signers):
            return Judgement(what, duplicate)
        problem = one_spelling_problem(envelope)
        if problem is not None:
            verdict = _verdict(envelope, Outcome.MALFORMED, Reason.NOT_ONE_SPELLING, problem)
            return self._refuse(what, verdict, now_ms)
        if not judge_content(envelope, self._trust).is_fine:  # a row from before there were rules
            return Judgement(what, duplicate)
        facts = ShelfFacts(self._known)
        joining = Joining(facts, self._trust, self._known.is_trusted)
        known = [name for name in envelope.signers if self._known.federation_key(name)]
        sifted = joining.sift(envelope, known, have=held.signers)
        entry = _beside(what, envelope, sifted.waits_for, what.proven)
        if not sifted.ready:
            return Judgement(what, duplicate, entry=entry)
        part = only_signed_by(envelope, sifted.ready)
        verdict, signers = self._verify(part, what.proven)
        if verdict.outcome is not Outcome.ADMITTED:
            return self._refuse(what, verdict, now_ms)
        entry = _beside(what, envelope, sifted.waits_for, what.proven.union(signers))
        union = joining.union(held, part)
        if union is None:
            return Judgement(what, duplicate, entry=entry)
        return Judgement(
            what,
            _verdict(envelope, Outcome.UPGRADED),
            row=union,
            joins=held.envelope,
            entry=entry,
            key_ids=union.signers,
            relied_on=facts.relied_on,
        )

    def judge_known(self, what: Candidate, envelope: Envelope, now_ms: int) -> Judgement:
        """Decide on what is attributed and stands on no shelf, as far as this judgement goes."""
        verdict, signers = self._verify(envelope, what.proven)
        proven, facts = what.proven.union(signers), ShelfFacts(self._known)
        is_registry = self._may_bring_more(what, envelope.envelope_id)
        may_bridge = is_registry and verdict.reason in BRIDGEABLE
        if may_bridge or verdict.outcome in (Outcome.ADMITTED, Outcome.DEFERRED):
            finding = judge_content(envelope, self._trust)
            if not finding.is_fine:
                if not is_registry or finding.reason not in BRIDGEABLE:
                    return self._refuse(what, _found(envelope, finding), now_ms)
                may_bridge, verdict = True, _found(envelope, finding)
        if verdict.outcome is Outcome.ADMITTED and not envelope.tier_local:
            finding = judge_standing(envelope, facts, self._trust)
            verdict = verdict if finding.is_fine else _found(envelope, finding)
            may_bridge = is_registry
        elif verdict.reason is Reason.SIGNER_UNKNOWN and is_cosigned(what.kind):
            verdict, signers, proven = self._judge_known_part(envelope, verdict, proven, facts)
        is_bridged = may_bridge and verdict.outcome is not Outcome.ADMITTED
        if verdict.outcome is Outcome.DEFERRED and not is_bridged:
            return Judgement(what, verdict, entry=_deferred(what, envelope, verdict, proven))
        if verdict.outcome is not Outcome.ADMITTED and not is_bridged:
            return self._refuse(what, verdict, now_ms)
        if _signed_ms(envelope) - now_ms > SKEW_MS and what.source.path != "own":
            verdict = _verdict(envelope, Outcome.DEFERRED, Reason.TIME_AHEAD)
            return Judgement(what, verdict, entry=_deferred(what, envelope, verdict, proven))
        if is_bridged:
            return self._shelve_bridged(what, envelope, verdict, signers, proven, facts, now_ms)
        put = self._shelve_truth if is_cosigned(what.kind) else self._shelve_whole
        return put(what, envelope, signers, facts, now_ms)

    def _shelve_bridged(
        self,
        what: Candidate,
        envelope: Envelope,
        lacks: Verdict,
        signers: tuple[str, ...],
        proven: frozenset[str],
        facts: ShelfFacts,
        now_ms: int,
    ) -> Judgement:
        """Onto the bridged shelf, and why it may stand on no other."""
        shelved = shelve(what, envelope, Shelf.BRIDGED, signers, facts, self._trust, now_ms)
        # Unknown signers may stay so for ever; what waited for them already goes on waiting.
        waits_for = lacks.waits_for if signers or what.is_waiting else ()
        verdict = replace(shelved.verdict, reason=lacks.reason, detail=lacks.detail)
        entry = _beside(what, envelope, waits_for, proven)
        return shelved._replace(verdict=verdict, entry=entry)

    def _shelve_whole(
        self,
        what: Candidate,
        envelope: Envelope,
        signers: tuple[str, ...],
        facts: ShelfFacts,
        now_ms: int,
    ) -> Judgement:
        """Its id covers who signed, so nobody added a signature that does not count."""
        shelf = Shelf.LOCAL if envelope.tier_local else Shelf.FEDERATION
        return shelve(what, envelope, shelf, signers, facts, self._trust, now_ms)

    def _shelve_truth(
        self,
        what: Candidate,
        envelope: Envelope,
        signers: tuple[str, ...],
        facts: ShelfFacts,
        now_ms: int,
    ) -> Judgement:
        """Onto the federation shelf with those of these verified signers who count."""
        joining = Joining(facts, self._trust, self._known.is_trusted)
        sifted = joining.sift(envelope, signers)
        assert sifted.ready, "a rule was content with signers who do not count"
        left_out = sorted(set(envelope.signers).difference(sifted.ready))
        if not left_out:
            return shelve(what, envelope, Shelf.FEDERATION, signers, facts, self._trust, now_ms)
        kept = only_signed_by(envelope, sifted.ready)
        judgement = shelve(what, kept, Shelf.FEDERATION, kept.signers, facts, self._trust, now_ms)
        detail = f"not kept, for they do not count: {', '.join(left_out)}"
        verdict = replace(judgement.verdict, detail=detail)
        entry = _beside(what, envelope, sifted.waits_for, what.proven.union(signers))
        return judgement._replace(verdict=verdict, entry=entry)

    def _judge_known_part(
        self, envelope: Envelope, verdict: Verdict, proven: frozenset[str], facts: ShelfFacts
    ) -> tuple[Verdict, tuple[str, ...], frozenset[str]]:
        """May the record stand on those of its signers whose keys are here?

        Else anyone could keep a record waiting by adding a signer nobody knows.

        Returns:
            Admitted and those signers; or what the whole waits for, with what the part lacks. And
            whose signatures are known to stand by now.
        """
        known = [name for name in envelope.signers if key_token(name) not in verdict.waits_for]
        part = only_signed_by(envelope, known)
        found, signers = self._verify(part, proven)
        if found.outcome is not Outcome.ADMITTED:
            return verdict, (), proven
        proven = proven.union(signers)
        finding = judge_standing(part, facts, self._trust)
        if finding.is_fine:
            return found, signers, proven
        waits_for = tuple(dict.fromkeys((*verdict.waits_for, *finding.waits_for)))
        return replace(verdict, waits_for=waits_for), (), proven

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
        if proven and envelope.signers and proven.issuperset(envelope.signers):
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
            check=self._ahead.check if self._ahead is not None else None,
            message=self._ahead.message(envelope) if self._ahead is not None else None,
        )
        return verification.verdict, verification.signers

    def _refuse(self, what: Candidate, verdict: Verdict, now_ms: int) -> Judgement:
        """Bytes judged for good. Only verdicts that no path or later arrival could change."""
        verdict = replace(verdict, copy_id=what.copy_id)
        self._known.remember_refusal(what.digest, verdict, now_ms)
        return Judgement(what, verdict)


def _named(judgement: Judgement) -> Judgement:
    """Its verdict tells which copy was judged."""
    name, verdict = judgement.candidate.copy_id, judgement.verdict
    if name is None or verdict.copy_id is not None:
        return judgement
    return judgement._replace(verdict=replace(verdict, copy_id=name))


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
    if signed_at == envelope.record[KINDS[envelope.kind].seq_field]:
        return envelope.seq
    signed_ms = to_unix_ms(signed_at) if isinstance(signed_at, str) else 0
    return max(envelope.seq, signed_ms)


def _refused(envelope: Envelope, reason: Reason) -> Verdict:
    return _verdict(envelope, Outcome.REFUSED, reason)


def _beside(
    what: Candidate, envelope: Envelope, waits_for: tuple[str, ...], proven: frozenset[str]
) -> PooledEntry | None:
    """The copy itself, beside the row made of as much of it as can be used as yet."""
    if not waits_for:
        return None
    verdict = _verdict(envelope, Outcome.DEFERRED)
    return _deferred(what, envelope, replace(verdict, waits_for=waits_for), proven)


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
