"""One node of a transport test, in this process (loopback) or in a child (real Reticulum).

Both kinds take the same calls and report the same events, as plain dictionaries:

    {"event": "up", "link": 1, "inbound": false, "address": "…", "medium": "tcp"}
    {"event": "identified", "link", "address"}
    {"event": "frame", "link", "tag", "size", "intact"}
    {"event": "down", "link", "reason"}        {"event": "dial_failed", "address", "reason"}
    {"event": "heard", "address", "public_key", "app_data", "hops"}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ciris_mesh.errors import BackPressure, MeshError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport.base import (
    Address,
    DialFailed,
    EdgeFrame,
    EdgeHeard,
    EdgeLost,
    FrameReceived,
    LinkDown,
    LinkId,
    LinkIdentified,
    LinkUp,
    NodeHeard,
    Transport,
    TransportEvent,
)
from support.transport_frames import make_frame, read_frame

Event = dict[str, Any]
#: For a machine that does other things too; what is waited for takes seconds at most.
PATIENCE_S = 240.0
#: A frozen one does not end at all.
STOP_S = 30.0
#: Announces of one node closer together than ten seconds are taken for a flood.
ANNOUNCE_AGAIN_S = 12.0
#: How long a sender waits for room before the test counts it as stuck.
SEND_PATIENCE_S = 240.0

TESTS = Path(__file__).parent.parent


def describe(event: TransportEvent) -> Event:
    """Turn an event into what crosses the pipe to the test."""
    match event:
        case LinkUp(link, inbound, address, medium):
            text = address.hex() if address else None
            return _event("up", link=link, inbound=inbound, address=text, medium=medium)
        case LinkIdentified(link, address):
            return _event("identified", link=link, address=address.hex())
        case FrameReceived(link, frame):
            seen = read_frame(frame)
            return _event("frame", link=link, tag=seen.tag, size=seen.size, intact=seen.intact)
        case LinkDown(link, reason):
            return _event("down", link=link, reason=str(reason))
        case DialFailed(address, reason):
            return _event("dial_failed", address=address.hex(), reason=str(reason))
        case NodeHeard(address, public_key, app_data, hops):
            return _event(
                "heard",
                address=address.hex(),
                public_key=public_key.hex(),
                app_data=app_data.hex(),
                hops=hops,
            )
        case EdgeHeard(address, _, app_data, _):
            return _event("edge_heard", address=address.hex(), app_data=app_data.hex())
        case EdgeFrame(address, frame):
            return _event("edge_frame", address=address.hex(), frame=frame.hex())
        case EdgeLost(address, reason):
            return _event("edge_lost", address=address.hex(), reason=str(reason))


def _event(name: str, **fields: Any) -> Event:
    return {"event": name, **fields}


def perform(transport: Transport, command: Event) -> Event:
    """Run one command of a test on a transport; used here and in the child."""
    fields = {name: value for name, value in command.items() if name != "do"}
    try:
        return {"answer": COMMANDS[command["do"]](transport, **fields)}
    except MeshError as error:
        return {"answer": None, "error": type(error).__name__}


def _dial(transport: Transport, address: str, kind: str | None = None) -> None:
    transport.dial(Address(bytes.fromhex(address)), EnvelopeKind(kind) if kind else None)


def _send_all(transport: Transport, link: int, frames: list[tuple[int, int]]) -> None:
    for tag, size in frames:
        _send(transport, LinkId(link), make_frame(tag, size))


def _permit(transport: Transport, addresses: list[str]) -> None:
    transport.permit(frozenset(Address(bytes.fromhex(each)) for each in addresses))


def _stats(transport: Transport) -> Event:
    stats = transport.stats()
    return {
        "rx_bytes": stats.rx_bytes,
        "tx_bytes": stats.tx_bytes,
        "links": stats.links,
        "dropped": {str(name): count for name, count in stats.dropped.items()},
        "interfaces": [[row.name, row.medium, row.online] for row in stats.interfaces],
    }


def _age(transport: Transport, link: int) -> float | None:
    at = transport.progress_s(LinkId(link))
    return None if at is None else time.monotonic() - at


def _stop(transport: Transport) -> list[str]:
    """Stop, and name our threads that are left."""
    transport.stop()
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("ciris-"))


COMMANDS: dict[str, Callable[..., Any]] = {
    "dial": _dial,
    "send": _send_all,
    "send_once": lambda transport, link, tag, size: transport.send(link, make_frame(tag, size)),
    "hang_up": lambda transport, link: transport.hang_up(link),
    "permit": _permit,
    "announce": lambda transport, app_data: transport.announce(bytes.fromhex(app_data)),
    "stats": _stats,
    "age": _age,
    "stop": _stop,
}


def _send(transport: Transport, link: LinkId, frame: bytes) -> None:
    """Send, waiting for room while there is none."""
    deadline = time.monotonic() + SEND_PATIENCE_S
    room = threading.Event()
    while True:
        try:
            transport.send(link, frame)
        except BackPressure:
            if time.monotonic() > deadline:
                raise
            room.wait(0.02)
        else:
            return


class Node(Protocol):
    """A node under test."""

    address: str
    public_key: str

    def do(self, do: str, **fields: Any) -> Any:
        """Run a command of `_perform`; raises AssertionError naming the MeshError it caused."""
        ...

    def error(self, do: str, **fields: Any) -> str | None:
        """Run a command, return the name of the MeshError it caused."""
        ...

    def wait(self, event: str, timeout_s: float = PATIENCE_S, **fields: Any) -> Event:
        """Take the first event of that name and those fields, now or when it comes."""
        ...

    def reach(self, address: str, **kind: str) -> Event:
        """Dial until a link is up; returns that event."""
        ...

    def hear(self, other: Node, app_data: str = "", **fields: Any) -> Event:
        """Hear the other, who announces until it is heard; returns that event."""
        ...

    def stop(self) -> None:
        """End the node, if it runs."""
        ...


class Events:
    """Events of one node, taken by description."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._ended = False

    def put(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more comes: whoever waits fails at once."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, wanted: Callable[[Event], bool], timeout_s: float, what: str) -> Event:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for position, event in enumerate(self._events):
                    if wanted(event):
                        return self._events.pop(position)
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._ended:
                    raise AssertionError(f"no {what}; there is {self._events[-12:]}")
                self._changed.wait(left_s)


class _Base(ABC):
    def __init__(self) -> None:
        self.events = Events()
        self.address = ""
        self.public_key = ""

    def do(self, do: str, **fields: Any) -> Any:
        answer = self._ask({"do": do, **fields})
        assert "error" not in answer, f"{do} {fields}: {answer['error']}"
        return answer["answer"]

    def error(self, do: str, **fields: Any) -> str | None:
        error: str | None = self._ask({"do": do, **fields}).get("error")
        return error

    def wait(self, event: str, timeout_s: float = PATIENCE_S, **fields: Any) -> Event:
        wanted = {"event": event, **fields}
        return self.events.take(
            lambda seen: wanted.items() <= seen.items(), timeout_s, f"{event} {fields}"
        )

    def reach(self, address: str, **kind: str) -> Event:
        """Dial until a link is up: while a machine stands still, a dial's own deadline passes."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            self.do("dial", address=address, **kind)
            done = self.events.take(
                lambda seen: seen["event"] in ("up", "dial_failed") and seen["address"] == address,
                PATIENCE_S,
                f"end of the dial to {address}",
            )
            if done["event"] == "up":
                return done
            assert time.monotonic() < end_s, done
            threading.Event().wait(0.5)

    def hear(self, other: Node, app_data: str = "", **fields: Any) -> Event:
        """Hear the other, who announces until it is heard: what comes too early is lost."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            other.do("announce", app_data=app_data)
            wanted = {"address": other.address, "app_data": app_data, **fields}
            try:
                return self.wait("heard", ANNOUNCE_AGAIN_S, **wanted)
            except AssertionError:
                if time.monotonic() > end_s:
                    raise

    @abstractmethod
    def _ask(self, command: Event) -> Event:
        """Have the transport perform a command; its answer."""


class LocalNode(_Base):
    """A transport of this process."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self.transport = transport
        self.address = transport.address.hex()
        self.public_key = transport.public_key.hex()
        transport.start(lambda event: self.events.put(describe(event)))

    def stop(self) -> None:
        self.transport.stop()

    def _ask(self, command: Event) -> Event:
        return perform(self.transport, command)


class ChildNode(_Base):
    """A transport over real Reticulum in a process of its own.

    Args:
        directory: of its identity and its Reticulum configuration; kept between incarnations.
        listen, connect: TCP ports.
        listen_ip, connect_to: where those are.
        prefix: what stands before Python: a command that ends by becoming it.
        mtu: fixed link MTU; None for TCP's own.
        announce_kinds: kinds served and announced; by default all are served, none announced.
        identify_s: how long it waits for a caller to identify.
        share: name of a Reticulum instance to share, or to join.
        dawdle: start Reticulum first, and the transport once Reticulum heard of somebody.
    """

    def __init__(
        self,
        directory: Path,
        *,
        listen: int | None = None,
        connect: tuple[int, ...] = (),
        mtu: int | None = None,
        transport_node: bool = False,
        announce_kinds: tuple[str, ...] = (),
        identify_s: float | None = None,
        share: str | None = None,
        dawdle: bool = False,
        listen_ip: str = "127.0.0.1",
        connect_to: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        write_rns_config(
            directory / "rns",
            listen=listen,
            connect=connect,
            mtu=mtu,
            transport=transport_node,
            share=share,
            listen_ip=listen_ip,
            connect_to=connect_to,
        )
        options = [f"--announce-kinds={','.join(announce_kinds)}"]
        if dawdle:
            options.append("--dawdle")
        if identify_s is not None:
            options.append(f"--identify-s={identify_s}")
        self._answers = Events()
        self._stderr = (directory / "stderr").open("ab")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "support.transport_child", str(directory), *options],
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.wait("ready")
        self.address, self.public_key = ready["address"], ready["public_key"]

    def kill(self) -> None:
        """End the process without a word to anybody."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> None:
        """End the process; one that does not end by itself is killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()
        self._stderr.close()

    def _ask(self, command: Event) -> Event:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answers.take(lambda _event: True, PATIENCE_S, f"answer to {command}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            (self._answers if "answer" in event else self.events).put(event)
        self._answers.end()
        self.events.end()


def write_rns_config(
    directory: Path,
    *,
    listen: int | None,
    connect: tuple[int, ...],
    mtu: int | None,
    transport: bool,
    share: str | None = None,
    listen_ip: str = "127.0.0.1",
    connect_to: str = "127.0.0.1",
) -> None:
    """Write a Reticulum configuration that touches nothing but TCP, by default on loopback."""
    fixed = f"    fixed_mtu = {mtu}\n" if mtu else ""
    text = (
        "[reticulum]\n"
        f"  enable_transport = {'Yes' if transport else 'No'}\n"
        f"  share_instance = {'Yes' if share else 'No'}\n"
        f"  instance_name = {share or 'alone'}\n"
        f"  rpc_key = {'00' * 32}\n"
        "[logging]\n  loglevel = 4\n"
        "[interfaces]\n"
    )
    if listen is not None:
        text += (
            "  [[in]]\n    type = TCPServerInterface\n    enabled = Yes\n"
            f"    listen_ip = {listen_ip}\n    listen_port = {listen}\n{fixed}"
        )
    for number, port in enumerate(connect):
        text += (
            f"  [[out{number}]]\n    type = TCPClientInterface\n    enabled = Yes\n"
            f"    target_host = {connect_to}\n    target_port = {port}\n{fixed}"
        )
    directory.mkdir(exist_ok=True)
    (directory / "config").write_text(text)
