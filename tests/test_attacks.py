"""The attack table: what is sent, and what exactly becomes of it at each way into a node.

Of every row: nothing comes to stand on any shelf, and each record is counted under the outcome and
the reason told. Where a way in answers otherwise, the row says so. What may be held but must decide
nothing is below: there an answer must stay what it was.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.directory.quotas import SAME_MAX
from ciris_mesh.records.checks import outcome_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.resolve.keys import KeyFound
from ciris_mesh.records.resolve.operations import WinnerFound
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.runtime.resolving import answer
from support import attacks as a
from support.attacks import signed
from support.doors import DOORS, Door, Said
from support.federation import TRUST
from support.forge import spaced
from support.keys import alice
from support.records import AT_MS, sample
from support.rulebook import K, Record, key_id, key_record

PEOPLE = ("alice", "bob", "chief", "mallory", "erin")
MINUTE_MS = 60_000
#: Ahead of every clock that will ever read this.
FAR_AHEAD_MS = 4_102_444_800_000
COSIGNED = "transparency_log:cosigned"


@dataclass(frozen=True)
class Attack:
    """One row.

    Attributes:
        sends: what is sent; each record gets `reason`.
        before: what the node holds besides the keys of PEOPLE.
        elsewhere: door -> what it says instead.
    """

    name: str
    reason: Reason
    sends: Callable[[], Sequence[Record]]
    before: Callable[[], Sequence[Record]] = tuple
    elsewhere: dict[str, tuple[str, str]] = field(default_factory=dict)

    def expected(self, door: str) -> Said:
        usual = outcome_of(self.reason).value, self.reason.value
        return Counter({self.elsewhere.get(door, usual): len(self.sends())})


def _signed(*envelopes: Envelope) -> Callable[[], list[Record]]:
    return lambda: [signed(envelope) for envelope in envelopes]


R = Reason

SIGNATURES = (
    Attack("zero signatures", R.CLASSICAL_SIGNATURE_INVALID, a.zero_signatures),
    Attack("zero second halves", R.PQC_SIGNATURE_INVALID, a.zero_second_halves),
    Attack("no signatures", R.SIGNATURE_MISSING, a.no_signatures),
    Attack("swapped signatures", R.CLASSICAL_SIGNATURE_INVALID, a.swapped_signatures),
    Attack("halves of two signatures", R.PQC_SIGNATURE_INVALID, a.mixed_halves),
    Attack("unbound second half", R.PQC_SIGNATURE_INVALID, a.unbound_halves),
    Attack("stripped half", R.PQC_SIGNATURE_MISSING, a.stripped_halves),
    Attack("another kind's signature", R.CLASSICAL_SIGNATURE_INVALID, a.another_kinds_signatures),
    Attack("another record's envelope", R.COLUMNS_NOT_SIGNED, a.another_records_envelope),
    Attack("another kind's envelope", R.COLUMNS_NOT_SIGNED, a.another_kinds_envelope),
    Attack("altered column", R.COLUMNS_NOT_SIGNED, lambda: a.altered_columns(a.MIRRORED)),
    Attack("altered row", R.CLASSICAL_SIGNATURE_INVALID, lambda: a.altered_columns(a.HASHED)),
    Attack("another content hash", R.CONTENT_HASH_MISMATCH, a.another_content_hash),
    Attack("stolen key id", R.KEY_ID_NOT_SELF_CERTIFYING, a.stolen_key_id),
    Attack("by another hand", R.CLASSICAL_SIGNATURE_INVALID, a.by_another_hand),
    Attack("in another's name", R.SIGNER_NOT_ALLOWED, a.in_anothers_name),
    Attack(
        "operation in another's name",
        R.CLASSICAL_SIGNATURE_INVALID,
        a.operation_in_anothers_name,
    ),
)

RULES = (
    Attack("wire threshold 1", R.STEWARDS_NOT_ENOUGH, _signed(a.partner("alice"))),
    Attack("steward and a stranger", R.SIGNER_NOT_STEWARD, _signed(a.partner("alice", "mallory"))),
    Attack(
        "unsorted set",
        R.SET_UNSORTED,
        _signed(a.partner("alice", "bob", capabilities_granted=["b", "a"])),
    ),
    Attack("unsorted signers", R.NOT_ONE_SPELLING, a.unsorted_signers),
    Attack(
        "precise location",
        R.LOCATION_TOO_PRECISE,
        _signed(a.location("alice", "alice", "8f28308280f18f2", 15)),
    ),
    Attack(
        "finer cell than it says",
        R.CELL_MALFORMED,
        _signed(a.location("alice", "alice", "8828308281fffff")),
    ),
    Attack("another's location", R.NOT_DELEGATED, _signed(a.location("mallory", "alice"))),
    Attack(
        "self-promotion to steward",
        R.NOT_ROOTED,
        _signed(a.score("mallory", COSIGNED)),
        _signed(key_record("mallory", "steward,witness", ref="promoted")),
    ),
    Attack(
        "chain of 65",
        R.NOT_ROOTED,
        _signed(a.score("mallory", COSIGNED)),
        lambda: _signed(*a.chain(65))(),
    ),
    Attack(
        "circle of vouching",
        R.NOT_ROOTED,
        _signed(a.score("mallory", COSIGNED)),
        lambda: _signed(*a.circle())(),
    ),
    Attack(
        "circle of grants",
        R.NOT_ORG_ADMIN,
        _signed(a.grant("mallory", "erin"), a.grant("erin", "mallory")),
        _signed(a.organization("chief")),
    ),
    Attack("own organization", R.NOT_ORG_ADMIN, _signed(a.organization("mallory", org_id="evil"))),
    Attack(
        "far ahead",
        R.TIME_AHEAD,
        _signed(a.score("alice", "identity:x:v1", FAR_AHEAD_MS)),
        elsewhere={"admit": ("admitted", "")},
    ),
    Attack(
        "no time at all",
        R.WRONG_TYPE,
        lambda: [(K.ATTESTATION, a.altered(K.ATTESTATION, "asserted_at", "0000-00-00T00:00:00Z"))],
    ),
    Attack("nested too deep", R.TOO_DEEP, lambda: [(K.KEY, a.nested(100))]),
    Attack("nested within the limit of size", R.TOO_DEEP, lambda: [(K.KEY, a.nested(20_000))]),
    Attack(
        "10 MB of nesting",
        R.TOO_LARGE,
        lambda: [(K.KEY, a.nested(5 << 20))],
        elsewhere={
            "deliver": ("frame", "DecodeError"),
            "import": ("damage", "too_large"),
            "admit": ("request", "ControlError"),
        },
    ),
)

#: Held at one door, as the table says; everywhere else refused or waiting.
ADMITTED_AT = {("far ahead", "admit")}


@contextmanager
def opened(door: str, folder: Path, before: Sequence[Record]) -> Iterator[Door]:
    made = DOORS[door](folder, [*a.keys(*PEOPLE), *before])
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("attack", [*SIGNATURES, *RULES], ids=lambda attack: attack.name)
def test_an_attack_ends_as_the_table_says(attack: Attack, door: str, tmp_path: Path) -> None:
    with opened(door, tmp_path, attack.before()) as way_in:
        before = way_in.counts()
        told = way_in.send(attack.sends())
        assert told == attack.expected(door)
        if (attack.name, door) in ADMITTED_AT:
            return
        assert way_in.counts() == before, "on no shelf"
        counted = way_in.counted()
        looked_at = Counter({it: n for it, n in told.items() if it[0] in set(Outcome)})
        assert counted is None or counted >= looked_at


@pytest.mark.parametrize("attack", SIGNATURES, ids=lambda attack: attack.name)
def test_a_forgery_does_not_keep_the_record_out(attack: Attack, tmp_path: Path) -> None:
    """Garbage under a record's id, remembered as refused, says nothing about the record."""
    with opened("deliver", tmp_path, [key_of("root")]) as way_in:
        way_in.send(attack.sends())
        found = way_in.send([signed(a.score("alice", "identity:x:v1")), *a.keys("carol")])
        assert found == Counter({("admitted", ""): 2})
        family = K.FAMILY, sample(K.FAMILY, alice())
        assert way_in.send([family]) == Counter({("admitted", ""): 1})


