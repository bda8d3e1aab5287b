"""Questions put to a directory, and what the staleness board says beside the answer."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.protocol.report import BoundedBy, InSync
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.resolve.base import Status
from ciris_mesh.records.resolve.freshness import Confirmed, FreshnessWord
from ciris_mesh.records.resolve.table import Answer
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.runtime.resolving import (
    SUBJECT_CHARS_MAX,
    DirectoryRows,
    answer,
    confirmations,
)
from ciris_mesh.runtime.staleness import StalenessBoard
from support.keys import alice, key
from support.records import AT_MS, sample, trust_in

K = EnvelopeKind
ME = alice().key_id
TRUST = trust_in(alice())


@pytest.fixture
def directory() -> MemoryDirectory:
    """alice's key and her organization."""
    directory = MemoryDirectory(trust=TRUST)
    for kind in (K.KEY, K.ORGANIZATION, K.ORG_MEMBERSHIP):
        verdict = directory.admit(kind, sample(kind, alice()), Source("own"), now_ms=AT_MS)
        assert verdict.outcome.value == "admitted", verdict
    return directory


def put(directory: MemoryDirectory, question: str, subject: str, **more: Any) -> Answer:
    given = {"now_ms": AT_MS + 60_000, "tau_partial_s": 300.0}
    return answer(directory, TRUST, question, subject, **{**given, **more})


def test_a_question_is_answered_for_now_or_for_a_time(directory: MemoryDirectory) -> None:
    now = put(directory, "key", ME)
    assert (now.status, now.as_of) == (Status.VALID, from_unix_ms(AT_MS + 60_000))
    before = put(directory, "key", ME, at=from_unix_ms(AT_MS - 1))
    assert (before.status, before.as_of) == (Status.NOT_YET_VALID, from_unix_ms(AT_MS - 1))
    assert now.freshness.word is FreshnessWord.ALONE


def test_a_second_name_goes_with_memberships_alone(directory: MemoryDirectory) -> None:
    org = f"org-0-{ME}"
    assert put(directory, "membership", org, more=ME).status is Status.VALID
    with pytest.raises(OperatorError, match="membership takes a second name, the member"):
        put(directory, "membership", org)
    with pytest.raises(OperatorError, match="key takes one name only"):
        put(directory, "key", ME, more=ME)


def test_what_cannot_be_asked_is_refused_with_what_can(directory: MemoryDirectory) -> None:
    with pytest.raises(OperatorError, match="unknown question 'why'; one of: key, chain"):
        put(directory, "why", ME)
    with pytest.raises(OperatorError, match="key needs a name"):
        put(directory, "key", "")
    assert put(directory, "revoked", "").status is Status.EMPTY
    with pytest.raises(OperatorError, match="'noon' is no time; write it like 2027"):
        put(directory, "key", ME, at="noon")
    assert put(directory, "key", "x" * SUBJECT_CHARS_MAX).status is Status.UNKNOWN
    with pytest.raises(OperatorError, match="at most 512 characters"):
        put(directory, "key", "x" * (SUBJECT_CHARS_MAX + 1))


def test_rows_come_with_their_shelf(directory: MemoryDirectory) -> None:
    (row,) = DirectoryRows(directory).named(f"key={ME}", limit=9)
    assert (row.envelope.kind, row.shelf) == (K.KEY, "federation")
    assert DirectoryRows(directory).named(f"key={ME}", limit=0) == []


def test_what_peers_confirmed_goes_with_the_answer(directory: MemoryDirectory) -> None:
    now_s = 1000.0
    board = StalenessBoard(lambda: now_s, tau_partial_s=300.0)
    hub, relay = key("hub").key_id, key("relay").key_id
    board.post(hub, K.KEY, InSync())
    board.post(hub, K.REVOCATION, InSync())
    now_s = 1040.0
    board.post(hub, K.REVOCATION, BoundedBy(missing=2))
    board.post(relay, K.REVOCATION, InSync())
    known = confirmations(board, [hub, relay])
    assert len(known) == 2 * len(EnvelopeKind)
    assert Confirmed(hub, K.KEY, 40.0, 0) in known
    assert Confirmed(hub, K.REVOCATION, 40.0, 2) in known
    assert Confirmed(relay, K.KEY, None, None) in known
    told = put(directory, "key", ME, confirmed=known, tau_partial_s=board.tau_partial_s).freshness
    assert (told.word, told.peers, told.age_s) == (FreshnessWord.FRESH, 2, 40.0)
    now_s = 1301.0
    late = confirmations(board, [hub, relay])
    told = put(directory, "key", ME, confirmed=late).freshness
    assert (told.word, told.behind) == (FreshnessWord.PARTIAL, ("key",))
