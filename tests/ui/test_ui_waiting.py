"""What waits, in words and in 80 columns."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ciris_mesh.records import tokens
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.waiting import prerequisite, waiting_table

K = EnvelopeKind
NOW_MS = 1_800_000_000_000
ROW: dict[str, Any] = {
    "position": 1,
    "kind": K.IDENTITY_OCCURRENCE_REVOCATION.value,
    "envelope_id": "ab" * 32,
    "signers": ["alice-aaaaaaaaaaaaaaaa", "bob-bbbbbbbbbbbbbbbb"],
    "path": "peer",
    "peer": "carol-cccccccccccccccc",
    "waits_for": [tokens.key_token("bob-bbbbbbbbbbbbbbbb"), tokens.STEWARDS],
    "not_before_ms": None,
    "since_ms": NOW_MS - 7_200_000,
    "bytes": 5000,
}


def text(*rows: dict[str, Any], wide: bool = False) -> str:
    out = io.StringIO()
    console = make_console(out)
    console.width = 10_000 if wide else 80
    console.print(waiting_table(rows, NOW_MS, wide=wide))
    return out.getvalue()


def test_a_line_says_whose_it_is_how_long_it_waits_and_for_what() -> None:
    shown = text(ROW)
    assert max(map(len, shown.splitlines())) <= 80
    for told in ("abab", "alice", "carol", "2 h", "the key bob-", "+1"):
        assert told in shown
    wide = text(ROW, wide=True)
    for told in (ROW["envelope_id"], *ROW["signers"], ROW["peer"], "another rooted steward"):
        assert told in wide


def test_what_is_not_known_is_said_to_be() -> None:
    own = {**ROW, "peer": "", "path": "own", "since_ms": None, "waits_for": [], "signers": []}
    shown = text(own)
    assert "own" in shown
    assert "?" in shown
    assert "another look" in shown
    ahead = text({**own, "not_before_ms": NOW_MS})
    assert "its time, 2027-01-15 08:00" in ahead
    assert "2 h" not in text({**ROW, "since_ms": NOW_MS + 5_000}), "a clock that was set back"


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_every_token_of_a_kind_has_words(kind: EnvelopeKind) -> None:
    if kind in (K.REVOCATION, K.PARTNER_RECORD):
        return  # nobody's prerequisite
    token = tokens.token(kind, "one", "two")
    assert prerequisite(token) != token


def test_the_other_tokens_have_words_too() -> None:
    found = [
        tokens.self_key_token("bob"),
        tokens.delegation_token("alice", "bob"),
        tokens.rooted_token("bob"),
        tokens.member_token(K.FAMILY, "f", "bob"),
    ]
    assert all("bob" in prerequisite(one) for one in found)
    assert prerequisite(tokens.STEWARDS) == "another rooted steward"
    assert prerequisite("newer:thing") == "newer:thing"
