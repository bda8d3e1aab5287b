"""Freshness: what peers confirmed, against tau_partial."""

from __future__ import annotations

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.resolve.freshness import Confirmed, FreshnessWord, freshness

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY
TAU_S = 300.0


def confirmed(
    kind: EnvelopeKind, age_s: float | None, missing: int | None = 0, peer: str = "hub"
) -> Confirmed:
    return Confirmed(peer, kind, age_s, missing)


@pytest.mark.parametrize(
    ("known", "word", "behind", "age_s"),
    [
        ([], "alone", ("key", "family"), None),
        ([confirmed(KEY, 10), confirmed(FAMILY, 20)], "fresh", (), 20),
        ([confirmed(KEY, 10), confirmed(FAMILY, 300)], "partial", ("family",), 300),
        ([confirmed(KEY, 10)], "partial", ("family",), None),
        ([confirmed(KEY, 10), confirmed(FAMILY, 5, missing=2)], "partial", ("family",), None),
        ([confirmed(KEY, 10, None), confirmed(FAMILY, None)], "stale", ("key", "family"), None),
        ([confirmed(KEY, 900), confirmed(FAMILY, 301)], "stale", ("key", "family"), 900),
    ],
)
def test_the_word_and_what_is_behind_it(
    known: list[Confirmed], word: str, behind: tuple[str, ...], age_s: float | None
) -> None:
    told = freshness({KEY, FAMILY}, known, TAU_S)
    assert (told.word, told.behind, told.age_s) == (FreshnessWord(word), behind, age_s)
    assert told.tau_partial_s == TAU_S


def test_of_several_peers_the_freshest_counts_per_kind() -> None:
    known = [
        confirmed(KEY, 900, peer="a"),
        confirmed(KEY, 10, peer="b"),
        confirmed(FAMILY, 20, peer="a"),
        confirmed(FAMILY, None, None, peer="b"),
    ]
    told = freshness({KEY, FAMILY}, known, TAU_S)
    assert (told.word, told.peers, told.age_s) == (FreshnessWord.FRESH, 2, 20)


def test_only_what_the_answer_is_read_from_is_asked() -> None:
    assert freshness({KEY}, [confirmed(KEY, 1)], TAU_S).word is FreshnessWord.FRESH
    assert freshness({KEY}, [confirmed(FAMILY, 1)], TAU_S).word is FreshnessWord.STALE
