"""Slips of the pen in words that are free: what is signed stays, so they are looked for before."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.lookup import shown
from ciris_mesh.cli.stored import all_rows, envelope_texts, plain_record, stored_rows
from ciris_mesh.records.kinds import EnvelopeKind

#: Letters in common for a slip: two of eight may be swapped, another word is not taken for one.
_ALIKE: Final = 0.75
#: Looked through for what this node said before, the oldest first: four pages, half a second on a
#: small board.
_ROWS_MAX: Final = 2_000
#: Of its own among these, read whole: each is a question to the node.
_OWN_MAX: Final = 100


def require_scopes(scopes: Sequence[str]) -> None:
    """Refuse a scope that no rule here gives a meaning.

    Raises:
        Failure: there is one; the text has those that are known.
    """
    from ciris_mesh.records.delegation import (
        AGENCY_PREFIX,
        AGENCY_WORDS,
        INFRA_PREFIX,
        INFRA_WORDS,
        ScopeFamily,
        scope_family,
    )

    known = [
        *(AGENCY_PREFIX + word for word in sorted(AGENCY_WORDS)),
        *(INFRA_PREFIX + word for word in sorted(INFRA_WORDS)),
    ]
    for scope in scopes:
        if scope_family(scope) in (ScopeFamily.AGENCY, ScopeFamily.INFRA):
            continue
        near = _nearest(scope, known)
        raise Failure(
            f"the scope {shown(scope)} has no meaning here"
            + (f"; did you mean {near}? " if near else ". ")
            + f"Known: {', '.join(known)}. Nothing was signed; add --unknown if it is right"
        )


def dimension_hint(app: App, dimension: str, own_key_id: str) -> str:
    """What to look at before a dimension is signed; empty when this node used it before.

    Another version of one that is known, such as trust:field:v2, is no slip.
    """
    from ciris_mesh.records.rules.attestations import RESERVED_DIMENSIONS
    from ciris_mesh.ui.words import wrapped

    used = _used(app, own_key_id)
    if dimension in used:
        return ""
    near = _nearest(dimension, sorted(used))
    if near is None:
        first, _, rest = dimension.partition(":")
        if first not in RESERVED_DIMENSIONS and (word := _nearest(first, RESERVED_DIMENSIONS)):
            near = f"{word}:{rest}"
    if near is None:
        return ""
    return wrapped(
        f"Look at the dimension: this node never used {dimension}, and {near} is much like it."
    )


def _nearest(text: str, known: Iterable[str]) -> str | None:
    """The known word most like `text`; None when none is, or one differs in digits alone."""
    words = list(known)
    if _letters(text) in map(_letters, words):
        return None
    found = difflib.get_close_matches(text, words, n=1, cutoff=_ALIKE)
    return found[0] if found else None


def _letters(text: str) -> str:
    return "".join(char for char in text if not char.isdecimal())


def _used(app: App, own_key_id: str) -> set[str]:
    """Dimensions in which this node said something before."""
    kind = EnvelopeKind.ATTESTATION
    rows = itertools.islice(all_rows(stored_rows(app), kind.value), _ROWS_MAX)
    own = (row for row in rows if own_key_id in row.get("signers", ()))
    wanted = [(kind.value, row["envelope_id"]) for row in itertools.islice(own, _OWN_MAX)]
    said = (plain_record(kind, text) for text in envelope_texts(app, wanted) if text)
    members = (record.get("attestation_envelope") for record in said)
    return {
        str(each["dimension"]) for each in members if isinstance(each, dict) and "dimension" in each
    }
