"""Which dimensions are reserved: the quick look says what taking the dimension apart would say."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.records.rules.attestations import RESERVED_DIMENSIONS, reserved_for


def taken_apart(dimension: str) -> str | None:
    """By the words alone, every time."""

    def words(text: str) -> list[str]:
        return [word for word in re.split(r"[^a-z0-9_]+", text.lower()) if word]

    asked = words(dimension)
    for prefix, type_ in RESERVED_DIMENSIONS.items():
        if asked[: len(words(prefix))] == words(prefix):
            return type_
    return None


PIECES = st.sampled_from(
    [
        *(word for prefix in RESERVED_DIMENSIONS for word in prefix.split(":")),
        *("ACCORD", "Substrate", "s", "_", "0", "x"),
        *(":", ".", "/", "-", " ", "\n", "::"),
        # Letters that are, or are not, ASCII once they are small.
        *("\u212a", "\u017f", "\u0130", "ccord", "ub\u017ftrate", "\U0001d41a"),
    ]
)


@given(st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=30))
@example("\u017faccord:x")
@example("\u017f:accord:x")
@example("::accord")
@example("transparency_log:cosigned:x")
def test_a_quick_look_and_taking_it_apart_agree(dimension: str) -> None:
    assert reserved_for(dimension) == taken_apart(dimension)
