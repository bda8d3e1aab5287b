"""Nodes on a loopback that calls itself a radio, hours that pass when told, and a judge of the air.

The judge looks at the frames that leave and at nothing else: it knows no ledger and no prices.
"""

from __future__ import annotations

import bz2
from collections import Counter
from typing import Any

from ciris_mesh.protocol.duty import parse_rule
from ciris_mesh.protocol.radioplan import POLICY
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.budget import BudgetStatus
from ciris_mesh.runtime.handshake import CAPABILITIES
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.radiosettings import RadioSettings
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.transport.base import LinkId
from ciris_mesh.wire.frame import AnyMessage, try_unwrap
from support.airworld import Radio
from support.mesh import Mesh, address
from support.resting import at_rest
from support.waiting import wait_until

SF8 = LoraSettings(868_300_000, 125_000, 8, 5)
#: Twice the node's own tick: what is due is done within one step or the next.
STEP_S = 60.0
Name = tuple[str, AnyMessage]


def settings(duty: str = "1%", **changes: Any) -> RadioSettings:
    given: dict[str, Any] = {
        "duty": parse_rule(duty),
        "duty_of": {},
        "quiet": None,
        "policy": POLICY,
        "share": 0.8,
        "peer_share": 0.5,
        "removal_share": 0.1,
    }
    return RadioSettings(**{**given, **changes})


class RadioMesh(Mesh):
    """Nodes that know each other's keys and bindings already.

    Attributes:
        radios: by name, what left each node, at the time of the mesh's clock.
        dials: by name, how often it asked for a link.
        said: (name, message) of every frame, in order.
    """

    def __init__(self, *names: str, medium: str = "radio", **config: Any) -> None:
        super().__init__(medium=medium)
        self.radios: dict[str, Radio] = {}
        self.dials: Counter[str] = Counter()
        self.said: list[Name] = []
        for name in names:
            self.add(name, names, **config)
        self.befriend(*names)

    def add(self, name: str, others: tuple[str, ...], **config: Any) -> Node:
        """A node, or the same one again after a restart; not started."""
        bindings = BindingStore()
        for other in others:
            bindings.put(address(other), self.binding(other))
        radio = config.pop("radio", None) or settings()
        directory = config.pop("directory", None)
        capabilities = config.pop("capabilities", CAPABILITIES)
        node = self.node(
            name,
            bindings=bindings,
            config=RuntimeConfig(radio=radio, **config),
            directory=directory,
            capabilities=capabilities,
        )
        for other in others:
            node.runtime.admit_imported([(EnvelopeKind.KEY, self.key_record(other))])
        self._listen(name, node)
        return node

    def _listen(self, name: str, node: Node) -> None:
        radio, transport = self.radios.setdefault(name, Radio()), node.runtime.transport
        send = transport.send

        def spy(link: LinkId, frame: bytes) -> None:
            radio.send(name, self.clock(), airtime_s(frame))
            unwrapped = try_unwrap(frame)
            assert unwrapped is not None
            self.said.append((name, unwrapped.message))
            send(link, frame)

        transport.send = spy  # type: ignore[method-assign]
        dial = transport.dial

        def count(*args: Any) -> None:
            self.dials[name] += 1
            dial(*args)

        transport.dial = count  # type: ignore[assignment, method-assign]

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()
        self.calm()

    def calm(self) -> None:
        """Wait until nothing is under way: all that can happen at this time has happened."""
        wait_until(lambda: at_rest(self.network, self.nodes.values()), "nothing under way")

    def let_pass(self, seconds: float) -> None:
        """Let time pass in steps."""
        for _ in range(round(seconds / STEP_S)):
            self.clock.leap(STEP_S)
            self.calm()

    def let_pass_until(self, condition: Any, hours: float, what: str) -> None:
        """Let time pass until the condition is true; so many hours at most."""
        for _ in range(round(3_600 * hours / STEP_S)):
            if condition():
                return
            self.let_pass(STEP_S)
        shown = [self.budget(name) for name in self.nodes]
        raise AssertionError(f"not within {hours:g} h: {what}; {shown}")

    def budget(self, name: str) -> BudgetStatus:
        runtime = self.nodes[name].runtime
        assert runtime.budget is not None
        return runtime.budget.status(runtime.interfaces(), {}, self.clock())

    def owed(self, name: str) -> int:
        return sum(row.records for row in self.budget(name).owed)

    def has(self, name: str, kind: EnvelopeKind, envelope_id: bytes) -> bool:
        return self.nodes[name].directory.get(kind, envelope_id) is not None


def airtime_s(frame: bytes) -> float:
    """Of a frame in packets of its own, at least: nothing is repeated, asked for or acknowledged.

    Reticulum's header takes 19 bytes of a packet of 500, and a seal 16. Around a frame in one
    packet are a number, flags and its own number; around each part of a longer one four bytes, and
    one before it is sealed. `test_the_judge_takes_no_frame_for_more` holds it against real packets.
    """
    if len(frame) <= 458:
        return SF8.packet_s(19 + 1 + 16 + 2 + len(frame))
    size_bytes = 1 + min(len(frame), len(bz2.compress(frame))) + 16
    whole, rest = divmod(size_bytes, 476)
    return whole * SF8.packet_s(499) + (SF8.packet_s(19 + 4 + rest) if rest else 0.0)
