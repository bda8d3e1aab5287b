"""Inserts of one transaction, kept back until somebody looks or it ends.

A call costs as much as the row, and a batch has hundreds: so those of one statement run together.
Rows name each other by kind and envelope id while they are kept; records are inserted first, then
one look finds the positions of all that is named, and the others are inserted by those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from ciris_mesh.directory.store import Name
from ciris_mesh.errors import DirectoryError

Sql = tuple[Any, ...]

_INSERT_RECORDS: Final = (
    "INSERT INTO record (kind, envelope_id, shelf, seq, subject, signers, admitted_at_ms) VALUES "
)
_RECORD: Final = "(?, ?, ?, ?, ?, ?, ?)"

#: Records in one statement, since SQLite looks after their positions once for each: that is a
#: quarter of what one costs. So there are as many statements to keep compiled, and no more.
_RECORDS_AT_ONCE: Final = 16


@dataclass(slots=True)
class Inserts:
    """What is to be inserted.

    Attributes:
        records: their columns.
        envelopes: rows and their bytes.
        answers: rows and what they answer to.
        strangers: rows, who brought them and who signed them.
        relied: rows and those they relied on.
    """

    records: list[Sql] = field(default_factory=list)
    envelopes: list[tuple[Name, bytes]] = field(default_factory=list)
    answers: list[tuple[Name, Sequence[str]]] = field(default_factory=list)
    strangers: list[tuple[Name, str, str]] = field(default_factory=list)
    relied: list[tuple[Name, Sequence[Name]]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Is there nothing to do?"""
        return not (self.records or self.answers or self.strangers or self.relied)

    def statements(self) -> Iterator[tuple[str, Sql]]:
        """What inserts the records, and its values."""
        for at in range(0, len(self.records), _RECORDS_AT_ONCE):
            part = self.records[at : at + _RECORDS_AT_ONCE]
            sql = _INSERT_RECORDS + ", ".join([_RECORD] * len(part))
            yield sql, tuple(chain.from_iterable(part))

    def names(self) -> set[Name]:
        """All rows that are spoken of."""
        found = {name for name, _ in self.envelopes}
        found.update(name for name, _ in self.answers)
        found.update(name for name, _, _ in self.strangers)
        for name, on in self.relied:
            found.add(name)
            found.update(on)
        return found

    def placed(self, at: Mapping[Name, int]) -> Iterator[tuple[str, list[Sql]]]:
        """Statements and their rows, once it is known where everything is.

        Raises:
            DirectoryError: a row that is nowhere is spoken of: a bug in the caller.
        """
        try:
            yield (
                "INSERT INTO envelope VALUES (?, ?)",
                [(at[name], raw) for name, raw in self.envelopes],
            )
            yield (
                "INSERT INTO answer VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(token, at[name]) for name, tokens in self.answers for token in tokens],
            )
            yield (
                "INSERT INTO stranger VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(at[name], peer, signer) for name, peer, signer in self.strangers],
            )
            yield (
                "INSERT INTO relied VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(at[name], at[other]) for name, on in self.relied for other in on],
            )
        except KeyError as error:
            raise DirectoryError(f"there is no row {error} to say more about") from None
