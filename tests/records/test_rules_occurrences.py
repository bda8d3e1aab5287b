"""Who vouches for an occurrence, who takes it away, and who says where somebody is."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope, encode_base64
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.records.tokens import delegation_token, key_token, token, tokens_of
from support.records import AT_MS
from support.rulebook import MINUTE_MS, K, Shelf, key_id, made

WHOLE = {
    "x25519_base64": encode_base64(bytes(32)),
    "ml_kem_768_base64": encode_base64(bytes(1184)),
}
CELL, FINER, FINEST_TOLD = "872830828ffffff", "8828308281fffff", 7


def occurrence(device: str, *by: str, at_ms: int = AT_MS, **more: Any) -> Envelope:
    columns = {
        "identity_key_id": key_id("alice"),
        "occurrence_key_id": key_id(device),
        "device_class": "laptop",
        **more,
    }
    return made(K.IDENTITY_OCCURRENCE, columns, *by, at_ms=at_ms)


def removal(device: str, *by: str) -> Envelope:
    columns = {"identity_key_id": key_id("alice"), "occurrence_key_id": key_id(device)}
    return made(K.IDENTITY_OCCURRENCE_REVOCATION, columns, *by)


def located(*by: str, subject: str = "alice", cell: str = CELL, resolution: int = 7) -> Envelope:
    columns = {
        "subject_key_id": key_id(subject),
        "cell_id": cell,
        "cell_resolution": resolution,
    }
    return made(K.LOCATION_PROOF, columns, *by)


def acts_for(giver: str, taker: str, *scopes: str) -> Envelope:
    columns = {
        "attested_key_id": key_id(taker),
        "attestation_type": "delegates_to",
        "attestation_envelope": {"delegated_scope": list(scopes or ["agency:act_on_behalf"])},
    }
    return made(K.ATTESTATION, columns, giver)


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf()
    made.know("alice", "laptop", "phone", "mallory")
    return made


def test_the_identity_vouches(shelf: Shelf) -> None:
    assert shelf.reason(occurrence("laptop", "alice")) is Reason.NONE
    assert shelf.reason(occurrence("alice", "alice")) is Reason.NONE, "it may be its own"


def test_an_occurrence_vouches_for_the_next(shelf: Shelf) -> None:
    record = occurrence("phone", "laptop")
    finding = shelf.asks(record)
    assert finding.reason is Reason.OCCURRENCE_NOT_VOUCHED
    assert finding.waits_for == (token(K.IDENTITY_OCCURRENCE, key_id("alice"), key_id("laptop")),)
    shelf.add(occurrence("laptop", "alice"))
    assert shelf.reason(record) is Reason.NONE


def test_nobody_vouches_for_itself_nor_for_anothers(shelf: Shelf) -> None:
    assert shelf.reason(occurrence("mallory", "mallory")) is Reason.OCCURRENCE_NOT_VOUCHED
    assert shelf.reason(occurrence("laptop", "laptop")) is Reason.OCCURRENCE_NOT_VOUCHED
    assert shelf.reason(occurrence("laptop", "alice", "mallory")) is Reason.NONE, "one is enough"


@pytest.mark.parametrize(
    ("made_ms", "until_ms", "reason"),
    [
        (0, None, Reason.NONE),
        (0, 2 * MINUTE_MS, Reason.NONE),
        (0, MINUTE_MS, Reason.OCCURRENCE_NOT_VOUCHED),
        (2 * MINUTE_MS, None, Reason.OCCURRENCE_NOT_VOUCHED),
    ],
    ids=["in force", "still", "over", "not yet"],
)
def test_the_voucher_was_an_occurrence_then(
    shelf: Shelf, made_ms: int, until_ms: int | None, reason: Reason
) -> None:
    more = {} if until_ms is None else {"valid_until": from_unix_ms(AT_MS + until_ms)}
    shelf.add(occurrence("laptop", "alice", at_ms=AT_MS + made_ms, **more))
    assert shelf.reason(occurrence("phone", "laptop", at_ms=AT_MS + MINUTE_MS)) is reason


def test_who_vouches_counts(shelf: Shelf) -> None:
    record, everybody = occurrence("phone", "alice"), ("alice", "laptop", "phone", "mallory")
    assert shelf.counts(record, *everybody) == {"alice"}
    shelf.add(occurrence("laptop", "alice", at_ms=AT_MS + 1))
    assert shelf.counts(record, *everybody) == {"alice"}, "it was none at the time"
    shelf.add(occurrence("laptop", "alice"))
    assert shelf.counts(record, *everybody) == {"alice", "laptop"}


def test_who_takes_an_occurrence_away_counts(shelf: Shelf) -> None:
    everybody = ("alice", "laptop", "phone", "mallory")
    assert shelf.counts(removal("laptop", "alice"), *everybody) == {"alice", "laptop"}
    shelf.add(occurrence("phone", "alice"))
    assert shelf.counts(removal("laptop", "alice"), *everybody) == {"alice", "laptop", "phone"}


def test_who_says_where_somebody_is_counts(shelf: Shelf) -> None:
    everybody = ("alice", "laptop", "phone", "mallory")
    assert shelf.counts(located("alice"), *everybody) == {"alice"}
    shelf.add(acts_for("alice", "laptop"), acts_for("laptop", "phone"))
    assert shelf.counts(located("alice"), *everybody) == {"alice", "laptop"}


def test_both_keys_of_an_occurrence_are_known(shelf: Shelf) -> None:
    finding = shelf.asks(occurrence("tablet", "alice"))
    assert finding.reason is Reason.KEY_UNKNOWN
    assert finding.waits_for == (key_token(key_id("tablet")),)
    shelf.know("tablet")
    assert shelf.reason(occurrence("tablet", "alice")) is Reason.NONE


def test_keys_to_encrypt_to_are_whole(shelf: Shelf) -> None:
    assert shelf.reason(occurrence("laptop", "alice", encryption_pubkeys=WHOLE)) is Reason.NONE


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"x25519_base64": WHOLE["x25519_base64"]},
        {**WHOLE, "more": ""},
        {**WHOLE, "x25519_base64": encode_base64(bytes(31))},
        {**WHOLE, "ml_kem_768_base64": encode_base64(bytes(1185))},
        {**WHOLE, "x25519_base64": "!"},
        {**WHOLE, "x25519_base64": 1},
        {**WHOLE, "x25519_base64": "A" * 42 + "B="},
    ],
    ids=["none", "half", "more", "short", "long", "no base64", "no text", "two spellings"],
)
def test_anything_else_is_refused(shelf: Shelf, keys: dict[str, Any]) -> None:
    record = occurrence("laptop", "alice", encryption_pubkeys=keys)
    assert shelf.reason(record) is Reason.ENCRYPTION_KEYS_MALFORMED


def test_the_identity_or_the_occurrence_takes_it_away(shelf: Shelf) -> None:
    for who in ("alice", "laptop"):
        assert shelf.reason(removal("laptop", who)) is Reason.NONE
    for who in ("mallory", "phone"):
        finding = shelf.asks(removal("laptop", who))
        assert finding.reason is Reason.REMOVAL_NOT_VOUCHED
        own = token(K.IDENTITY_OCCURRENCE, key_id("alice"), key_id(who))
        better_copy = tokens_of(removal("laptop", "alice"))
        assert finding.waits_for == (*better_copy, own)


def test_another_occurrence_takes_it_away(shelf: Shelf) -> None:
    """A laptop removes the stolen phone."""
    shelf.add(occurrence("laptop", "alice", at_ms=AT_MS + 1))
    assert shelf.reason(removal("phone", "laptop")) is Reason.REMOVAL_NOT_VOUCHED, "it was none"
    shelf.add(occurrence("laptop", "alice"))
    assert shelf.reason(removal("phone", "laptop")) is Reason.NONE


# -- where somebody is ---------------------------------------------------------------------------


def test_the_subject_says_where_it_is(shelf: Shelf) -> None:
    assert shelf.reason(located("alice")) is Reason.NONE


def test_a_delegate_says_it(shelf: Shelf) -> None:
    record = located("mallory")
    finding = shelf.asks(record)
    assert finding.reason is Reason.NOT_DELEGATED
    assert finding.waits_for == (delegation_token(key_id("alice"), key_id("mallory")),)
    shelf.add(acts_for("alice", "mallory", "infra:attest"))
    assert shelf.reason(record) is Reason.NOT_DELEGATED, "another scope"
    shelf.add(acts_for("alice", "mallory"))
    assert shelf.reason(record) is Reason.NONE


def test_a_delegates_delegate_does_not(shelf: Shelf) -> None:
    shelf.add(acts_for("alice", "laptop"), acts_for("laptop", "phone"))
    assert shelf.reason(located("phone")) is Reason.NOT_DELEGATED


def test_the_subject_is_known(shelf: Shelf) -> None:
    finding = shelf.asks(located("mallory", subject="stranger"))
    assert finding.reason is Reason.KEY_UNKNOWN
    assert finding.waits_for == (key_token(key_id("stranger")),)


@pytest.mark.parametrize(
    ("cell", "resolution", "reason"),
    [
        (CELL, 7, Reason.NONE),
        ("832830fffffffff", 3, Reason.NONE),
        (FINER, 8, Reason.LOCATION_TOO_PRECISE),
        ("8f28308280f18f2", 15, Reason.LOCATION_TOO_PRECISE),
        (CELL, 6, Reason.CELL_MALFORMED),
        (FINER, 7, Reason.CELL_MALFORMED),
        (CELL.upper(), 7, Reason.CELL_MALFORMED),
        ("0" * 15, 0, Reason.CELL_MALFORMED),
        ("", 7, Reason.CELL_MALFORMED),
    ],
)
def test_a_cell_is_valid_says_its_resolution_and_is_coarse(
    shelf: Shelf, cell: str, resolution: int, reason: Reason
) -> None:
    assert shelf.reason(located("alice", cell=cell, resolution=resolution)) is reason
