"""A node whose clock nobody vouches for: what two rooted keys signed shows that time went on."""

from __future__ import annotations

import pytest

from ciris_mesh.directory.admission import SKEW_MS
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.authoring import author
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.clock import BUILD_DATE_MS, ManualClock, signing_allowed, untrusted
from support import rulebook
from support.keys import key, steward
from support.records import AT_MS
from support.rulebook import really_signed

K = EnvelopeKind
HUB = Source("peer", "hub")
DAY_MS = 86_400_000
TRUST = Trust(roots={steward().key_id: steward().public.fingerprint})


def key_record(of: str, by: str = "", identity_type: str = "agent") -> bytes:
    ref = f"{of} by {by} as {identity_type}"
    return really_signed(rulebook.key_record(of, identity_type, by=by, ref=ref))


def directory(*, doubted: bool = True) -> DirectoryCore:
    """It knows a steward, alice whom the steward vouched for, and carol, a stranger to both."""
    made = MemoryDirectory(trust=TRUST)
    made.doubt_clock(lambda: doubted)
    for raw in (
        key_record("steward", identity_type="steward"),
        key_record("alice", by="steward"),
    ):
        assert made.admit(K.KEY, raw, HUB, now_ms=AT_MS).outcome is Outcome.ADMITTED
    return made


def signed(by: str, days: float, n: int = 0) -> bytes:
    columns = {"revoked_key_id": f"lost-{by}-{n}", "reason": "lost"}
    return author(K.REVOCATION, columns, key(by), at_ms=round(AT_MS + days * DAY_MS))


def offer(made: DirectoryCore, raw: bytes) -> tuple[Outcome, Reason]:
    verdict = made.admit(K.REVOCATION, raw, HUB, now_ms=AT_MS)
    return verdict.outcome, verdict.reason


AHEAD = (Outcome.DEFERRED, Reason.TIME_AHEAD)


def test_one_key_shows_nothing_and_two_show_the_earlier_of_both() -> None:
    made = directory()
    assert offer(made, signed("alice", 90)) == AHEAD
    assert offer(made, signed("alice", 91, 1)) == AHEAD
    made.retry_due(AT_MS)
    assert made.not_before_ms() == 0, "one key, however often"
    assert offer(made, signed("steward", 30)) == AHEAD
    made.retry_due(AT_MS)
    assert made.not_before_ms() == AT_MS + 30 * DAY_MS - SKEW_MS
    assert made.digest(K.REVOCATION).count == 1, "what both leave no doubt of is taken"
    assert offer(made, signed("alice", 20, 2))[0] is Outcome.ADMITTED
    assert offer(made, signed("alice", 40, 3)) == AHEAD


def test_strangers_show_nothing() -> None:
    made = directory()
    made.admit(K.KEY, key_record("carol"), HUB, now_ms=AT_MS)
    for by in ("carol", "alice"):
        offer(made, signed(by, 90))
    made.retry_due(AT_MS)
    assert made.not_before_ms() == 0


def test_a_clock_somebody_vouches_for_is_never_overruled() -> None:
    made = directory(doubted=False)
    for by in ("steward", "alice"):
        assert offer(made, signed(by, 90)) == AHEAD
    made.retry_due(AT_MS)
    assert made.not_before_ms() == 0
    assert made.digest(K.REVOCATION).count == 0


def test_the_bound_never_falls() -> None:
    made = directory()
    for by, days in (("steward", 60), ("alice", 60)):
        offer(made, signed(by, days))
    made.retry_due(AT_MS)
    before = made.not_before_ms()
    for by in ("steward", "alice"):
        offer(made, signed(by, 1, 9))
    made.retry_due(AT_MS)
    assert made.not_before_ms() == before == AT_MS + 60 * DAY_MS - SKEW_MS


@pytest.mark.parametrize("vouched", [True, False])
def test_it_makes_no_clock_trusted(vouched: bool) -> None:
    later = BUILD_DATE_MS + 30 * DAY_MS
    clock = ManualClock(wall_ms=later, source="ntp" if vouched else "")
    assert (untrusted(clock, not_before_ms=later) == "") is vouched
    assert signing_allowed(clock) is vouched
