"""Whole 0x81 rounds of two nodes as text, `tests/transcripts/mesh/*.txt`: who hears what.

The first lines of a file say why it exists, the next what happens, the part after `----` who hears
what. `pytest tests/sim/test_mesh_round_transcripts.py --rewrite -n 0` writes the second part anew;
read the difference before it is committed. Records are those of tests/sim/records.json, by number:
seven of each signer, the key first.

    alice holds 0 1 7        admitted before anything else
    bob speaks 0             capability bits of the hello, in hex; 3 without this line
    bob trusts alice         whose records it passes on; everybody's without this line
    bob appoints nobody      no root stewards: it can admit no organization
    spoil Wants 1            the check of the first Wants is changed on the wire
    meet                     the nodes start, link, and are left alone for a minute
    alice writes 2           ... and a minute passes
    bob restarts             with its directory alone, and a minute passes
    wait 60                  so many seconds pass
    quiet 3600               ... of which only what is no comparison is written down
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest
from sim.test_sim_convergence import KINDS, TRUSTED, records

from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.recoding import delivers_of
from ciris_mesh.wire.frame import AnyMessage, try_unwrap, wrap
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import IdList, Sketch, Wants
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.messages import Deliver, Diff, Summary
from support.keys import key
from support.records import AT_MS
from support.sim_exchange import SimExchange, SimLink
from support.sim_network import PERFECT

FOLDER = Path(__file__).parent.parent / "transcripts" / "mesh"
FILES = sorted(FOLDER.glob("*.txt"))
RULE = "----"
MINUTE_S = 2 * CADENCE_S


class Play:
    """Two nodes that are not started before they meet, and the lines of what they hear."""

    def __init__(self) -> None:
        self.mesh: SimExchange | None = None
        self.holds: dict[str, list[int]] = {"alice": [], "bob": []}
        self.speaks: dict[str, int] = {}
        self.trusts: dict[str, frozenset[str]] = {}
        self.stewards: dict[str, frozenset[str]] = {}
        self.to_spoil = 0
        self.lines: list[str] = []

    def do(self, line: str) -> None:
        words = line.split()
        match words:
            case [name, "holds", *numbers]:
                self.holds[name] += map(int, numbers)
            case [name, "speaks", bits]:
                self.speaks[name] = int(bits, 16)
            case [name, "trusts", *others]:
                self.trusts[name] = frozenset(key(other).key_id for other in others)
                if self.mesh is not None:
                    self.lines.append(f"({line})")
                    self.mesh.nodes[name].trusted = self.trusts[name]
            case [name, "appoints", "nobody"]:
                self.stewards[name] = frozenset()
            case ["spoil", "Wants", times]:
                self.to_spoil = int(times)
            case ["meet"]:
                self.meet()
            case _:
                self.later(words)

    def later(self, words: list[str]) -> None:
        assert self.mesh is not None, "they have not met"
        self.lines.append(f"({' '.join(words)})")
        match words:
            case [name, "writes", number]:
                self.mesh.put(name, records()[int(number)])
                self.mesh.run_s(MINUTE_S)
            case [name, "restarts"]:
                self.mesh.crash(name, for_s=1.0)
                self.mesh.nodes[name].heard = self.hears(name)
                self.mesh.run_s(MINUTE_S)
            case ["wait" | "quiet" as word, seconds]:
                begun = len(self.lines)
                self.mesh.run_s(float(seconds))
                if word == "quiet":
                    heard = self.lines[begun:]
                    self.lines[begun:] = [line for line in heard if "<- Digests" not in line]
            case _:
                raise AssertionError(f"nothing is {' '.join(words)} here")

    def meet(self) -> None:
        self.mesh = SimExchange(
            self.holds,
            seed=1,
            faults=PERFECT,
            kinds=KINDS,
            trusted=TRUSTED,
            epoch_ms=AT_MS,
            capabilities=self.speaks,
            directories={
                name: MemoryDirectory(trust=Trust(root_stewards=self.stewards.get(name, TRUSTED)))
                for name in self.holds
            },
        )
        carry = self.mesh.carry

        def carried(link: SimLink, source: str, frame: bytes) -> None:
            carry(link, source, self.spoiled(frame))

        self.mesh.carry = carried  # type: ignore[method-assign]
        for name, node in self.mesh.nodes.items():
            node.trusted = self.trusts.get(name, TRUSTED)
            node.heard = self.hears(name)
            for number in self.holds[name]:
                kind, envelope = records()[number]
                node.directory.admit(kind, envelope, OWN, now_ms=AT_MS)
        self.mesh.run_s(MINUTE_S)

    def spoiled(self, frame: bytes) -> bytes:
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        message = unwrapped.message
        if self.to_spoil and isinstance(message, Wants):
            self.to_spoil -= 1
            return wrap(replace(message, check=bytes(4)))
        return frame

    def hears(self, name: str) -> Callable[[AnyMessage], None]:
        def heard(message: AnyMessage) -> None:
            self.lines.append(f"{name} <- {_spell(message)}")

        return heard

    def end(self) -> None:
        """What both hold, and what was counted."""
        assert self.mesh is not None, "they have not met"
        for name, node in self.mesh.nodes.items():
            held = sum(map(len, node.held().values()))
            self.lines.append(f"{name} holds {held}{_counted(node.counts.snapshot())}")


def _counted(drops: dict[str, int]) -> str:
    return "".join(f", {reason} {count}" for reason, count in sorted(drops.items()))


def _spell(message: AnyMessage) -> str:
    match message:
        case Digests(entries=entries, reply=reply):
            views = " ".join(f"{entry.kind} {entry.count}" for entry in entries)
            return f"Digests{', reply' if reply else ''}: {views}"
        case Sketch(symbols=symbols, width=width):
            return f"Sketch, {len(symbols)} symbols of {width} bits, {len(wrap(message))} B"
        case IdList(ids=ids):
            return f"IdList of {len(ids)}, {len(wrap(message))} B"
        case Records():
            counts = Counter[str]()
            for deliver in delivers_of(message):
                counts[deliver.kind] += len(deliver.envelopes)
            what = ", ".join(f"{kind} {count}" for kind, count in counts.items())
            return f"Records{'' if message.round_id else ' of no round'}: {what}"
        case Summary(kind=kind, refs=refs):
            return f"Summary {kind}, {len(refs)} refs"
        case Diff(kind=kind, want=want):
            return f"Diff {kind}, {len(want)} wanted"
        case Deliver(kind=kind, envelopes=envelopes):
            return f"Deliver {kind}, {len(envelopes)} envelopes"
        case _:
            return f"{type(message).__name__}, {len(wrap(message))} B"


def _parts(text: str) -> tuple[list[str], list[str]]:
    head, _, tail = text.partition(RULE + "\n")
    return head.splitlines(), tail.splitlines()


def _played(head: list[str]) -> list[str]:
    play = Play()
    for line in head:
        if line and not line.startswith("#"):
            play.do(line)
    play.end()
    return play.lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path, request: pytest.FixtureRequest) -> None:
    head, expected = _parts(path.read_text())
    lines = _played(head)
    if request.config.getoption("--rewrite"):
        path.write_text("\n".join([*head, RULE, *lines]) + "\n")
        return
    for number, (line, wanted) in enumerate(zip_longest(lines, expected), start=1):
        assert line == wanted, f"{path.name}, line {number} after the rule"


def test_there_are_transcripts_and_each_says_why() -> None:
    assert len(FILES) >= 8
    assert all(path.read_text().startswith("# ") for path in FILES)
