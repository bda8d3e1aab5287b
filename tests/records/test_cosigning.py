"""Two copies of one record become one: who stays when not all signatures fit."""

from __future__ import annotations

from ciris_mesh.records.cosigning import joined, only_signed_by
from ciris_mesh.records.envelope import ENVELOPE_BYTES_MAX, Envelope
from support.rulebook import K, countersigned, key_id, made

#: Their ids sort before those of alice and bob; thirteen and two more of this record fit.
CROWD = tuple(f"a{n:02d}" for n in range(16))


def record(*by: str) -> Envelope:
    """That bob's phone is gone: it names alice and bob."""
    given = {"identity_key_id": key_id("alice"), "occurrence_key_id": key_id("bob")}
    made_ = made(K.IDENTITY_OCCURRENCE_REVOCATION, given, "alice")
    return countersigned(made_, *by, alone=True)


def names(*who: str) -> tuple[str, ...]:
    return tuple(sorted(map(key_id, who)))


def equal(name: str) -> int:
    return 0


def always(fewer: Envelope) -> bool:
    return True


def test_what_fits_is_all_kept_and_nobody_is_asked() -> None:
    one, other = record("alice", "bob"), record("bob", "carol")

    def never(fewer: Envelope) -> bool:
        raise AssertionError("nothing is left out")

    both = joined(one, other, equal, never)
    assert both.signers == names("alice", "bob", "carol")
    assert joined(other, one, equal, never).raw == both.raw
    assert both.envelope_id == one.envelope_id
    assert only_signed_by(both, names("bob", "dave")).raw == record("bob").raw


def test_of_too_many_those_named_stay_then_the_smallest_ids() -> None:
    both = joined(record(*CROWD[3:]), record("alice", "bob", *CROWD[:3]), equal, always)
    assert len(both.raw) <= ENVELOPE_BYTES_MAX
    assert both.signers == tuple(sorted((*names("alice", "bob"), *names(*CROWD)[:12])))


def test_worth_comes_before_names_and_ids() -> None:
    worthy = {*names("carol", "dave"), *names(*CROWD[:10])}
    best = key_id("erin")

    def worth(name: str) -> int:
        return 2 if name == best else int(name in worthy)

    both = joined(record(*CROWD[:14]), record("alice", "carol", "dave", "erin"), worth, always)
    assert len(both.signers) == 14
    assert {best, key_id("alice")} | worthy == set(both.signers)


def test_nobody_goes_without_whom_it_would_not_stand() -> None:
    needed = names("zoe")[0]

    def stands(fewer: Envelope) -> bool:
        return needed in fewer.signers

    both = joined(record("zoe"), record(*CROWD[:14]), equal, stands)
    assert both.signers == (*names(*CROWD)[:13], needed)


def test_where_nobody_can_be_spared_ours_stays() -> None:
    ours = record("alice")
    kept = joined(ours, record(*CROWD[:14]), equal, lambda fewer: False)
    assert kept is ours