def key_of(name: str) -> Record:
    return a.keys(name)[0]


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_no_column_of_any_kind_can_be_altered(kind: EnvelopeKind, tmp_path: Path) -> None:
    """Not one: each is signed, or is a signature, or names who signed."""
    with opened("apply", tmp_path, []) as way_in:
        before = way_in.counts()
        columns = list(a.every_column(kind))
        assert len(columns) >= 5
        for column, raw in columns:
            ((outcome, _),) = way_in.send([(kind, raw)])
            assert outcome in ("refused", "malformed", "deferred"), column
        assert way_in.counts() == before


# -- held, and deciding nothing --------------------------------------------------------------------


@dataclass(frozen=True)
class Remark:
    """What stands, may be held, and must not change what is told.

    Attributes:
        before: what the node holds besides the keys of PEOPLE.
        sends: what is sent; all of it gets this `outcome`.
        question: what is asked, ten minutes after the samples' time.
        twin: what differs least from what is sent and does change the answer.
    """

    name: str
    before: tuple[Envelope, ...]
    sends: Callable[[], Sequence[Record]]
    question: tuple[str, str]
    twin: Envelope
    outcome: str = "admitted"


CHIEF_GONE = a.revocation("chief", "chief", from_unix_ms(AT_MS + 2 * MINUTE_MS))
ORG = a.organization("chief", "Acme", AT_MS + MINUTE_MS)
LATER = a.organization("chief", "Newer", AT_MS + MINUTE_MS + 1)
LICENSE = a.partner("alice", "bob", revision=3)
LICENSE_ID = str(LICENSE.record["license_id"])
BOB_GONE = a.revocation("bob", "bob", from_unix_ms(AT_MS + MINUTE_MS))
BOB_GONE_SOONER = a.revocation("bob", "bob", from_unix_ms(AT_MS), AT_MS + 5)

