"""Vouches: what one says, which is none, and what vouched rows count for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import Envelope, encode_base64, parse_envelope
from ciris_mesh.records.jsontext import to_plain
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.resolve import view, vouched
from ciris_mesh.records.resolve.base import Row, Rule, Status
from ciris_mesh.records.resolve.groups import MembersFound
from ciris_mesh.records.resolve.keys import KeyFound
from ciris_mesh.records.resolve.table import QUESTIONS, Answer
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.table import judge_content
from ciris_mesh.records.tokens import bridged_token, published_by, tokens_of
from ciris_mesh.records.vouches import (
    IDS_PER_VOUCH_MAX,
    VOUCHABLE,
    Vouch,
    is_vouch,
    vouch_of,
)
from support.answers import World, ask, at, hex_id, revocation, rules, step
from support.federation import TRUST
from support.keys import key
from support.records import AT_MS, columns, group_columns, member, sample
from support.rulebook import K, key_columns, key_id, key_record, made
from support.vouching import REGISTRY, bare, vouch, vouch_columns

CASES_AT = AT_MS
GATEWAY = key_id("hub")
LISTED = replace(TRUST, vouchers=frozenset({GATEWAY}))
IDS = [bytes([n]) * 32 for n in range(IDS_PER_VOUCH_MAX + 1)]
OPERATIONAL = {K.ORGANIZATION, K.ORG_MEMBERSHIP, K.PARTNER_RECORD}


# -- what one says ---------------------------------------------------------------------------------


def edited(by: str = "hub", **inner: Any) -> Envelope:
    given = vouch_columns(by, K.COMMUNITY, IDS[:2])
    given["attestation_envelope"] = {**given["attestation_envelope"], **inner}
    return made(K.ATTESTATION, given, by)


def finding(envelope: Envelope) -> Reason:
    return judge_content(envelope, Trust()).reason


def test_a_vouch_says_registry_kind_and_ids() -> None:
    envelope = edited()
    assert is_vouch(envelope)
    assert vouch_of(envelope) == Vouch(REGISTRY, K.COMMUNITY, tuple(IDS[:2]))
    assert finding(envelope) is Reason.NONE


def test_every_kind_but_the_operational_ones_can_be_vouched_for() -> None:
    assert set(K) - OPERATIONAL == VOUCHABLE
    for kind in K:
        envelope = made(K.ATTESTATION, vouch_columns("hub", kind, IDS[:1]), "hub")
        expected = Reason.NONE if kind in VOUCHABLE else Reason.VOUCH_MALFORMED
        assert finding(envelope) is expected


@pytest.mark.parametrize(
    "inner",
    [
        {"registry_key_id": ""},
        {"registry_key_id": "x" * 129},
        {"registry_key_id": 1},
        {"vouched_kind": "tribe"},
        {"vouched_ids": []},
        {"vouched_ids": "00" * 32},
        {"vouched_ids": [one.hex() for one in IDS]},
        {"vouched_ids": ["00"]},
        {"vouched_ids": ["AA" * 32]},
        {"vouched_ids": ["00" * 32, "00" * 32]},
        {"vouched_ids": ["01" * 32, "00" * 32]},
        {"vouched_ids": [1]},
    ],
    ids=str,
)
def test_what_is_not_as_it_must_be_is_refused_and_no_vouch(inner: dict[str, Any]) -> None:
    envelope = edited(**inner)
    assert is_vouch(envelope)
    assert finding(envelope) is Reason.VOUCH_MALFORMED
    assert vouch_of(envelope) is None
    assert not any(one.startswith("bridged:") for one in tokens_of(envelope))


def test_nobody_vouches_in_the_name_of_another() -> None:
    given = vouch_columns("hub", K.COMMUNITY, IDS[:1]) | {"attested_key_id": key_id("alice")}
    assert finding(made(K.ATTESTATION, given, "hub")) is Reason.VOUCH_MALFORMED


def test_another_dimension_or_type_may_hold_what_it_likes() -> None:
    assert finding(edited(dimension="identity:x:v1", vouched_ids=1)) is Reason.NONE
    given = vouch_columns("hub", K.COMMUNITY, IDS[:1]) | {"attestation_type": "recants"}
    given["attestation_envelope"] |= {"references_attestation_id": "x"}
    withdrawal = made(K.ATTESTATION, given, "hub")
    assert not is_vouch(withdrawal)
    assert finding(withdrawal) is Reason.NONE


def test_as_many_ids_as_may_be_are_found_by_the_voucher_and_nobody_waits_for_them() -> None:
    envelope = edited(vouched_ids=[one.hex() for one in IDS[:IDS_PER_VOUCH_MAX]])
    tokens = {bridged_token(GATEWAY, K.COMMUNITY, one) for one in IDS[:IDS_PER_VOUCH_MAX]}
    assert tokens <= set(tokens_of(envelope))
    assert tokens.isdisjoint(published_by(envelope))


# -- what vouched rows count for -------------------------------------------------------------------


def signed(kind: EnvelopeKind) -> Envelope:
    return parse_envelope(kind, sample(kind, key("dave"), 1))


RIVER = made(K.COMMUNITY, group_columns(K.COMMUNITY, "river", {"members": [member("a")]}), "dave")
RIVER_ID = str(RIVER.record["community_key_id"])
FOREIGN_KEY = key_record("erin", by="erin")
PLACE = bare(K.LOCATION_PROOF, "dave")
DEVICE = bare(K.IDENTITY_OCCURRENCE, "dave")
SCORE = made(K.ATTESTATION, columns(K.ATTESTATION, key_id("dave"), 0), "dave")
#: Question, whom it is about, the bridged row that answers it, and what it then says.
CASES = {
    "key": (key_id("erin"), FOREIGN_KEY, Status.VALID),
    "members": (RIVER_ID, RIVER, Status.ANSWERED),
    "occurrences": (key_id("dave"), DEVICE, Status.ANSWERED),
    "attestations": (str(SCORE.record["attested_key_id"]), SCORE, Status.ANSWERED),
    "location": (key_id("dave"), PLACE, Status.ANSWERED),
}
#: Other records under the same names, as they stand on the federation shelf.
SIGNED = {
    "key": key_record("erin", by="dave", ref="other"),
    "members": made(
        K.COMMUNITY,
        {name: it for name, it in to_plain(RIVER.record).items() if name != "persist_row_hash"}
        | {"community_name": "other"},
        "dave",
    ),
    "occurrences": signed(K.IDENTITY_OCCURRENCE),
    "attestations": made(
        K.ATTESTATION,
        columns(K.ATTESTATION, key_id("dave"), 0)
        | {"attestation_envelope": {"dimension": "identity:other:v1"}},
        "dave",
    ),
    "location": signed(K.LOCATION_PROOF),
}


def world(*rows: Envelope, trust: Trust = LISTED) -> World:
    """The voucher is known, and these rows are bridged."""
    made_ = World(trust=trust)
    made_.know("hub", "mallory")
    made_.rows += [Row(row, "bridged") for row in rows]
    return made_


def told(question: str, *more: Envelope, trust: Trust = LISTED, after_ms: int = 600_000) -> Answer:
    subject, row, _ = CASES[question]
    asked = world(row, trust=trust)
    asked.rows += map(Row, more)
    return asked.ask(question, subject, after_ms=after_ms)


@pytest.mark.parametrize("question", CASES)
def test_a_vouched_row_answers_where_nothing_else_does_and_says_by_whom(question: str) -> None:
    said = vouch("hub", CASES[question][1])
    answer = told(question, said)
    assert answer.status is CASES[question][2]
    assert answer.vouched_by == (GATEWAY,)
    first = answer.steps[0]
    assert (first.rule, first.by, first.note) == (Rule.VOUCHED_FOR, GATEWAY, REGISTRY)
    assert first.record == hex_id(said)


@pytest.mark.parametrize("question", CASES)
def test_to_who_lists_no_voucher_or_another_nothing_changes(question: str) -> None:
    said = vouch("hub", CASES[question][1])
    for trust in (TRUST, replace(TRUST, vouchers=frozenset({key_id("mallory")}))):
        answer = told(question, said, trust=trust)
        assert answer.vouched_by == ()
        assert answer == told(question, trust=TRUST)
        assert answer.status in (Status.UNKNOWN, Status.EMPTY)


@pytest.mark.parametrize("question", CASES)
def test_it_takes_the_vouch_of_whom_the_configuration_lists(question: str) -> None:
    row = CASES[question][1]
    assert told(question, vouch("mallory", row)).vouched_by == ()
    assert told(question).vouched_by == ()
    assert told(question, vouch("mallory", row), vouch("hub", row)).vouched_by == (GATEWAY,)


@pytest.mark.parametrize("question", CASES)
def test_a_vouch_counts_from_its_time_on_and_until_it_expires(question: str) -> None:
    said = vouch("hub", CASES[question][1], at_ms=CASES_AT + 1_000, expires_at=at(5_000))
    counts = {ms: bool(told(question, said, after_ms=ms).vouched_by) for ms in (999, 1_000, 5_000)}
    assert counts == {999: False, 1_000: True, 5_000: False}


@pytest.mark.parametrize("question", CASES)
def test_it_lapses_with_the_voucher_and_when_it_is_withdrawn(question: str) -> None:
    said = vouch("hub", CASES[question][1])
    revoked = revocation("hub", "hub", 2_000)
    assert told(question, said, revoked, after_ms=1_999).vouched_by == (GATEWAY,)
    assert told(question, said, revoked).vouched_by == ()
    assert told(question, said, withdrawal(said, "hub")).vouched_by == ()
    assert told(question, said, withdrawal(said, "mallory")).vouched_by == (GATEWAY,)


def withdrawal(said: Envelope, by: str, after_ms: int = 10) -> Envelope:
    inner = {"references_attestation_id": said.record["attestation_id"]}
    given = {
        "attested_key_id": said.record["attested_key_id"],
        "attestation_type": "withdraws",
        "withdraws_admission_rule": 1,
        "attestation_envelope": inner,
    }
    return made(K.ATTESTATION, given, by, at_ms=CASES_AT + after_ms)


@pytest.mark.parametrize("question", CASES)
def test_a_federation_row_under_the_same_name_silences_every_vouched_one(question: str) -> None:
    subject, row, _ = CASES[question]
    both = world(row)
    both.add(vouch("hub", row), SIGNED[question])
    alone = world()
    alone.add(SIGNED[question])
    answer = both.ask(question, subject)
    assert answer.vouched_by == ()
    assert (answer.status, answer.found) == (
        alone.ask(question, subject).status,
        alone.ask(question, subject).found,
    )


def test_questions_of_roots_organizations_memberships_and_licenses_take_no_vouch() -> None:
    assert set(QUESTIONS) - set(CASES) == {"chain", "org", "membership", "partner", "revoked"}
    said = vouch("hub", FOREIGN_KEY)
    assert told("key", said).vouched_by
    asked = world(FOREIGN_KEY)
    asked.add(said)
    for question in ("chain", "revoked"):
        assert asked.ask(question, key_id("erin")).vouched_by == ()


def test_nobody_becomes_a_steward_by_a_vouch() -> None:
    steward = made(K.KEY, key_columns("erin", "steward"), "root")
    asked = world(steward)
    asked.know("root")
    asked.add(vouch("hub", steward))
    assert asked.ask("key", key_id("erin")).vouched_by == ()
    assert asked.ask("chain", key_id("erin")).status is Status.UNKNOWN


def test_vouched_delegations_and_reserved_dimensions_count_for_nothing() -> None:
    for inner, type_ in (
        ({"delegated_scope": ["agency:act_on_behalf"]}, "delegates_to"),
        ({"dimension": "accord:holder"}, "scores"),
    ):
        given = {"attested_key_id": key_id("erin"), "attestation_type": type_}
        row = made(K.ATTESTATION, given | {"attestation_envelope": inner}, "dave")
        asked = world(row)
        asked.add(vouch("hub", row))
        assert asked.ask("attestations", key_id("erin")).vouched_by == ()


def test_a_row_by_a_key_that_was_revoked_before_does_not_count() -> None:
    said = vouch("hub", SCORE)
    asked = world(SCORE)
    asked.know("dave")
    asked.add(said, revocation("dave", "dave", -1_000))
    assert asked.ask("attestations", CASES["attestations"][0]).vouched_by == ()


def altered(row: Envelope) -> Envelope:
    """The same id around other bytes: a signer nobody asked, another spelling, one more member."""
    wrapper = json.loads(row.raw)
    if is_cosigned(row.kind):
        ed25519, mldsa65 = (encode_base64(bytes(size)) for size in (64, 3309))
        entry = {"ed25519_signature_base64": ed25519, "mldsa65_signature_base64": mldsa65}
        wrapper["authority"] = [{"key_id": key_id("mallory"), **entry}]
    record = wrapper[KINDS[row.kind].wrapper_field]
    record["more"] = "x" * 100
    for name, value in record.items():
        if isinstance(value, str) and value.endswith("Z"):
            record[name] = f"{value[:-1]}+00:00"
    found = parse_envelope(row.kind, json.dumps(wrapper).encode())
    assert found.envelope_id == row.envelope_id
    assert found.raw != row.raw
    return found


@pytest.mark.parametrize("question", CASES)
def test_who_brings_a_vouched_row_puts_nothing_beside_it(question: str) -> None:
    subject, row, _ = CASES[question]
    answers = []
    for it in (row, altered(row)):
        asked = world(it)
        asked.add(vouch("hub", row))
        answers.append(asked.ask(question, subject))
    assert answers[0].vouched_by == (GATEWAY,)
    assert answers[0] == answers[1]


def test_a_forged_signer_takes_no_vouched_row_away() -> None:
    asked = world(altered(DEVICE))
    asked.know("mallory")
    asked.add(vouch("hub", DEVICE), revocation("mallory", "mallory", -1_000))
    assert asked.ask("occurrences", key_id("dave")).vouched_by == (GATEWAY,)


def active(answer: Answer) -> set[str]:
    assert isinstance(answer.found, MembersFound)
    return {it.key_id for it in answer.found.members}


def test_vouched_removals_take_away_what_vouched_rows_gave() -> None:
    removal = bare(K.COMMUNITY_MEMBERSHIP_REVOCATION, "dave")
    group_id = str(removal.record["community_key_id"])
    removed = str(removal.record["removed_identity_key_id"])
    roster = made(
        K.COMMUNITY,
        group_columns(K.COMMUNITY, "x", {"members": [member("a"), member(removed)]})
        | {"community_key_id": group_id},
        "dave",
    )
    asked = world(roster, removal)
    asked.add(vouch("hub", roster))
    assert active(asked.ask("members", group_id)) == {"a", removed}
    asked.add(vouch("hub", removal))
    answer = asked.ask("members", group_id)
    assert active(answer) == {"a"}
    assert answer.vouched_by == (GATEWAY,)


def test_a_vouched_revocation_revokes_a_vouched_key_and_no_other() -> None:
    gone = revocation("erin", "erin", 100)
    asked = world(FOREIGN_KEY, gone)
    asked.add(vouch("hub", FOREIGN_KEY), vouch("hub", gone))
    answer = asked.ask("key", key_id("erin"))
    assert isinstance(answer.found, KeyFound)
    assert (answer.status, answer.found.revoked_from) == (Status.REVOKED, at(100))
    asked.add(key_record("erin"))
    assert asked.ask("key", key_id("erin")).status is Status.VALID


@pytest.mark.parametrize("question", CASES)
def test_rows_nobody_vouched_for_silence_none_that_somebody_did(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or any pinned registry could, by bringing many under one name."""
    monkeypatch.setattr(view, "ROWS_PER_NAME_MAX", 1)
    subject, row, status = CASES[question]
    asked = world(row)
    asked.add(vouch("hub", row))
    before = asked.ask(question, subject)
    assert (before.status, before.vouched_by) == (status, (GATEWAY,))
    asked.add(
        SIGNED[question], *(bare(K.LOCATION_PROOF, "dave", n) for n in (1, 2)), shelf="bridged"
    )
    after = asked.ask(question, subject)
    assert (after.status, after.found, after.vouched_by) == (status, before.found, (GATEWAY,))


