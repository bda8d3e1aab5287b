"""A process with one node on real Reticulum, driven by JSON lines on stdin and stdout.

Reticulum is one per process, so every node of a test is one of these. Not a test itself.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import threading
from pathlib import Path
from typing import Any

import RNS

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import patience
from ciris_mesh.transport.base import LinkId
from ciris_mesh.transport.rns_node import RnsTransport, shutdown_reticulum, start_reticulum
from support.transport_nodes import describe, perform

OUT = sys.stdout
OUT_LOCK = threading.Lock()


def say(message: dict[str, Any]) -> None:
    with OUT_LOCK:
        OUT.write(json.dumps(message) + "\n")
        OUT.flush()


class RawClient:
    """A link made with Reticulum alone: somebody who does not play by our rules."""

    def __init__(self) -> None:
        self.link: Any = None

    def perform(self, command: dict[str, Any]) -> dict[str, Any]:
        match command:
            case {"do": "raw_link", "address": address}:
                self._open(bytes.fromhex(address))
            case {"do": "raw_identify"}:
                self.link.identify(RNS.Identity())
            case {"do": "raw_resource", "size": size}:
                RNS.Resource(noise(size), self.link, callback=self._concluded)
            case {"do": "raw_bomb", "size": size}:
                self._bomb(size)
            case {"do": "raw_request", "path": path, "size": size, "timeout_s": timeout_s}:
                self._request(path, size, timeout_s)
            case {"do": "raw_teardown"}:
                self.link.teardown()
            case _:
                raise AssertionError(f"unknown command {command}")
        return {"answer": None}

    def _open(self, address: bytes) -> None:
        digest = RNS.Destination.hash(address, "ciris", "mesh")
        identity = RNS.Identity.recall(digest)
        destination = RNS.Destination(
            identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "ciris", "mesh"
        )
        self.link = RNS.Link(
            destination,
            established_callback=lambda _link: say({"event": "raw_up"}),
            closed_callback=lambda _link: say({"event": "raw_down"}),
        )

    def _request(self, path: str, size: int, timeout_s: float) -> None:
        def report(done: Any) -> None:
            say({"event": "raw_answer", "value": done.response})

        self.link.request(
            path, noise(size), response_callback=report, failed_callback=report, timeout=timeout_s
        )

    def _bomb(self, size: int) -> None:
        """Claim a few bytes, send what unpacks to many."""
        resource = RNS.Resource(bytes(size), self.link, advertise=False, callback=self._concluded)
        resource.total_size = 1000
        resource.advertise()

    def _concluded(self, resource: Any) -> None:
        say({"event": "raw_resource", "status": resource.status})


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def destination_of(transport: RnsTransport, link: int) -> str:
    """The name of the destination an outbound link leads to."""
    name: str = transport._links[LinkId(link)].rns.destination.name
    return name.rpartition(".")[0]


class PathListener:
    """Reports each announce of a kind's own destination."""

    aspect_filter = None

    def received_announce(
        self, destination_hash: bytes, announced_identity: Any, app_data: Any
    ) -> None:
        for kind in EnvelopeKind:
            name = f"ciris.replication.{kind.value}"
            if (
                RNS.Destination.hash_from_name_and_identity(name, announced_identity)
                == destination_hash
            ):
                say({"event": "path", "kind": kind.value, "address": announced_identity.hash.hex()})


def listen_for_paths() -> None:
    RNS.Transport.register_announce_handler(PathListener())


def dawdle(transport: RnsTransport, config_dir: Path) -> None:
    """Start Reticulum as a node does, and go on only once it has heard of somebody."""
    transport.listen()
    start_reticulum(config_dir)
    while not RNS.Transport.path_table:
        threading.Event().wait(0.02)
    # Who listens is told on a thread of its own, once the path is known.
    threading.Event().wait(0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--announce-kinds", default="")
    parser.add_argument("--dawdle", action="store_true")
    parser.add_argument("--identify-s", type=float, default=patience.IDENTIFY_S)
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(threadName)s %(message)s"
    )
    vars(patience)["IDENTIFY_S"] = options.identify_s
    kinds = frozenset(EnvelopeKind(name) for name in options.announce_kinds.split(",") if name)
    transport = RnsTransport(
        options.directory / "rns",
        options.directory / "identity",
        announce_kinds=("in", "out0") if kinds else (),
        kinds=kinds or frozenset(EnvelopeKind),
    )
    if options.dawdle:
        dawdle(transport, options.directory / "rns")
    transport.start(lambda event: say(describe(event)))
    say(
        {
            "event": "ready",
            "address": transport.address.hex(),
            "public_key": transport.public_key.hex(),
        }
    )
    listen_for_paths()
    raw = RawClient()
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "destination":
            say({"answer": destination_of(transport, command["link"])})
        elif command["do"] == "lose_patience":
            vars(patience)["IDENTIFY_S"] = 0.0
            say({"answer": None})
        elif command["do"].startswith("raw_"):
            say(raw.perform(command))
        else:
            say(perform(transport, command))
    transport.stop()
    shutdown_reticulum()


if __name__ == "__main__":
    main()
