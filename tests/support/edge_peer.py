"""A process that behaves as a CIRISEdge 13.15.0 on Reticulum, driven by JSON lines.

It announces first without and then with an attestation; believes who attests; sends on the peer's
live link to it, as a Channel message (type 0) while that link is busy with a Resource, and dials
the peer's own `ciris.edge` and identifies itself where there is no such link. A Channel message
that is not proved ends the link. Not a test itself.
"""

from __future__ import annotations

import argparse
import json
import queue
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import RNS
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ciris_mesh.records.kinds import EnvelopeKind
from support.edge_model import V1_KINDS, EdgeModel

OUT = sys.stdout
sys.stdout = sys.stderr  # Reticulum logs there
DOMAIN = b"ciris-edge/announce-attestation/v2"


class Frame(RNS.MessageBase):  # type: ignore[misc]
    MSGTYPE = 0x0000

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def pack(self) -> bytes:
        return self.data

    def unpack(self, raw: bytes) -> None:
        self.data = raw


def message(key_id: str, public_key: bytes, epoch: int) -> bytes:
    parts = (public_key[32:], public_key[:32], key_id.encode())
    return (
        DOMAIN + b"".join(struct.pack(">Q", len(p)) + p for p in parts) + struct.pack(">Q", epoch)
    )


