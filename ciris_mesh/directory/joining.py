"""Copies of one record of kinds 4 to 10, which differ in who signed: whose signatures are kept.

Anybody may sign such a record and send it on under the same id. So only those signers are kept who
can matter to its rule (`counted`), from the first copy on; a signature of anybody else is dropped,
and where we hold the record it is not even verified. Who may yet come to matter waits beside it,
so that the order in which copies and facts arrive changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ciris_mesh.directory.base import StoredRow
from ciris_mesh.records.cosigning import joined
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.rules.base import Facts, Trust
from ciris_mesh.records.rules.table import judge_counted, judge_standing
from ciris_mesh.records.tokens import key_token


@dataclass(frozen=True, slots=True)
class Sifted:
    """The signers of one copy.

    Attributes:
        ready: who counts, whose key is here, and who is wanted.
        waits_for: tokens that could make more of them ready; empty when nothing could.
    """

    ready: frozenset[str]
    waits_for: tuple[str, ...]


class Joining:
    """Decides whose signatures stay. Reads only.

    Args:
        is_trusted: whose records this node passes on.
    """

    def __init__(self, facts: Facts, trust: Trust, is_trusted: Callable[[str], bool]) -> None:
        self._facts = facts
        self._trust = trust
        self._is_trusted = is_trusted

    def sift(
        self, envelope: Envelope, known: Collection[str], have: Collection[str] = ()
    ) -> Sifted:
        """Which signers of this copy are worth keeping.

        Args:
            known: whose keys are here.
            have: whose signatures we hold already.
        """
        counted = judge_counted(envelope, self._facts, self._trust)
        wanted = counted.signers.difference(have)
        tokens = tuple(key_token(name) for name in sorted(wanted.difference(known)))
        if set(envelope.signers).difference(have) > wanted:
            tokens += counted.waits_for
        return Sifted(wanted.intersection(known), tokens)

    def union(self, held: StoredRow, part: Envelope) -> StoredRow | None:
        """Our row with the signers of `part`, who were sifted and verified; None to keep ours.

        Where not all fit, those who count and whose records are passed on push out the others.
        """
        ours = parse_envelope(held.kind, held.envelope)
        counted = judge_counted(ours, self._facts, self._trust).signers.union(part.signers)

        def worth(name: str) -> int:
            return 1 + self._is_trusted(name) if name in counted else 0

        def stands(fewer: Envelope) -> bool:
            return judge_standing(fewer, self._facts, self._trust).is_fine

        both = joined(ours, part, worth, stands)
        if both.signers == ours.signers:
            return None
        return replace(held, signers=both.signers, envelope=both.raw)