REMARKS = (
    Remark("replay", (ORG,), _signed(ORG), ("org", "acme"), LATER, "duplicate"),
    Remark(
        "replay in other words",
        (ORG,),
        lambda: [(ORG.kind, spaced(signed(ORG)[1]))],
        ("org", "acme"),
        LATER,
        "duplicate",
    ),
    Remark(
        "rolled back organization",
        (ORG,),
        _signed(a.organization("chief", "Older", AT_MS)),
        ("org", "acme"),
        LATER,
    ),
    Remark(
        "organization from ancient times",
        (ORG,),
        _signed(a.organization("chief", "Ancient", 0)),
        ("org", "acme"),
        LATER,
    ),
    Remark(
        "rolled back licence",
        (LICENSE,),
        _signed(a.partner("alice", "bob", revision=2)),
        ("partner", LICENSE_ID),
        a.partner("alice", "bob", revision=4),
    ),
    Remark(
        "rolled back revocation",
        (BOB_GONE,),
        _signed(a.revocation("bob", "bob", from_unix_ms(AT_MS + 2 * MINUTE_MS), AT_MS + 5)),
        ("key", key_id("bob")),
        BOB_GONE_SOONER,
    ),
    Remark(
        "a stranger revokes",
        (),
        _signed(a.revocation("bob", "mallory", "1990-01-01T00:00:00Z")),
        ("key", key_id("bob")),
        BOB_GONE,
    ),
    Remark(
        "signed after the signer was revoked",
        (ORG, CHIEF_GONE),
        _signed(a.organization("chief", "Afterwards", AT_MS + 3 * MINUTE_MS)),
        ("org", "acme"),
        LATER,  # signed before, told after
    ),
)


