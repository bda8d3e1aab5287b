"""What an answer is made of and what it is read from.

An answer depends on the set of rows, on the trust this node's configuration states, and on the
instant asked about; never on the order of rows, on how often they came, or on a clock. Rows are
read by name (`records.names`). A name with more rows than `ROWS_PER_NAME_MAX` ends the question in
an answer that says so: part of the rows would make the answer depend on which part. Only rows of
the federation shelf count towards that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records import timestamps
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.names import names_of
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.keys import is_root
from ciris_mesh.records.tokens import bridged_token, self_key_token, tokens_of, vouched_token

#: Reading a row takes about a millisecond on a Raspberry Pi, and people wait for the answer.
ROWS_PER_NAME_MAX: Final = 1000
#: All rows of one answer: what a socket's ten seconds allow.
ROWS_PER_ANSWER_MAX: Final = 5000
#: Rows of other shelves read under one name, and for one answer: only their number is told.
OTHERS_PER_NAME_MAX: Final = 100
OTHERS_PER_ANSWER_MAX: Final = 1000
#: Of a free text that is shown: names and reasons are lines, and a record may hold 64 kB.
TEXT_CHARS_MAX: Final = 200
#: Entries shown of a list that only informs (losers, claims); the count beside it is exact.
SHOWN_MAX: Final = 100

FEDERATION: Final = "federation"
SHELVES: Final = frozenset({FEDERATION, "bridged", "local"})

_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One record here. Only rows of the federation shelf decide anything.

    Raises:
        LocalProtocolError: no such shelf.
    """

    envelope: Envelope
    shelf: str = FEDERATION

    def __post_init__(self) -> None:
        if self.shelf not in SHELVES:
            raise LocalProtocolError(f"{self.shelf!r} is no shelf")


