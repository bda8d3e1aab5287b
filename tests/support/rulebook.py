"""Records for the rules, signed in name only, and a shelf of them. No cryptography: it is fast.

The rules are asked after the signatures were verified, so for them who is listed has signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ciris_mesh.records import provenance
from ciris_mesh.records.authoring import Draft, assemble, draft
from ciris_mesh.records.checks import outcome_of, public_key_of
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import Envelope, encode_base64, parse_envelope
from ciris_mesh.records.hybrid import FederationKey, HybridPublicKey, HybridSignature
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rules.base import Finding, Trust, deferred, missing_keys
from ciris_mesh.records.rules.keys import is_root
from ciris_mesh.records.rules.table import judge, judge_counted
from ciris_mesh.records.signing import signed_message
from ciris_mesh.records.tokens import (
    STEWARDS,
    key_token,
    published_by,
    rooted_token,
    self_key_token,
    steward_token,
    tokens_of,
)
from support.keys import key
from support.records import AT_MS

K = EnvelopeKind
Record = tuple[EnvelopeKind, bytes]
MINUTE_MS = 60_000
_View = TypeVar("_View")
_SIGNED = HybridSignature(bytes(64), bytes(3309))


def key_id(name: str) -> str:
    """The key id of the test key called `name`."""
    return key(name).key_id


def made(
    kind: EnvelopeKind, columns: dict[str, Any], *signers: str, at_ms: int = AT_MS
) -> Envelope:
    """A record by the test keys with these names; the first is who speaks."""
    prepared = draft(kind, columns, key(signers[0]), at_ms=at_ms)
    several = KINDS[kind].style in (SignatureStyle.AUTHORITY, SignatureStyle.STEWARDS)
    names = signers if several else signers[:1]
    raw = assemble(prepared, dict.fromkeys(map(key_id, names), _SIGNED), threshold=1)
    return parse_envelope(kind, raw)


def really_signed(envelope: Envelope) -> bytes:
    """The same record with signatures that stand."""
    message = signed_message(envelope.kind, envelope.record, envelope.row_hash)
    signatures = {name: _signer(name).sign(message) for name in envelope.signers}
    return assemble(Draft(envelope.kind, envelope.record, message), signatures, threshold=1)


def countersigned(envelope: Envelope, *names: str, alone: bool = False) -> Envelope:
    """A copy that these test keys signed as well, or alone."""
    signers = {*map(key_id, names), *(() if alone else envelope.signers)}
    prepared = Draft(envelope.kind, envelope.record, b"")
    return parse_envelope(envelope.kind, assemble(prepared, dict.fromkeys(signers, _SIGNED)))


def _signer(key_id: str) -> FederationKey:
    return key(key_id.rpartition("-")[0])


def key_columns(name: str, types: str = "agent", ref: str = "", **more: Any) -> dict[str, Any]:
    """Columns of a record of the key called `name`, whoever signs it."""
    public = key(name).public
    return {
        "key_id": key_id(name),
        "pubkey_ed25519_base64": encode_base64(public.ed25519),
        "pubkey_ml_dsa_65_base64": encode_base64(public.mldsa65),
        "identity_type": types,
        "identity_ref": ref or name,
        **more,
    }


def key_record(
    name: str, types: str = "agent", *, by: str = "", at_ms: int = AT_MS, **more: Any
) -> Envelope:
    """A record of the key called `name`: self-signed, or vouched for by another."""
    return made(K.KEY, key_columns(name, types, **more), by or name, at_ms=at_ms)


def name_of(envelope: Envelope) -> bytes:
    """Kind and id: one row, whoever signed it."""
    return envelope.kind.encode() + envelope.envelope_id


@dataclass
class Shelf:
    """The federation shelf as the rules see it, and the trust they are told.

    `asked_for` has the tokens whose records were asked for.
    """

    trust: Trust = field(default_factory=Trust)
    rows: dict[bytes, Envelope] = field(default_factory=dict)
    answers: dict[str, list[Envelope]] = field(default_factory=dict)
    asked_for: list[str] = field(default_factory=list)

    def add(self, first: Envelope, *others: Envelope) -> Envelope:
        """Put records here unasked; returns the last."""
        for envelope in (first, *others):
            if self.rows.setdefault(name_of(envelope), envelope) is envelope:
                for token in tokens_of(envelope):
                    self.answers.setdefault(token, []).append(envelope)
        return envelope

    def know(self, *names: str, types: str = "agent") -> None:
        """Put self-signed key records here."""
        for name in names:
            self.add(key_record(name, types))

    def public_key(self, key_id: str) -> HybridPublicKey | None:
        """See Facts."""
        return next(map(public_key_of, self.named(key_token(key_id))), None)

    def named(self, token: str) -> Iterator[Envelope]:
        """See Facts."""
        self.asked_for.append(token)
        return iter(tuple(self.answers.get(token, ())))

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        """See Facts."""
        return map(read, self.named(token))

    def stewards(self) -> frozenset[str]:
        """See Facts. Found anew each time: the definition, not how a node keeps it."""
        level = {
            name
            for name in self.trust.roots
            if any(is_root(record, self.trust) for record in self.named(self_key_token(name)))
        }
        found: set[str] = set()
        for _ in range(provenance.CHAIN_LINKS_MAX - 1):
            found |= level
            appointed = (self.named(steward_token(name)) for name in level)
            level = {str(it.record["key_id"]) for records in appointed for it in records} - found
        return frozenset(found)

    def publishes(self, envelope: Envelope) -> set[str]:
        """Add a record. Returns what that publishes."""
        before = self.stewards()
        self.add(envelope)
        published = set(published_by(envelope))
        if envelope.kind is K.KEY:
            subject, signer = str(envelope.record["key_id"]), envelope.signers[0]
            if len(self.answers[key_token(subject)]) > 1:
                published.remove(key_token(subject))
            if signer in self.stewards() and (signer != subject or is_root(envelope, self.trust)):
                published.add(rooted_token(subject))
        return published | ({STEWARDS} if self.stewards() != before else set())

    def asks(self, envelope: Envelope) -> Finding:
        """What the rule of its kind says."""
        return judge(envelope, self, self.trust)

    def counts(self, envelope: Envelope, *names: str) -> set[str]:
        """Which of these test keys count when they sign it too. The others wait for something."""
        signed = countersigned(envelope, *names, alone=True)
        counted = judge_counted(signed, self, self.trust)
        return {name for name in names if key_id(name) in counted.signers}

    def admits(self, envelope: Envelope) -> Finding:
        """The same for a record that comes in: its signers are known before its rule is asked."""
        own = envelope.record["key_id"] if envelope.kind is K.KEY else ""
        others = [name for name in envelope.signers if name != own]
        missing = missing_keys(self, others)
        return deferred(Reason.SIGNER_UNKNOWN, "", *missing) if missing else self.asks(envelope)

    def reason(self, envelope: Envelope) -> Reason:
        """The reason alone; NONE when the record may come in."""
        finding = self.asks(envelope)
        is_deferred = outcome_of(finding.reason) is Outcome.DEFERRED
        assert bool(finding.waits_for) is is_deferred, "who waits says for what, and only they"
        assert bool(finding.detail) is not finding.is_fine, "a no is explained"
        return finding.reason


def settled(trust: Trust, arrivals: Sequence[Envelope]) -> set[bytes]:
    """Admit in this order; what waits is asked again when one of its tokens is published."""
    shelf = Shelf(trust)
    waiting: dict[bytes, tuple[Envelope, tuple[str, ...]]] = {}
    for arrival in arrivals:
        pending = [arrival]
        while pending:
            envelope = pending.pop()
            waiting.pop(envelope.raw, None)
            if name_of(envelope) in shelf.rows:
                continue
            finding = shelf.admits(envelope)
            if finding.waits_for:
                waiting[envelope.raw] = envelope, finding.waits_for
            elif finding.is_fine:
                published = shelf.publishes(envelope)
                pending += [it for it, tokens in waiting.values() if published & set(tokens)]
    return set(shelf.rows)


def fixpoint(trust: Trust, records: Iterable[Envelope]) -> set[bytes]:
    """What can come in at all: everything is asked again and again until nothing changes."""
    return set(_fixed(trust, records).rows)


def fixed_signers(trust: Trust, records: Sequence[Envelope]) -> dict[bytes, frozenset[str]]:
    """What can come in, each with everybody whose signature counts and whose key is here."""
    shelf = _fixed(trust, records)
    signers: dict[bytes, frozenset[str]] = dict.fromkeys(shelf.rows, frozenset())
    for envelope in records:
        name = name_of(envelope)
        if name in signers:
            counted = judge_counted(envelope, shelf, trust).signers
            known = {one for one in counted if shelf.public_key(one)}
            signers[name] |= known if is_cosigned(envelope.kind) else set(envelope.signers)
    return signers


def _fixed(trust: Trust, records: Iterable[Envelope]) -> Shelf:
    shelf = Shelf(trust)
    remaining = list(records)
    while True:
        fine = [envelope for envelope in remaining if shelf.admits(envelope).is_fine]
        if not fine:
            return shelf
        shelf.add(*fine)
        remaining = [envelope for envelope in remaining if envelope not in fine]
