"""Whole conversations as text, played against the state machines: `tests/transcripts/*.txt`.

The first lines of a file say why it exists, the next what happens, the part after `----` who hears
what. `pytest tests/protocol/test_transcripts.py --rewrite` writes the second part anew; read the
difference before it is committed.

    alice holds 01 02        envelopes, two hex digits each; the id is the byte, padded
    alice hides 01           ... is offered and never served
    bob refuses 02           ... is refused when it comes
    budget 2                 bytes of envelopes in one Deliver, of both
    flow registry            the flow of registry nodes; the mesh flow is the default
    round alice bob          alice opens a round with bob, and all is carried until both are silent
    both alice bob           both open a round at the same moment
    send bob alice Deliver 07    one message outside a round
    late bob Deliver 07      ... is under way from bob when the next line happens
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from ciris_mesh.errors import UnexpectedMessage
from ciris_mesh.protocol.events import Start
from ciris_mesh.protocol.registry_session import RegistrySession, step_registry
from ciris_mesh.protocol.report import RoundReport, SessionRole
from ciris_mesh.protocol.session import Session, step
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, ReplicationMessage, Summary
from support.pair import Host

FOLDER = Path(__file__).parent.parent / "transcripts"
FILES = sorted(FOLDER.glob("*.txt"))
KIND = EnvelopeKind.KEY
RULE = "----"


class Play:
    """Two hosts, and the lines of what they hear."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.is_registry = False
        self.lines: list[str] = []

    def do(self, line: str) -> None:
        name, verb, *rest = line.split()
        match name, verb:
            case "flow", "registry":
                self.is_registry = True
            case "budget", number:
                self.host("alice").budget = self.host("bob").budget = int(number)
            case "round", one:
                (two,) = rest
                self.play({one: SessionRole.INITIATOR, two: SessionRole.RESPONDER})
            case "both", one:
                (two,) = rest
                self.play({one: SessionRole.INITIATOR, two: SessionRole.INITIATOR})
            case "late", source:
                self.host(source).outbox.append(_message(rest))
            case "send", source:
                self.send(source, *rest)
            case _:
                self.prepare(self.host(name), verb, rest)

    def prepare(self, host: Host, verb: str, envelopes: list[str]) -> None:
        match verb:
            case "holds":
                host.held.update({_id(word): bytes.fromhex(word) for word in envelopes})
            case "hides":
                host.hidden |= {_id(word) for word in envelopes}
            case "refuses":
                host.refuses |= {_id(word) for word in envelopes}
            case _:
                raise AssertionError(f"nobody {verb} anything here")

    def send(self, source: str, target: str, *message: str) -> None:
        for name in (source, target):
            self.begin(name, SessionRole.RESPONDER)
        self.host(source).outbox.append(_message(list(message)))
        self.carry(source, target)

    def host(self, name: str) -> Host:
        if name not in self.hosts:
            self.hosts[name] = Host(None, step, KIND)
        return self.hosts[name]

    def begin(self, name: str, role: SessionRole) -> None:
        """A session for the next round; what is sent already stays under way."""
        host = self.host(name)
        host.step = step_registry if self.is_registry else step
        host.session = (RegistrySession if self.is_registry else Session)(role, KIND)

    def play(self, roles: dict[str, SessionRole]) -> None:
        for name, role in roles.items():
            self.begin(name, role)
        for name, role in roles.items():
            if role is SessionRole.INITIATOR:
                self.host(name).feed(Start())
        self.carry(*roles)

    def carry(self, one: str, two: str) -> None:
        while self.host(one).outbox or self.host(two).outbox:
            for source, target in ((one, two), (two, one)):
                if self.host(source).outbox:
                    self.hear(target, self.host(source).outbox.popleft())

    def hear(self, name: str, message: ReplicationMessage) -> None:
        host = self.host(name)
        reports, not_served = len(host.reports), len(host.not_served)
        self.lines.append(f"{name} <- {_spell(message)}")
        try:
            host.receive(message)
        except UnexpectedMessage as error:
            self.lines.append(f"{name} refuses: {error}")
            self.drop_link()
        if ids := host.not_served[not_served:]:
            self.lines.append(f"{name} never got {' '.join(f'{id_[0]:02x}' for id_ in ids)}")
        for report in host.reports[reports:]:
            known = self.is_registry or report.confirmed
            self.lines.append(f"{name} finished {_result(report)}{'' if known else ' unconfirmed'}")

    def drop_link(self) -> None:
        """As the runtime does: both rounds end, and what is under way is lost."""
        self.lines.append("the link is dropped")
        for host in self.hosts.values():
            host.outbox.clear()
            host.session = host.session.reset()


def _id(word: str) -> bytes:
    return bytes.fromhex(word).ljust(32, b"\0")


def _message(words: list[str]) -> ReplicationMessage:
    name, *rest = words
    ids = tuple(map(_id, rest))
    match name:
        case "Summary":
            return Summary(KIND, tuple(EnvelopeRef(id_, 0) for id_ in ids))
        case "Diff":
            return Diff(KIND, ids)
        case "Fetch":
            return Fetch(KIND, ids)
        case _:
            assert name == "Deliver", name
            return Deliver(KIND, tuple(map(bytes.fromhex, rest)))


def _spell(message: ReplicationMessage) -> str:
    match message:
        case Summary(refs=refs):
            ids = [ref.envelope_hash for ref in refs]
        case Diff(want=want) | Fetch(want=want):
            ids = list(want)
        case Deliver(envelopes=envelopes):
            ids = list(envelopes)
    return " ".join([type(message).__name__, *(f"{id_[0]:02x}" for id_ in ids)])


def _result(report: RoundReport) -> str:
    parts = [f"admitted={report.admitted}", f"missing={report.missing}", f"sent={report.sent}"]
    if report.refused:
        parts.append(f"refused={report.refused}")
    if report.unserved:
        parts.append(f"unserved={report.unserved}")
    return " ".join([*parts, str(report.staleness).replace(" ", "")])


def script(text: str) -> Iterator[str]:
    """The lines that say what happens."""
    for line in text.splitlines():
        if line == RULE:
            return
        if line and not line.startswith("#"):
            yield line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_conversation_is_as_written(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    assert text.startswith("# "), "the first line says why the conversation matters"
    play = Play()
    for line in script(text):
        play.do(line)
    head = text.split(f"\n{RULE}\n")[0].rstrip("\n")
    told = "\n".join([head, RULE, *play.lines]) + "\n"
    if request.config.getoption("--rewrite"):
        path.write_text(told)
        return
    for number, (is_, was) in enumerate(zip_longest(told.splitlines(), text.splitlines()), 1):
        assert is_ == was, f"{path.name}:{number}"


def test_there_are_conversations() -> None:
    assert {path.stem for path in FILES} >= {
        "disjoint",
        "simultaneous_opening",
        "spill",
        "unserved",
        "late_deliver",
    }
