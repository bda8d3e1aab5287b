"""A process that writes to a store and says what is written, until it is killed.

Run: python -m support.crashing admit PATH START | migrate PATH | import PATH BUNDLE

Prints "ready", then one line per migration, or per acknowledged record: kind and envelope id.
Deferred records are printed too: they are held, so a peer would not be asked for them again.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.following import PostgresDirectory
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.runtime.bundle import admit_mixed, import_bundle
from support.keys import alice, bob
from support.records import AT_MS, columns, sample
from support.waiting import wait_until

Name = tuple[EnvelopeKind, bytes | None]


def admit(path: str, start: str) -> None:
    """Admit for ever: own records one by one, a peer's in batches, some of them deferred."""
    directory = opened(path)
    own, peer = OWN, Source("peer", "hub")
    directory.admit(EnvelopeKind.KEY, sample(EnvelopeKind.KEY, alice()), own, now_ms=AT_MS)
    say_ready()
    kind = EnvelopeKind.FAMILY
    for n in itertools.count(int(start)):
        made = [
            author(kind, columns(kind, alice().key_id, 4 * n + k), alice(), at_ms=AT_MS)
            for k in range(3)
        ]
        waiting = author(kind, columns(kind, bob().key_id, n), bob(), at_ms=AT_MS)
        verdicts = directory.admit_many(kind, made[:1], own, now_ms=AT_MS)
        say([(kind, verdict.envelope_id) for verdict in verdicts])
        verdicts = directory.admit_many(kind, [*made[1:], waiting], peer, now_ms=AT_MS)
        say([(kind, verdict.envelope_id) for verdict in verdicts])


def opened(place: str) -> DirectoryCore:
    """The store at a path, or in a database once the server let go of who had it before."""
    if "://" not in place:
        return SqliteDirectory(Path(place))
    made: list[DirectoryCore] = []

    def attempt() -> bool:
        try:
            made.append(PostgresDirectory(place, node="crashing"))
        except DirectoryError as error:
            if "another process of this node" not in str(error):
                raise
        return bool(made)

    wait_until(attempt)
    return made[0]


def migrate(path: str) -> None:
    """Bring an old store up to date, again and again if it is up to date. A line each time."""
    say_ready()
    while True:
        SqliteDirectory(Path(path)).close()
        sys.stdout.write("migrated\n")
        sys.stdout.flush()


def import_(path: str, bundle: str) -> None:
    """Import a bundle, then wait to be killed."""
    directory = SqliteDirectory(Path(path))
    say_ready()

    def admit_some(
        offered: Sequence[tuple[EnvelopeKind, bytes]],
    ) -> list[tuple[Outcome, Reason]]:
        answers: list[tuple[Outcome, Reason]] = []
        for number in range(0, len(offered), 8):  # more moments to be killed in
            part = offered[number : number + 8]
            answers += admit_mixed(directory, part, now_ms=AT_MS)
            say([(kind, parse_envelope(kind, raw).envelope_id) for kind, raw in part])
        return answers

    with Path(bundle).open("rb") as source:
        import_bundle(source, admit_some, lambda _records, _bytes: None)
    sys.stdin.read()


def say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def say(names: Sequence[Name]) -> None:
    """One line each, in one write."""
    lines = [f"{kind} {(envelope_id or b'').hex()}\n" for kind, envelope_id in names]
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


if __name__ == "__main__":
    jobs: dict[str, Callable[..., None]] = {"admit": admit, "migrate": migrate, "import": import_}
    jobs[sys.argv[1]](*sys.argv[2:])