class EdgePeer:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(options.seed))
        self.public = self.key.public_key().public_bytes_raw()
        path = Path(options.rns) / "edge-identity"
        self.identity = RNS.Identity.from_file(str(path)) if path.exists() else RNS.Identity()
        self.identity.to_file(str(path))
        self.model = EdgeModel(basis=options.basis, pushes=options.pushes, forgets=options.forgets)
        self.tasks: queue.Queue[Any] = queue.Queue()
        self.rooted: dict[bytes, str] = {}
        self.inbound: dict[bytes, Any] = {}
        self.outbound: dict[bytes, Any] = {}
        self.waiting: list[bytes] = []
        self.stats = {"reverse": 0, "channel": 0, "dialled": 0, "closed": 0, "frames": 0}
        self.due: list[EnvelopeKind] = []
        self.rounds = 0
        self.announced = b""
        self.destination = RNS.Destination(
            self.identity, RNS.Destination.IN, RNS.Destination.SINGLE, "ciris", "edge"
        )
        self.destination.set_link_established_callback(self.on_inbound)
        self.aspect_filter = "ciris.edge"
        self.receive_path_responses = True
        RNS.Transport.register_announce_handler(self)

    # Reticulum's threads.

    def received_announce(
        self, destination_hash: bytes, announced_identity: Any, app_data: Any
    ) -> None:
        self.tasks.put(lambda: self.heard(announced_identity, app_data))

    def on_inbound(self, link: Any) -> None:
        self.listen(link)
        link.set_remote_identified_callback(
            lambda link, identity: self.tasks.put(lambda: self.identified(link, identity))
        )

    def listen(self, link: Any) -> None:
        link.set_resource_strategy(RNS.Link.ACCEPT_ALL)
        link.set_resource_concluded_callback(lambda resource: self.arrived(resource.link, resource))
        link.set_link_closed_callback(lambda link: self.tasks.put(lambda: self.closed(link)))

    def arrived(self, link: Any, resource: Any) -> None:
        if resource.status == RNS.Resource.COMPLETE:
            frame = resource.data.read()
            self.tasks.put(lambda: self.frame(link, frame))

    # Its one thread.

    def heard(self, identity: Any, app_data: Any) -> None:
        if not app_data or app_data[0] != 1:
            return
        length = app_data[1]
        key_id, rest = app_data[2 : 2 + length].decode(), app_data[2 + length :]
        ed25519, epoch, signature = rest[:32], struct.unpack(">Q", rest[32:40])[0], rest[40:]
        signed = message(key_id, identity.get_public_key(), epoch)
        try:
            Ed25519PublicKey.from_public_bytes(ed25519).verify(signature, signed)
        except InvalidSignature:
            return
        self.rooted[identity.hash] = key_id

    def identified(self, link: Any, identity: Any) -> None:
        self.inbound[identity.hash] = link

    def closed(self, link: Any) -> None:
        self.stats["closed"] += 1
        for table in (self.inbound, self.outbound):
            for address in [each for each, it in table.items() if it is link]:
                del table[address]

    def sender(self, link: Any) -> bytes | None:
        """Who is at the other end: identified on a link to us, or the one we dialled."""
        for table in (self.inbound, self.outbound):
            for address, each in table.items():
                if each is link:
                    return address
        return None

    def frame(self, link: Any, frame: bytes) -> None:
        address = self.sender(link)
        if address not in self.rooted:
            return
        self.stats["frames"] += 1
        for answer in self.model.receive(frame):
            self.send(address, answer)

    def send(self, address: bytes, frame: bytes) -> None:
        link = self.inbound.get(address)
        if link is not None and link.status == RNS.Link.ACTIVE and not self.options.dials:
            busy = bool(link.outgoing_resources) or self.options.channel
            if busy and len(frame) <= link.mdu - 6:
                self.send_message(link, frame)
                return
            self.stats["reverse"] += 1
            RNS.Resource(frame, link)
            return
        link = self.outbound.get(address) or self.dial(address)
        if link is not None:
            self.stats["dialled"] += 1
            RNS.Resource(frame, link)

    def send_message(self, link: Any, frame: bytes) -> None:
        channel = link.get_channel()
        deadline = time.monotonic() + 10
        while not channel.is_ready_to_send() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stats["channel"] += 1
        try:
            channel.send(Frame(frame))
        except RNS.Channel.ChannelException:  # it was given up meanwhile: a real one closes it, too
            link.teardown()

    def dial(self, address: bytes) -> Any:
        digest = RNS.Destination.hash(address, "ciris", "edge")
        identity = RNS.Identity.recall(digest)
        if identity is None or not RNS.Transport.has_path(digest):
            RNS.Transport.request_path(digest)
            return None
        remote = RNS.Destination(
            identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "ciris", "edge"
        )
        up = threading.Event()
        link = RNS.Link(remote, established_callback=lambda _link: up.set())
        self.listen(link)
        if not up.wait(20):
            return None
        link.identify(self.identity)
        self.outbound[address] = link
        return link

    def announce(self, **lies: Any) -> None:
        key_id = lies.get("key_id", self.options.key_id)
        epoch = lies.get("epoch", self.options.epoch)
        public = bytes.fromhex(lies["public"]) if "public" in lies else self.public
        signature = self.key.sign(message(key_id, self.identity.get_public_key(), epoch))
        name = key_id.encode()
        data = bytes((1, len(name))) + name + public + struct.pack(">Q", epoch) + signature
        self.announced = bytes.fromhex(lies.get("raw", "")) or data
        self.destination.announce(app_data=self.announced)

    def run_rounds(self) -> None:
        """A round of every kind with every peer."""
        self.rounds += 1
        for address in list(self.rooted):
            for kind in V1_KINDS:
                for frame in self.model.open_round(kind):
                    self.send(address, frame)

    def do(self, command: dict[str, Any]) -> Any:
        match command.pop("do"):
            case "publish":
                envelope = bytes.fromhex(command["envelope"])
                return self.model.publish(EnvelopeKind(command["kind"]), envelope).hex()
            case "announce":
                self.announce(**command)
            case "announced":
                return {"app_data": self.announced.hex(), "public": self.public.hex()}
            case "rounds":
                self.run_rounds()
            case "hold_link":
                self.dial_only(**command)
            case "flood":
                self.flood(bytes.fromhex(command["address"]), command["count"])
            case "state":
                return self.state()
            case other:
                raise AssertionError(other)
        return None

    def known(self, address: bytes) -> Any:
        """Whose port this is, asked for where nobody has announced it since this one came."""
        digest = RNS.Destination.hash(address, "ciris", "edge")
        end_s = time.monotonic() + 200
        while not RNS.Transport.has_path(digest) or RNS.Identity.recall(digest) is None:
            assert time.monotonic() < end_s, "nobody answers for it"
            RNS.Transport.request_path(digest)
            time.sleep(0.5)
        return RNS.Identity.recall(digest)

    def dial_only(self, *, address: str, identify: bool, size: int) -> None:
        """A link whose owner does not play by the rules."""
        remote = RNS.Destination(
            self.known(bytes.fromhex(address)),
            RNS.Destination.OUT,
            RNS.Destination.SINGLE,
            "ciris",
            "edge",
        )
        link = self.surely_up(remote)
        link.set_link_closed_callback(
            lambda _link: self.stats.update(closed=self.stats["closed"] + 1)
        )
        if identify:
            link.identify(self.identity)
        if size:
            RNS.Resource(bytes(size), link)

    def surely_up(self, remote: Any) -> Any:
        """Reticulum gives a link seconds to be set up, which a machine may stand still."""
        while True:
            ends: queue.Queue[bool] = queue.Queue()
            link = RNS.Link(
                remote,
                established_callback=lambda _link, ends=ends: ends.put(True),
                closed_callback=lambda _link, ends=ends: ends.put(False),
            )
            if ends.get(timeout=200):
                return link

    def flood(self, address: bytes, count: int) -> None:
        """Link requests, one after the other, whatever becomes of them."""
        identity = self.known(address)
        remote = RNS.Destination(
            identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "ciris", "edge"
        )
        self.flooding = [RNS.Link(remote) for _ in range(count)]

    def state(self) -> dict[str, Any]:
        model = self.model
        return {
            **self.stats,
            "rooted": sorted(self.rooted.values()),
            "held": {
                kind.value: sorted(one.hex() for one in model.held(kind)) for kind in V1_KINDS
            },
            "asked": {f"{kind} {one}": count for (kind, one), count in model.asked.items()},
            "seen": dict(model.seen),
            "refused": dict(model.refused),
        }

    def work(self) -> None:
        self.destination.announce()  # the first is always without app_data
        time.sleep(1.5)  # Reticulum holds more than three a second of a new neighbour's back
        self.announce()
        next_s = time.monotonic() + self.options.cadence
        while True:
            try:
                task = self.tasks.get(timeout=max(0.0, next_s - time.monotonic()))
            except queue.Empty:
                next_s = time.monotonic() + self.options.cadence
                self.run_rounds()
            else:
                if task is None:
                    return
                task()

    def read_commands(self) -> None:
        for line in sys.stdin:
            command = json.loads(line)

            def perform(command: dict[str, Any] = command) -> None:
                OUT.write(json.dumps({"answer": self.do(command)}) + "\n")
                OUT.flush()

            self.tasks.put(perform)
        self.tasks.put(None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rns", required=True)
    parser.add_argument("--key-id", dest="key_id", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--epoch", type=int, default=0)
    parser.add_argument("--basis", default="row")
    parser.add_argument("--cadence", type=float, default=3600.0)
    for flag in ("pushes", "forgets", "channel", "dials"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    RNS.Reticulum(
        configdir=options.rns, loglevel=int(__import__("os").environ.get("EDGE_LOG", "2"))
    )
    peer = EdgePeer(options)
    threading.Thread(target=peer.read_commands, daemon=True).start()
    hello = {"answer": {"address": peer.identity.hash.hex(), "public": peer.public.hex()}}
    OUT.write(json.dumps(hello) + "\n")
    OUT.flush()
    peer.work()
    RNS.Reticulum.exit_handler()


if __name__ == "__main__":
    main()
