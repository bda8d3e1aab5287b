"""What records have to do with each other, as SQL: tokens, strangers' shares, what relies on what.

A part of every SQL store, apart because it is another subject than rows and pools.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Final

from ciris_mesh.directory.base import RowHead, Shelf, StoredRow
from ciris_mesh.directory.sql_inserts import Inserts, Sql
from ciris_mesh.directory.store import Name
from ciris_mesh.records.kinds import KINDS, EnvelopeKind

ROW: Final = (
    "position, kind, envelope_id, shelf, seq, subject, signers, bytes, admitted_at_ms, introduced "
    "FROM record JOIN envelope USING (position)"
)

_HEAD: Final = (
    "SELECT kind, envelope_id, seq, subject, signers, introduced FROM record WHERE shelf = 2"
)

_KIND_OF: Final = {spec.number: kind for kind, spec in KINDS.items()}
_SHELF_OF: Final = {int(shelf): shelf for shelf in Shelf}

#: Few sign much: most rows have signers that were just looked at.
_STRINGS_REMEMBERED: Final = 256

#: SQLite's oldest supported limit is 999 variables in a statement.
VALUES_MAX: Final = 900

#: A row's position by its name.
_POSITION: Final = "(SELECT position FROM record WHERE kind = ? AND envelope_id = ?)"


class References(ABC):
    """What an engine has to add, and the operations of `Store` on references.

    Inserts are kept back (`Inserts`): an engine calls `_write_inserts` before it runs any other
    statement of the transaction, and at its end.
    """

    _inserts: Inserts  # of the running transaction, not executed yet

    @abstractmethod
    def _inserting(self) -> Inserts:
        """Where inserts of the running transaction go."""

    @abstractmethod
    def _write(self, sql: str, values: Sql) -> None:
        """Inside the running transaction."""

    @abstractmethod
    def _write_many(self, sql: str, rows: Iterable[Sql]) -> None:
        """As `_write`, once for each of `rows`, in order."""

    @abstractmethod
    def _read(self, sql: str, values: Sql = ()) -> list[Sql]:
        """Inside the running transaction when this thread has one."""

    def _write_inserts(self) -> None:
        """Execute what was kept back."""
        inserts = self._inserts
        if inserts.is_empty:
            return
        self._inserts = Inserts()
        for sql, values in inserts.statements():
            self._write(sql, values)
        for sql, rows in inserts.placed(self._positions(inserts.names())):
            if rows:
                self._write_many(sql, rows)

    def _positions(self, names: Iterable[Name]) -> dict[Name, int]:
        ids: dict[EnvelopeKind, list[bytes]] = {}
        for kind, envelope_id in names:
            ids.setdefault(kind, []).append(envelope_id)
        found: dict[Name, int] = {}
        for kind, asked in ids.items():
            for at in range(0, len(asked), VALUES_MAX):
                part = asked[at : at + VALUES_MAX]
                rows = self._read(
                    f"SELECT envelope_id, position FROM record WHERE {among(kind, part)}",
                    tuple(part),
                )
                found |= {(kind, envelope_id): position for envelope_id, position in rows}
        return found

    @abstractmethod
    def _stream(self, sql: str, values: Sql = ()) -> AbstractContextManager[Iterator[Sql]]:
        """Committed rows one by one, so that memory does not depend on how many there are."""

    def _name(self, token: str) -> str:
        """A token or name as the index has it."""
        return token

    def _count(self, sql: str, values: Sql) -> int:
        return int(self._read(f"SELECT count(*) FROM ({sql}) AS counted", values)[0][0])

    def publish(self, row: StoredRow, tokens: Sequence[str]) -> None:
        """See Store."""
        self._inserting().answers.append(
            ((row.kind, row.envelope_id), list(map(self._name, tokens)))
        )

    def named(self, token: str, *, limit: int, after: int) -> list[tuple[int, StoredRow]]:
        """See Store."""
        found = self._read(
            f"SELECT {ROW} WHERE position IN (SELECT position FROM answer WHERE token = ? "
            "AND position > ? ORDER BY position LIMIT ?) ORDER BY position",
            (self._name(token), after, max(0, limit)),
        )
        return [(row[0], stored_row(row)) for row in found]

    def shelved(self, token: str, *, federation: bool, limit: int) -> list[StoredRow]:
        """See Store."""
        found = self._read(
            f"SELECT {ROW} WHERE position IN (SELECT position FROM answer "
            f"JOIN record USING (position) WHERE token = ? AND shelf {'=' if federation else '<>'} "
            "2 ORDER BY position LIMIT ?) ORDER BY position",
            (self._name(token), max(0, limit)),
        )
        return list(map(stored_row, found))

    def signers_named(self, token: str, *, limit: int) -> list[tuple[str, ...]]:
        """See Store."""
        found = self._read(
            "SELECT signers FROM answer JOIN record USING (position) "
            "WHERE token = ? AND shelf = 2 ORDER BY position LIMIT ?",
            (self._name(token), max(0, limit)),
        )
        return [strings(signers) for (signers,) in found]

    def subjects(self, token: str, *, limit: int, after: int) -> list[tuple[int, str]]:
        """See Store."""
        return self._read(
            "SELECT position, subject FROM answer JOIN record USING (position) "
            "WHERE token = ? AND position > ? ORDER BY position LIMIT ?",
            (self._name(token), after, max(0, limit)),
        )

    def ids(self, token: str, *, limit: int, after: int) -> list[tuple[int, EnvelopeKind, bytes]]:
        """See Store."""
        found = self._read(
            "SELECT position, kind, envelope_id FROM answer JOIN record USING (position) "
            "WHERE token = ? AND position > ? ORDER BY position LIMIT ?",
            (self._name(token), after, max(0, limit)),
        )
        return [(position, _KIND_OF[kind], envelope_id) for position, kind, envelope_id in found]

    def heads(self, kind: EnvelopeKind) -> list[RowHead]:
        """See Store."""
        return list(map(_head, self._read(f"{_HEAD} AND kind = ?", (KINDS[kind].number,))))

    def heads_named(self, names: Sequence[str]) -> list[RowHead]:
        """See Store."""
        found = list(map(self._name, names))
        return self._heads("SELECT position FROM answer WHERE token IN", "", found)

    def answered(self, tokens: Sequence[str]) -> frozenset[str]:
        """See Store."""
        asked = {self._name(token): token for token in tokens}
        names, found = list(asked), list[Sql]()
        for at in range(0, len(names), VALUES_MAX):
            part = tuple(names[at : at + VALUES_MAX])
            marks = ",".join("?" * len(part))
            found += self._read(
                "SELECT DISTINCT token FROM answer JOIN record USING (position) "
                f"WHERE token IN ({marks})",
                part,
            )
        return frozenset(asked[name] for (name,) in found)

    def heads_relied(self, names: Sequence[Name]) -> list[RowHead]:
        """See Store."""
        heads: dict[Name, RowHead] = {}
        for kind in dict.fromkeys(kind for kind, _ in names):
            found = self._heads(
                "SELECT on_position FROM relied WHERE position IN "
                f"(SELECT position FROM record WHERE kind = {KINDS[kind].number} "
                "AND envelope_id IN",
                ")",
                [envelope_id for each, envelope_id in names if each is kind],
            )
            heads |= {(one.kind, one.envelope_id): one for one in found}
        return list(heads.values())

    def _heads(self, before: str, behind: str, values: Sequence[str | bytes]) -> list[RowHead]:
        """Rows at the positions a query finds, which asks for any of these values."""
        heads: dict[Name, RowHead] = {}
        for at in range(0, len(values), VALUES_MAX):
            part = tuple(values[at : at + VALUES_MAX])
            marks = ",".join("?" * len(part))
            rows = self._read(f"{_HEAD} AND position IN ({before} ({marks}){behind})", part)
            heads |= {(one.kind, one.envelope_id): one for one in map(_head, rows)}
        return list(heads.values())

    def idle_ids(self, first: str, end: str, kinds: Collection[EnvelopeKind]) -> list[bytes]:
        """See Store."""
        numbers = ",".join(str(KINDS[kind].number) for kind in kinds) or "NULL"
        found = self._read(
            "SELECT envelope_id FROM answer JOIN record USING (position) "
            "WHERE token >= ? AND token < ? AND shelf = 2 AND NOT EXISTS ("
            "SELECT 1 FROM relied JOIN record AS one ON one.position = relied.position "
            f"WHERE on_position = answer.position AND one.kind IN ({numbers}))",
            (first, end),
        )
        return [envelope_id for (envelope_id,) in found]

    def note_stranger(self, row: StoredRow, peer: str, signer: str) -> None:
        """See Store."""
        self._inserting().strangers.append(((row.kind, row.envelope_id), peer, signer))

    def charged_to(self, name: Name) -> str:
        """See Store."""
        found = self._read(f"SELECT peer FROM stranger WHERE position = {_POSITION}", _values(name))
        return next((str(peer) for (peer,) in found), "")

    def strangers_of(self, peer: str, *, limit: int) -> int:
        """See Store."""
        return self._count("SELECT 1 FROM stranger WHERE peer = ? LIMIT ?", (peer, limit))

    def strangers_by(self, signer: str, *, limit: int) -> int:
        """See Store."""
        return self._count("SELECT 1 FROM stranger WHERE signer = ? LIMIT ?", (signer, limit))

    def stranger_signers(self) -> frozenset[str]:
        """See Store."""
        return frozenset(signer for (signer,) in self._read("SELECT DISTINCT signer FROM stranger"))

    def strangers_named(self, signer: str) -> list[Name]:
        """See Store."""
        found = self._read(
            "SELECT kind, envelope_id FROM stranger JOIN record USING (position) WHERE signer = ?",
            (signer,),
        )
        return [(_KIND_OF[kind], envelope_id) for kind, envelope_id in found]

    def drop_stranger(self, name: Name) -> None:
        """See Store."""
        self._write(f"DELETE FROM stranger WHERE position = {_POSITION}", _values(name))

    def key_name(self, key_id: str) -> Name | None:
        """See Store."""
        found = self._read(
            "SELECT envelope_id FROM record WHERE kind = 1 AND shelf = 2 AND subject = ? "
            "ORDER BY position LIMIT 1",
            (key_id,),
        )
        return (EnvelopeKind.KEY, found[0][0]) if found else None

    def rely(self, name: Name, on: Sequence[Name]) -> None:
        """See Store."""
        self._inserting().relied.append((name, on))

    def not_introduced(self, names: Sequence[Name]) -> list[Name]:
        """See Store."""
        found: dict[Name, None] = {}
        for kind in dict.fromkeys(kind for kind, _ in names):
            ids = [envelope_id for each, envelope_id in names if each is kind]
            for at in range(0, len(ids), VALUES_MAX):
                part = tuple(ids[at : at + VALUES_MAX])
                rows = self._read(
                    "SELECT kind, envelope_id FROM record WHERE introduced = 0 AND position IN "
                    "(SELECT on_position FROM relied WHERE position IN (SELECT position FROM record"
                    f" WHERE kind = {KINDS[kind].number} AND envelope_id IN "
                    f"({','.join('?' * len(part))})))",
                    part,
                )
                found |= dict.fromkeys((_KIND_OF[number], id_) for number, id_ in rows)
        return list(found)

    def introduce(self, names: Sequence[Name]) -> None:
        """See Store."""
        self._write_many(
            "UPDATE record SET introduced = 1 WHERE kind = ? AND envelope_id = ?",
            map(_values, names),
        )


def among(kind: EnvelopeKind, ids: Sequence[bytes]) -> str:
    """The condition for rows of these ids, which are to be bound.

    The kind is written out: as a variable it might fit an index that is for one kind alone, so
    SQLite would compile the statement again for each execution.
    """
    return f"kind = {KINDS[kind].number} AND envelope_id IN ({','.join('?' * len(ids))})"


def _values(name: Name) -> Sql:
    kind, envelope_id = name
    return KINDS[kind].number, envelope_id


def _head(row: Sql) -> RowHead:
    number, envelope_id, seq, subject, signers, introduced = row
    kind = _KIND_OF[number]
    return RowHead(kind, envelope_id, seq, subject, strings(signers), bool(introduced))


@lru_cache(_STRINGS_REMEMBERED)
def strings(text: str) -> tuple[str, ...]:
    """A column that holds a JSON list of strings."""
    return tuple(json.loads(text))


def stored_row(row: Sql) -> StoredRow:
    """A row as `ROW` selects it."""
    _, kind, envelope_id, shelf, seq, subject, signers, envelope, admitted_at_ms, introduced = row
    return StoredRow(
        kind=_KIND_OF[kind],
        envelope_id=envelope_id,
        shelf=_SHELF_OF[shelf],
        seq=seq,
        subject=subject,
        signers=strings(signers),
        envelope=envelope,
        admitted_at_ms=admitted_at_ms,
        introduced=bool(introduced),
    )
