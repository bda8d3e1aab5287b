"""What a rule is told and what it answers.

Two laws make the final directory independent of the order in which records come:

* A rule sees other records only as `Facts`: rows of the federation shelf, of which there are only
  ever more. What is fine or refused stays so whatever else arrives; only "deferred" may change.
  So nothing is refused because of a row that is missing, nor deferred because of one that is here.
  Likewise one more signer makes nothing worse, and one too few waits: another copy may bring it.
* What takes something away (a revocation, a removal, a withdrawal, a later record) never speaks
  against a record here. It decides what counts, when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, TypeVar

from ciris_mesh.records import timestamps
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import KINDS
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.tokens import key_token


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's answer; reason NONE means fine. What kind of no it is, the reason says.

    Attributes:
        waits_for: tokens (see `records.tokens`) whose arrival makes it worth asking again; empty
            unless deferred.
        needs_all: it takes all of them; any one is enough otherwise.
    """

    reason: Reason = Reason.NONE
    detail: str = ""
    waits_for: tuple[str, ...] = ()
    needs_all: bool = False

    @property
    def is_fine(self) -> bool:
        """True when nothing speaks against the record."""
        return not self.reason  # `Reason.NONE` alone is false


FINE: Final = Finding()


def refused(reason: Reason, detail: str) -> Finding:
    """No, whatever else may arrive."""
    return Finding(reason, detail)


def deferred(reason: Reason, detail: str, *waits_for: str) -> Finding:
    """Not yet: ask again when one of these tokens is published."""
    assert waits_for, "nothing would ever release it"
    return Finding(reason, detail, tuple(dict.fromkeys(waits_for)))


def deferred_until_all(reason: Reason, detail: str, waits_for: Iterable[str]) -> Finding:
    """Not yet: ask again when all of these tokens, or of very many the first, were published."""
    first_ones = islice(dict.fromkeys(waits_for), WAITS_MAX)
    return replace(deferred(reason, detail, *first_ones), needs_all=True)


#: Tokens one record waits for where it takes all: a roster may list 900 members, and an index of
#: that for each of thousands that wait would cost more than the records.
WAITS_MAX: Final = 16

_View = TypeVar("_View")


def _nothing() -> Mapping[str, bytes]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Trust:
    """What this node's own configuration says. Never learned from the network; empty denies.

    Attributes:
        pinned: key id -> 32-byte fingerprint, for ids that don't certify themselves.
        roots: key id -> 32-byte fingerprint of the stewards at which chains of keys must end.
        root_stewards: key ids that may found organizations and appoint their admins.
        partner_stewards: key ids of whom `partner_threshold` must sign a partner record.
        hardware_types: what an accord holder's key may live in.
        vouchers: whose word lets bridged rows of registries count, where nothing else does.
    """

    pinned: Mapping[str, bytes] = field(default_factory=_nothing)
    roots: Mapping[str, bytes] = field(default_factory=_nothing)
    root_stewards: frozenset[str] = frozenset()
    partner_stewards: frozenset[str] = frozenset()
    partner_threshold: int = 0
    hardware_types: frozenset[str] = frozenset()
    vouchers: frozenset[str] = frozenset()


class Facts(Protocol):
    """The federation shelf, as rules may see it."""

    def public_key(self, key_id: str) -> HybridPublicKey | None:
        """The verified key behind an id."""
        ...

    def named(self, token: str) -> Iterator[Envelope]:
        """Every record that answers to `token`, read as far as it is iterated."""
        ...

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        """What `read`, a plain function, makes of each record that answers to `token`.

        Kept, so that a question about many records does not read them again each time. So `read`
        may look at the record alone: who signed may grow under one id.
        """
        ...

    def stewards(self) -> frozenset[str]:
        """Rooted stewards: roots configured here, and whom they made stewards, or those in turn."""
        ...


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Counted:
    """Whose signatures around one record can matter. More of them as facts arrive, never fewer.

    Attributes:
        signers: of the record's own.
        waits_for: tokens whose arrival could add to them; empty when nothing could.
    """

    signers: frozenset[str]
    waits_for: tuple[str, ...] = ()


#: Looks at the record alone. Also asked of what has no signatures of ours.
ContentRule: TypeAlias = Callable[[Envelope, Trust], Finding]
#: Looks at who signed, which was verified, and at the prerequisites.
StandingRule: TypeAlias = Callable[[Envelope, Facts, Trust], Finding]
#: Finds those signers whose signatures the standing rule could look at. The others change nothing
#: about its answer, so anybody may have added them.
CountedRule: TypeAlias = Callable[[Envelope, Facts, Trust], Counted]


def no_content_rule(envelope: Envelope, trust: Trust) -> Finding:
    """For kinds whose structure says it all."""
    return FINE


def no_standing_rule(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """For kinds that anybody may sign."""
    return FINE


def every_signer(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """For kinds whose ids cover their signers: nobody can add one."""
    return Counted(frozenset(envelope.signers))


def first(findings: Iterator[Finding]) -> Finding:
    """The first objection; FINE without one."""
    return next(findings, FINE)


def exists(facts: Facts, wanted: str) -> bool:
    """True when some record answers to this token."""
    return next(facts.named(wanted), None) is not None


def missing_keys(facts: Facts, key_ids: Iterable[str]) -> tuple[str, ...]:
    """Tokens of those keys that are not here; of very many the first."""
    missing = (key_token(name) for name in key_ids if facts.public_key(name) is None)
    return tuple(islice(missing, WAITS_MAX))


def text(envelope: Envelope, column: str) -> str:
    """A required string column."""
    return str(envelope.record[column])


def signed_members(envelope: Envelope) -> Mapping[str, JsonValue]:
    """The members of the signed envelope inside the record; none when it is no object."""
    inner = envelope.record.get(KINDS[envelope.kind].envelope_field or "")
    return inner if isinstance(inner, dict) else {}


def time_ms(envelope: Envelope, column: str) -> int | None:
    """A timestamp column in Unix milliseconds, None when it is absent."""
    value = envelope.record.get(column)
    return timestamps.to_unix_ms(value) if isinstance(value, str) else None


def made_at_ms(envelope: Envelope) -> int:
    """When the record says it was made: its kind's own time."""
    at_ms = time_ms(envelope, KINDS[envelope.kind].seq_field)
    assert at_ms is not None, "every kind requires its own time"
    return at_ms


def is_in_force(envelope: Envelope, at_ms: int, *, until: str, since: str = "asserted_at") -> bool:
    """True when the record says it holds at `at_ms`: made by then, and not yet over."""
    since_ms, until_ms = time_ms(envelope, since), time_ms(envelope, until)
    return since_ms is not None and since_ms <= at_ms and (until_ms is None or at_ms < until_ms)


def is_sorted_set(values: JsonValue) -> bool:
    """True for a list of strings, ascending by UTF-16 code units, each once."""
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        return False
    units = [str(item).encode("utf-16-be", "surrogatepass") for item in values]
    return units == sorted(set(units))
