"""Scopes: their hashes are on the wire, their kinds and terms decide what two nodes compare."""

from __future__ import annotations

import hashlib

import pytest

from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.scope import (
    ALL,
    COMMUNITIES_MAX,
    COMMUNITY_ID_BYTES_MAX,
    DAYS_KEPT,
    SCOPE_BYTES_MAX,
    TRUST,
    Terms,
    communities,
    read_spelled,
    terms_of,
)

K = EnvelopeKind
RIVER, BOTH = communities(["river-3def"]), communities(["river-3def", "hill-2abc"])


def test_hashes_are_as_the_wire_has_them() -> None:
    for scope, spelled in (
        (ALL, b"all"),
        (TRUST, b"trust"),
        (BOTH, b"communities\0hill-2abc\0river-3def"),
    ):
        assert scope.hash8 == hashlib.sha256(spelled).digest()[:8]


def test_a_scope_has_one_spelling_whatever_the_order() -> None:
    assert communities(["river-3def", "hill-2abc", "river-3def"]) == BOTH
    assert read_spelled(BOTH.spelled) == BOTH


def test_the_longest_scope_fits_its_frame_and_no_longer_one_is_made() -> None:
    longest = [f"{n}-".ljust(COMMUNITY_ID_BYTES_MAX, "x") for n in range(COMMUNITIES_MAX)]
    assert len(communities(longest).spelled) <= SCOPE_BYTES_MAX
    for ids in ([], [*longest, "one-more"], [""], ["x" * 129], ["a\nb"], ["a\0b"]):
        with pytest.raises(ValueError, match=r"communities|printable"):
            communities(ids)


def test_trust_has_all_removals_and_what_they_take() -> None:
    assert {kind for kind in K if KINDS[kind].is_removal} <= TRUST.whole
    assert TRUST.kinds - TRUST.whole == {K.FAMILY, K.COMMUNITY, K.LOCATION_PROOF}
    assert K.ATTESTATION not in TRUST.kinds


def test_what_both_want_is_common() -> None:
    assert terms_of(ALL, ALL, 9) == Terms(frozenset(), 9)
    terms = terms_of(TRUST, RIVER, 9)
    assert terms == terms_of(RIVER, TRUST, 9)
    assert terms.kinds == TRUST.kinds & RIVER.kinds
    assert not terms.takes_whole(K.KEY)
    assert terms_of(ALL, TRUST, 9).takes_whole(K.KEY)
    assert not terms_of(ALL, TRUST, 9).takes_whole(K.FAMILY)


def test_nothing_is_too_old_for_a_node_without_a_clock() -> None:
    assert Terms().first_day == Terms(day=DAYS_KEPT).first_day == 0
    assert Terms(day=DAYS_KEPT + 5).first_day == 5