def flood_of(said: Envelope, count: int) -> list[Envelope]:
    """What a stranger can say of a vouch: he uses its id himself, and takes that back."""
    given = {
        "attestation_id": said.record["attestation_id"],
        "attested_key_id": key_id("mallory"),
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": "identity:continuity:v1"},
    }
    mine = made(K.ATTESTATION, given, "mallory")
    return [mine, *(withdrawal(mine, "mallory", n) for n in range(count))]


@pytest.mark.parametrize("question", CASES)
def test_who_refers_to_a_vouch_without_end_silences_no_other(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouched, "REFERENCES_MAX", 3)
    subject, row, status = CASES[question]
    first, second = (vouch("hub", row, at_ms=AT_MS + n) for n in range(2))
    asked = world(row)
    asked.add(first, *flood_of(first, 3))
    assert asked.ask(question, subject).status is status, "as many are read"
    asked.add(*flood_of(first, 4)[-1:])
    assert asked.ask(question, subject).vouched_by == (), "taken back or not, nobody can tell"
    asked.add(second)
    assert asked.ask(question, subject).vouched_by == (GATEWAY,)


def test_who_refers_to_a_vouch_without_end_gives_nobody_back_what_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vouched, "REFERENCES_MAX", 3)
    gone = revocation("erin", "erin", 100)
    asked = world(FOREIGN_KEY, gone)
    said = vouch("hub", gone)
    asked.add(vouch("hub", FOREIGN_KEY), said, *flood_of(said, 4))
    assert asked.ask("key", key_id("erin")).status is Status.REVOKED