class Rows(Protocol):
    """Where rows are read from: a set of them, or a directory."""

    def named(self, name: str, *, limit: int, others: int = 0) -> list[Row]:
        """Rows, in any order, that answer to a name, or to a token.

        At most `limit` of the federation shelf, and besides at most `others` that are elsewhere:
        what decides nothing must not use up the room of what does.
        """
        ...

    def vouched(self, name: str, vouchers: Collection[str], *, limit: int) -> list[Row]:
        """At most `limit` of those elsewhere for which one of these keys vouched, ever.

        Whatever else is there under the name, it keeps none of these out.
        """
        ...

    def signers(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """Who signed those of the federation shelf, one entry a row, without reading the rows."""
        ...

    def rooted(self, trust: Trust) -> Collection[str]:
        """Keys with a chain of at most 64 signed records to a root that `trust` names.

        Whether these were in force, or their signers revoked, is not asked.
        """
        ...


class RowSet:
    """A set of rows in memory. Like a directory it holds one copy of a record, the best.

    Of several the one on the federation shelf stands; signers of copies there are put together.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        best: dict[tuple[EnvelopeKind, bytes], Row] = {}
        for row in rows:
            place = row.envelope.kind, row.envelope.envelope_id
            best[place] = _better(best[place], row) if place in best else row
        self._rows: dict[str, list[Row]] = {}
        for row in best.values():
            tokens = tokens_of(row.envelope) if row.shelf == FEDERATION else ()
            for each in (*names_of(row.envelope), *tokens):
                self._rows.setdefault(each, []).append(row)

    def named(self, name: str, *, limit: int, others: int = 0) -> list[Row]:
        """See Rows."""
        rows = self._rows.get(name, [])
        decide = [row for row in rows if row.shelf == FEDERATION]
        aside = [row for row in rows if row.shelf != FEDERATION]
        return [*decide[:limit], *aside[:others]]

    def vouched(self, name: str, vouchers: Collection[str], *, limit: int) -> list[Row]:
        """See Rows."""
        aside = (row for row in self._rows.get(name, []) if row.shelf != FEDERATION)
        return [row for row in aside if self._is_vouched(row.envelope, vouchers)][:limit]

    def signers(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """See Rows."""
        return [row.envelope.signers for row in self.named(name, limit=limit)]

    def rooted(self, trust: Trust) -> Collection[str]:
        """See Rows."""
        roots = (root for root in trust.roots if self._is_root(root, trust))
        found = dict.fromkeys(roots)
        level = list(found)
        for _ in range(CHAIN_LINKS_MAX - 1):
            below = (self._rows.get(vouched_token(one), ()) for one in level)
            level = [str(row.envelope.record["key_id"]) for rows in below for row in rows]
            level = [one for one in dict.fromkeys(level) if one not in found]
            found |= dict.fromkeys(level)
        return found

    def _is_vouched(self, envelope: Envelope, vouchers: Collection[str]) -> bool:
        name = envelope.kind, envelope.envelope_id
        return any(bridged_token(voucher, *name) in self._rows for voucher in vouchers)

    def _is_root(self, root: str, trust: Trust) -> bool:
        return any(is_root(row.envelope, trust) for row in self._rows.get(self_key_token(root), ()))


def _better(one: Row, other: Row) -> Row:
    if one.shelf != other.shelf:
        return min(one, other, key=lambda row: (row.shelf != FEDERATION, row.shelf))
    claims = {claim.key_id: claim for claim in (*other.envelope.claims, *one.envelope.claims)}
    union = tuple(claims[key_id] for key_id in sorted(claims))
    return Row(replace(one.envelope, claims=union), one.shelf)


class Status(StrEnum):
    """The answer in one word. Closed set."""

    VALID = "valid"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUSPECT = "suspect"
    NOT_REVOKED = "not_revoked"
    ROOTED = "rooted"
    NOT_ROOTED = "not_rooted"
    ANSWERED = "answered"
    EMPTY = "empty"
    ENDED = "ended"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"
    TOO_MANY = "too_many"


class Rule(StrEnum):
    """What a step of the reasoning applied. `ui.reasons` has a sentence for each."""

    # keys
    SELF_SIGNED = "self_signed"
    VOUCHED_ONLY = "vouched_only"
    KEY_UNKNOWN = "key_unknown"
    IN_FORCE = "in_force"
    VALID_LATER = "valid_later"
    EXPIRED = "expired"
    REVOKED_BY = "revoked_by"
    REVOKED_TOO_OFTEN = "revoked_too_often"
    REVOKED_LATER = "revoked_later"
    NOT_REVOKED = "not_revoked"
    WEIGHT = "weight"
    CLAIM = "claim"
    CLAIMS_UNREAD = "claims_unread"
    CLAIMS_QUORUM = "claims_quorum"
    KEY_COLLISION = "key_collision"
    IS_REVOKED = "is_revoked"
    ONLY_CLAIMED = "only_claimed"

    # chains
    LINK = "link"
    LINK_SIGNED_BEFORE_REVOCATION = "link_signed_before_revocation"
    ROOT = "root"
    NO_CHAIN = "no_chain"

    # families and communities
    FOUNDED = "founded"
    FOUNDING_MISSING = "founding_missing"
    ROSTER_BEFORE_FOUNDING = "roster_before_founding"
    ROSTER_CHANGED = "roster_changed"
    ROSTER_ENTRENCHED = "roster_entrenched"
    ROSTER_NOT_DECIDED = "roster_not_decided"
    ROSTER_TIE = "roster_tie"
    MEMBER_LEFT = "member_left"
    MEMBER_REMOVED = "member_removed"
    REMOVAL_NOT_DECIDED = "removal_not_decided"
    REMOVAL_OF_NOBODY = "removal_of_nobody"
    MEMBER_ACTIVE = "member_active"

    # occurrences
    OCCURRENCE = "occurrence"
    OCCURRENCE_NOT_IN_FORCE = "occurrence_not_in_force"
    OCCURRENCE_UNVOUCHED = "occurrence_unvouched"
    OCCURRENCE_REMOVAL_UNVOUCHED = "occurrence_removal_unvouched"
    OCCURRENCE_REMOVED = "occurrence_removed"
    OCCURRENCE_REMOVED_LATER = "occurrence_removed_later"

    # organizations and memberships
    ROOT_STEWARD = "root_steward"
    ADMIN_BY = "admin_by"
    NOT_ENTITLED = "not_entitled"
    LATEST_WINS = "latest_wins"
    ONLY_RECORD = "only_record"
    SUSPENDED = "suspended"
    ENDED_FOR_GOOD = "ended_for_good"
    ORGANIZATION_ENDED = "organization_ended"

    # partner records
    STEWARDS_ENOUGH = "stewards_enough"
    STEWARDS_SHORT = "stewards_short"
    REVISION_WINS = "revision_wins"
    PARTNER_REVOKED = "partner_revoked"
    WITHDRAWN_FOR_GOOD = "withdrawn_for_good"

    # attestations
    ATTESTATION_CURRENT = "attestation_current"
    ATTESTATION_SUPERSEDED = "attestation_superseded"
    ATTESTATION_WITHDRAWN = "attestation_withdrawn"
    ATTESTATION_RECANTED = "attestation_recanted"
    ATTESTATION_EXPIRED = "attestation_expired"
    ATTESTATION_DUPLICATE = "attestation_duplicate"
    ATTESTATION_NOT_ENTITLED = "attestation_not_entitled"
    ATTESTATION_UNDECIDED = "attestation_undecided"

    # places
    PLACE = "place"
    PLACE_WITHDRAWN = "place_withdrawn"
    PLACE_OVER = "place_over"
    PLACE_NOT_ENTITLED = "place_not_entitled"

    # every question
    REMOVAL_PENDING = "removal_pending"
    SIGNER_REVOKED = "signer_revoked"
    SET_ASIDE = "set_aside"
    VOUCHED_FOR = "vouched_for"
    STRANGERS_UNREAD = "strangers_unread"
    MADE_LATER = "made_later"
    NOTHING_COUNTS = "nothing_counts"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the reasoning. Putting it into words is left to whoever shows it.

    Attributes:
        about: whom or what the step is about.
        by: who did it.
        at: when, RFC 3339.
        record: the envelope id, 64 hex digits; "" without one.
        count: a number the rule compares, and `needed`, with what.
        note: a stable word or a value that completes the sentence.
    """

    rule: Rule
    about: str = ""
    by: str = ""
    at: str = ""
    record: str = ""
    count: int | None = None
    needed: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a question's function returns: the word, the typed finding, and why.

    Attributes:
        vouched_by: vouchers of the configuration whose word alone it rests on; mostly nobody.
    """

    status: Status
    found: Any
    steps: tuple[Step, ...] = field(default=())
    vouched_by: tuple[str, ...] = ()


def record_id(envelope: Envelope) -> str:
    """The envelope id as steps and answers show it."""
    return envelope.envelope_id.hex()


def own_time(envelope: Envelope) -> str:
    """The record's own time, as its column has it."""
    return str(envelope.record[KINDS[envelope.kind].seq_field])


def column(envelope: Envelope, name: str) -> str:
    """A column as text; "" when it is absent."""
    value = envelope.record.get(name)
    return value if isinstance(value, str) else ""


def shown(text: str) -> str:
    """A text from a record, cut to what an answer shows of it."""
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[: TEXT_CHARS_MAX - 2]}.."


def column_ns(envelope: Envelope, name: str) -> int | None:
    """A time column in Unix nanoseconds; None when it is absent."""
    value = envelope.record.get(name)
    return timestamps.to_unix_ns(value) if isinstance(value, str) else None


def made_at_ns(envelope: Envelope) -> int:
    """The record's own time in Unix nanoseconds."""
    return timestamps.to_unix_ns(own_time(envelope))


def signed_at_ns(envelope: Envelope) -> int:
    """When the record says it was signed: of a key, not from when on it is valid."""
    signed_ns = column_ns(envelope, "scrub_timestamp")
    if envelope.kind is EnvelopeKind.KEY and signed_ns is not None:
        return signed_ns
    return max(made_at_ns(envelope), signed_ns or 0)


def spelled(at_ns: int) -> str:
    """An instant in Unix nanoseconds as RFC 3339, rounded down to milliseconds."""
    return timestamps.from_unix_ms(at_ns // _NS_PER_MS)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """By kind, then by id: the one order in which rows are looked at."""
    return sorted(rows, key=lambda row: (KINDS[row.envelope.kind].number, row.envelope.envelope_id))