def decided(directory: ReplicationDirectory, question: tuple[str, str]) -> object:
    """What an answer says, without what it says was passed over."""
    told = answer(directory, TRUST, *question, at=_TEN_PAST, now_ms=AT_MS, tau_partial_s=1.0)
    match told.found:
        case WinnerFound() as found:
            return told.status, found.winner, found.ended_by
        case KeyFound() as found:
            return told.status, min((it.effective_at for it in found.revocations), default="")
        case _:
            raise AssertionError(told)


_TEN_PAST = from_unix_ms(AT_MS + 10 * MINUTE_MS)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("remark", REMARKS, ids=lambda remark: remark.name)
def test_what_is_held_and_does_not_count_changes_no_answer(
    remark: Remark, door: str, tmp_path: Path
) -> None:
    def told(directory: ReplicationDirectory) -> object:
        return decided(directory, remark.question)

    with opened(door, tmp_path, [signed(it) for it in remark.before]) as way_in:
        before, counts = way_in.look(told), way_in.counts()
        said = way_in.send(remark.sends())
        assert said == Counter({(remark.outcome, ""): len(remark.sends())})
        assert way_in.look(told) == before
        assert (way_in.counts() == counts) is (remark.outcome == "duplicate")
        way_in.send([signed(remark.twin)])
        assert way_in.look(told) != before


def test_every_way_in_and_every_attack_the_table_must_name() -> None:
    """Whoever shortens the table must shorten this."""
    assert set(DOORS) == {"apply", "deliver", "import", "admit"}
    named = {row.name for row in (*SIGNATURES, *RULES)} | {row.name for row in REMARKS}
    assert len(named) == len(SIGNATURES) + len(RULES) + len(REMARKS)
    assert named >= {
        "zero signatures",
        "swapped signatures",
        "halves of two signatures",
        "unbound second half",
        "stripped half",
        "another record's envelope",
        "another kind's signature",
        "altered column",
        "altered row",
        "stolen key id",
        "rolled back organization",
        "replay",
        "far ahead",
        "organization from ancient times",
        "wire threshold 1",
        "unsorted set",
        "precise location",
        "self-promotion to steward",
        "chain of 65",
        "circle of vouching",
        "signed after the signer was revoked",
        "10 MB of nesting",
    }
    sent = {kind for attack in SIGNATURES[:6] for kind, _ in attack.sends()}
    assert sent == set(EnvelopeKind)
    assert a.MIRRORED + a.HASHED != ()
    assert set(a.ALTERED) == set(EnvelopeKind)


STEWARDS = ("alice", "bob", "carol", "dave")


def _left_out() -> list[Record]:
    """A licence that four stewards signed, as a relay without a key can take it apart."""
    kind, raw = signed(a.partner(*STEWARDS))
    pairs = [pair for pair in itertools.combinations(STEWARDS, 2) if pair != ("carol", "dave")]
    parts = [
        (kind, a.partly_signed(kind, raw, pair, threshold))
        for pair in pairs
        for threshold in (1, 2)
    ]
    return parts[:SAME_MAX]


def test_copies_with_signatures_left_out_do_not_keep_the_whole_record_out(tmp_path: Path) -> None:
    """Two of the four are revoked later: who has only what they signed no longer counts it."""
    trust = replace(TRUST, partner_stewards=frozenset(map(key_id, STEWARDS)))
    whole = signed(a.partner(*STEWARDS))
    gone = [signed(a.revocation(it, it, "2020-01-01T00:00:00Z")) for it in STEWARDS[:2]]

    def told(directory: ReplicationDirectory) -> object:
        found = answer(
            directory, trust, "partner", LICENSE_ID, at=_TEN_PAST, now_ms=AT_MS, tau_partial_s=1.0
        )
        return found.status

    statuses = []
    for order in ([*_left_out(), whole], [whole, *_left_out()]):
        door = DOORS["deliver"](tmp_path, a.keys(*STEWARDS), trust)
        door.send([*order, *gone])
        statuses.append(door.look(told))
        door.close()
    assert statuses[0] == statuses[1]
