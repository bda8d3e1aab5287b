"""A process that admits records and says so, until it is killed. Run: python -m, then a path.

Prints one line per acknowledged admission: kind and envelope id. Deferred records are printed
too: they are held, so a peer would not be asked for them again.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.authoring import author
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from support.keys import alice, bob
from support.records import AT_MS, columns, sample


def main(path: str, start: str) -> None:
    """Admit for ever: own records one by one, a peer's in batches, some of them deferred."""
    directory = SqliteDirectory(Path(path))
    own, peer = OWN, Source("peer", "hub")
    directory.admit(EnvelopeKind.KEY, sample(EnvelopeKind.KEY, alice()), own, now_ms=AT_MS)
    sys.stdout.write("ready\n")
    kind = EnvelopeKind.FAMILY
    for n in itertools.count(int(start)):
        made = [
            author(kind, columns(kind, alice().key_id, 4 * n + k), alice(), at_ms=AT_MS)
            for k in range(3)
        ]
        waiting = author(kind, columns(kind, bob().key_id, n), bob(), at_ms=AT_MS)
        verdicts = directory.admit_many(kind, made[:1], own, now_ms=AT_MS)
        say(verdicts)
        verdicts = directory.admit_many(kind, [*made[1:], waiting], peer, now_ms=AT_MS)
        say(verdicts)


def say(verdicts: Sequence[Verdict]) -> None:
    """One line each, in one write."""
    lines = [f"{verdict.kind} {(verdict.envelope_id or b'').hex()}\n" for verdict in verdicts]
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
