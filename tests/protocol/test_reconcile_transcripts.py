"""Whole reconciliations as text, `tests/transcripts/reconcile/*.txt`: who hears what.

The first lines of a file say why it exists, the next what happens, the part after `----` who hears
what. `pytest tests/protocol/test_reconcile_transcripts.py --rewrite -n 0` writes the second part
anew; read the difference before it is committed. Ids follow from the numbers, so bytes do not vary.

    share 1000               records both hold
    alice holds 5            ... and that many of her own
    alice limits 128         symbols in one sketch, at most
    large from 500           records from which on bucket digests come first
    parts of 600             records looked at in one exchange
    spoil Wants 2            the check of the first two Wants is changed on the wire
    alice opens SALT [N]     an exchange, and all is carried until both are silent; N is expected
    both open SALT SALT      at the same moment, alice's salt first
    late bob Failed          a message of an old round comes to bob
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from ciris_mesh.protocol import sizing
from ciris_mesh.protocol.reconcile import Exchange
from ciris_mesh.protocol.reconcile_events import FallBack, GaveUp, ReconcileAction, Resolved
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.wire.frame import wrap
from ciris_mesh.wire.mesh_reconcile import (
    BucketDigests,
    Extend,
    Failed,
    IdList,
    More,
    Narrow,
    ReconcileMessage,
    Sketch,
    Symbols,
    Turn,
    Wants,
)
from support.reconciling import NONCES, Side, made

FOLDER = Path(__file__).parent.parent / "transcripts" / "reconcile"
FILES = sorted(FOLDER.glob("*.txt"))
RULE = "----"


class Play:
    """Two sides, and the lines of what they hear."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch
        self.sides = {"alice": Side([]), "bob": Side([])}
        self.lines: list[str] = []
        self.to_spoil = 0

    def do(self, line: str) -> None:
        match line.split():
            case [name, "opens", salt, *rest]:
                self.open(name, salt, expected=int(rest[0]) if rest else 0)
                self.carry()
            case ["both", "open", one, two]:
                self.open("alice", one)
                self.open("bob", two)
                self.carry()
            case ["late", name, "Failed"]:
                self.hear(name, Failed(9))
            case words:
                self.prepare(words)

    def prepare(self, words: list[str]) -> None:
        match words:
            case ["share", number]:
                for side in self.sides.values():
                    side.items = [*side.items, *made("shared", int(number))]
            case [name, "holds", number]:
                self.sides[name].items = [*self.sides[name].items, *made(name, int(number))]
            case [name, "limits", number]:
                limits = Limits(symbols_max=int(number))
                self.sides[name].exchange = Exchange(NONCES, limits)
            case ["large", "from", number]:
                self.patch.setattr(sizing, "BUCKETS_FROM", int(number))
            case ["parts", "of", number]:
                self.patch.setattr(sizing, "ITEMS_MAX", int(number))
            case ["spoil", "Wants", number]:
                self.to_spoil = int(number)
            case _:
                raise AssertionError(f"nobody knows what to do: {words}")

    def open(self, name: str, salt: str, expected: int = 0) -> None:
        alice, bob = self.sides.values()
        alice.peer_count, bob.peer_count = len(bob.items), len(alice.items)
        side = self.sides[name]
        self.watch(name, lambda: side.open(side.peer_count, salt.encode(), expected=expected))

    def carry(self) -> None:
        alice, bob = self.sides.values()
        while alice.outbox or bob.outbox:
            for name, source in (("bob", alice), ("alice", bob)):
                if source.outbox:
                    self.hear(name, self.spoiled(source.take()))

    def spoiled(self, message: ReconcileMessage) -> ReconcileMessage:
        if isinstance(message, Wants) and self.to_spoil:
            self.to_spoil -= 1
            return Wants(message.round_id, b"!!!!", message.ranks)
        return message

    def hear(self, name: str, message: ReconcileMessage) -> None:
        size = len(wrap(message))
        self.lines.append(f"{name} <- {message.round_id} {_spell(message)}, {size} B")
        self.watch(name, lambda: self.sides[name].receive(message))

    def watch(self, name: str, act: object) -> None:
        """Do something to one side, and tell how it ended, what it read and passed over."""
        side = self.sides[name]
        before = len(side.ends), len(side.loads), len(side.ignored)
        assert callable(act)
        act()
        for load in side.loads[before[1] :]:
            what = "all" if load.buckets is None else f"{len(load.buckets)} buckets"
            self.lines.append(f"{name} reads {what}")
        self.lines += [f"{name} passes it over: {reason}" for reason in side.ignored[before[2] :]]
        self.lines += [f"{name} {_result(end)}" for end in side.ends[before[0] :]]


def _spell(message: ReconcileMessage) -> str:
    match message:
        case Sketch(counts=counts, symbols=symbols, width=width):
            what = "buckets" if message.over_buckets else "ids"
            cells = f" in {len(counts)} cells" if len(counts) > 1 else ""
            return f"Sketch of {what}{cells}, {len(symbols) // len(counts)} symbols of {width} bits"
        case Symbols(start=start, symbols=symbols):
            return f"Symbols from {start}, {len(symbols)}"
        case Extend(total=total, cells=cells):
            return f"Extend to {total}, {len(cells)} cells"
        case IdList(ids=ids, width=width):
            return f"IdList of {len(ids)}, {width} bits"
        case Narrow(count=count, buckets=buckets):
            return f"Narrow to {len(buckets)} buckets, {count} ids"
        case More() | Wants() | Turn() | BucketDigests() | Failed():
            return type(message).__name__


def _result(end: ReconcileAction) -> str:
    match end:
        case Resolved(everything=True):
            return "sends everything"
        case Resolved():
            parts = [f"sends {len(end.offer)}"]
            parts += [f"expects {end.expected}"] if end.expected is not None else []
            parts += ["of a part"] if end.is_partial else []
            return ", ".join(parts)
        case FallBack(reason=reason):
            return f"falls back to 0x01: {reason}"
        case GaveUp(reason=reason):
            return f"gave up: {reason}"
        case _:
            raise AssertionError(end)


def script(text: str) -> Iterator[str]:
    """The lines that say what happens."""
    for line in text.splitlines():
        if line == RULE:
            return
        if line and not line.startswith("#"):
            yield line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_reconciliation_is_as_written(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text()
    assert text.startswith("# "), "the first line says why the conversation matters"
    play = Play(monkeypatch)
    for line in script(text):
        play.do(line)
    head = text.split(f"\n{RULE}\n")[0].rstrip("\n")
    told = "\n".join([head, RULE, *play.lines]) + "\n"
    if request.config.getoption("--rewrite"):
        path.write_text(told)
        return
    for number, (is_, was) in enumerate(zip_longest(told.splitlines(), text.splitlines()), 1):
        assert is_ == was, f"{path.name}:{number}"


def test_there_are_reconciliations() -> None:
    assert {path.stem for path in FILES} >= {"few", "cells", "large", "both_open", "wrong_twice"}