def test_a_voucher_that_names_more_than_is_read_has_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, row, _ = CASES["location"]
    other = bare(K.LOCATION_PROOF, "dave", 1)
    asked = world(row, other)
    asked.add(vouch("hub", row))
    monkeypatch.setattr(view, "ROWS_PER_NAME_MAX", 1)
    assert asked.ask("location", subject).vouched_by == (GATEWAY,)
    asked.add(vouch("hub", other))
    assert asked.ask("location", subject).vouched_by == ()


# -- laws ------------------------------------------------------------------------------------------

EVERYTHING = [
    *(Row(row, "bridged") for _, row, _ in CASES.values()),
    *(Row(vouch("hub", row)) for _, row, _ in CASES.values()),
    *(Row(vouch("mallory", row)) for _, row, _ in CASES.values()),
    *map(Row, SIGNED.values()),
    *(Row(key_record(name)) for name in ("hub", "mallory", "dave", "erin")),
    Row(revocation("hub", "hub", 2_000)),
    Row(withdrawal(vouch("hub", PLACE), "hub")),
]
#: Places in that list: a record is long to print.
SOME = st.lists(st.integers(0, len(EVERYTHING) - 1), unique=True)


@given(rows=SOME, question=st.sampled_from(sorted(QUESTIONS)))
def test_who_lists_no_voucher_answers_as_if_there_were_no_vouched_row(
    rows: list[int], question: str
) -> None:
    """Two nodes with the same rows, of which one lists the voucher: only silence may differ."""
    held = [EVERYTHING[place] for place in rows]
    subject = CASES[question][0] if question in CASES else key_id("erin")
    more = "x" if question == "membership" else ""
    listing = ask(held, question, subject, more, trust=LISTED)
    other = ask(held, question, subject, more, trust=TRUST)
    assert other.vouched_by == ()
    if listing.vouched_by:
        assert other.status in (Status.UNKNOWN, Status.EMPTY)
    else:
        assert listing == other


@given(rows=SOME, question=st.sampled_from(sorted(CASES)), data=st.data())
def test_vouch_and_row_may_come_in_any_order(
    rows: list[int], question: str, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    subject = CASES[question][0]
    one, two = (
        ask([EVERYTHING[place] for place in it], question, subject, trust=LISTED)
        for it in (rows, shuffled)
    )
    assert one == two


def test_the_step_says_which_row_and_which_vouch() -> None:
    said = vouch("hub", PLACE)
    assert step(told("location", said), Rule.VOUCHED_FOR).about == hex_id(PLACE)[:12]
    assert Rule.PLACE in rules(told("location", said))
