"""What waits for other records, as a table. ASCII; 80 columns unless it may be wide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.table import Table

from ciris_mesh.ui.tables import grid
from ciris_mesh.ui.words import age, cut, instant, plain, short_id

#: Beginning of a token (`records.tokens`) -> what it means to a person. Of the values behind it the
#: last says most: of whom, or of which group.
_PREREQUISITES: Final = {
    "key": "the key {}",
    "selfkey": "what {} says it is",
    "attestation": "the attestation {}",
    "identity_occurrence": "{} as an occurrence",
    "identity_occurrence_revocation": "another signature on it",
    "family": "the family {}",
    "community": "the community {}",
    "family_membership_revocation": "who left the family {}",
    "community_membership_revocation": "who left the community {}",
    "location_proof": "where {} is",
    "organization": "the organization {}",
    "org_membership": "an admin's grant to {}",
    "delegation": "a delegation to {}",
    "member": "a roster that lists {}",
    "rooted": "a steward's word for {}",
    "stewards": "another rooted steward",
}
_FOR_CHARS: Final = 26
_NAME_CHARS: Final = 9


def waiting_table(rows: Iterable[Mapping[str, Any]], now_ms: int, *, wide: bool) -> Table:
    """One line for each record, rows of `records --waiting --json`.

    Args:
        now_ms: Unix ms by the clock here.
        wide: nothing is shortened, and everything is named that is waited for.
    """
    table = grid("id", "kind", "signed by", "from", "waits", "for")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        since_ms, signers = row["since_ms"], list(map(str, row["signers"]))
        by = ", ".join(signers) if wide else cut(signers[0] if signers else "", _NAME_CHARS)
        source = str(row["peer"] or row["path"])
        table.add_row(
            row["envelope_id"] if wide else short_id(row["envelope_id"]),
            plain(row["kind"] if wide else cut(row["kind"], 11)),
            plain(by),
            plain(source if wide else cut(source, _NAME_CHARS)),
            "?" if since_ms is None else age(max(0, now_ms - since_ms) / 1000),
            plain(_what_for(row, wide=wide)),
        )
    return table


def _what_for(row: Mapping[str, Any], *, wide: bool) -> str:
    if row["not_before_ms"]:
        return f"its time, {instant(row['not_before_ms'])[:16]}"
    found = list(dict.fromkeys(map(prerequisite, row["waits_for"]))) or ["another look"]
    if wide:
        return ", ".join(found)
    more = f" +{len(found) - 1}" if len(found) > 1 else ""
    return cut(found[0], _FOR_CHARS - len(more)) + more


def prerequisite(token: str) -> str:
    """What a token stands for; the token itself where that is not known."""
    word, _, values = token.partition(":")
    form = _PREREQUISITES.get(word)
    return form.format(values.rpartition("|")[2]) if form is not None else token
