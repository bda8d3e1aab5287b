"""A process with plain Reticulum on one interface, driven by JSON lines. Not a test itself.

Nothing of ciris_mesh runs here but what Reticulum's configuration names, and one setting of a link
when told to. With `RNodeInterface` the unmodified driver stands between this and the emulated
radio.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
from typing import Any

import RNS

from ciris_mesh.transport.rns_seam import forget_last_rate

OUT_LOCK = threading.Lock()
#: The driver says nothing when it goes on-line or off-line.
LOOK_S = 0.02


def say(event: str, **fields: Any) -> None:
    with OUT_LOCK:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


class Child:
    """One destination that takes links and Resources, and what the test tells it to do."""

    aspect_filter = None  # of whatever is announced

    def __init__(self, config_dir: str) -> None:
        RNS.Reticulum(config_dir)
        self.destination = RNS.Destination(
            RNS.Identity(), RNS.Destination.IN, RNS.Destination.SINGLE, "ciris", "radio"
        )
        self.destination.set_link_established_callback(self._linked)
        RNS.Transport.register_announce_handler(self)
        self.link: Any = None
        self.forgets = False
        self.interface = RNS.Transport.interfaces[0]
        threading.Thread(target=self._watch, daemon=True).start()
        say("ready", address=self.destination.hash.hex())

    def received_announce(
        self, destination_hash: bytes, announced_identity: Any, app_data: Any
    ) -> None:
        say("heard", address=destination_hash.hex())

    def perform(self, do: str, **fields: Any) -> None:
        match do:
            case "announce":
                self.destination.announce()
            case "flood":
                stranger = RNS.Destination(
                    RNS.Identity(), RNS.Destination.IN, RNS.Destination.SINGLE, "ciris", "flood"
                )
                stranger.announce()
                say("flooded", address=stranger.hash.hex())
            case "path":
                digest = bytes.fromhex(fields["address"])
                found = RNS.Transport.await_path(digest, timeout=fields["timeout_s"])
                say("path", address=fields["address"], found=bool(found))
            case "link":
                digest = bytes.fromhex(fields["address"])
                target = RNS.Destination(
                    RNS.Identity.recall(digest),
                    RNS.Destination.OUT,
                    RNS.Destination.SINGLE,
                    "ciris",
                    "radio",
                )
                RNS.Link(
                    target,
                    established_callback=self._linked,
                    closed_callback=lambda _link: say("unlinked"),  # `_linked` sets another
                )
            case "resource":
                data = random.Random(fields["size"]).randbytes(fields["size"])
                RNS.Resource(
                    data,
                    self.link,
                    auto_compress=False,
                    callback=lambda done: say("sent", status=done.status),
                    progress_callback=lambda going: say("progress", part=going.get_progress()),
                )
            case "forget":
                self.forgets = True  # as our own links by radio do, after each Resource
                forget_last_rate(self.link)
            case "packet":
                RNS.Packet(self.link, bytes(fields["size"])).send()
            case "stats":
                say("stats", **self._stats())
            case _:
                raise AssertionError(f"unknown command {do}")

    def _linked(self, link: Any) -> None:
        self.link = link
        link.set_resource_strategy(RNS.Link.ACCEPT_ALL)
        link.set_resource_concluded_callback(self._got)
        link.set_packet_callback(lambda data, _packet: say("packet", size=len(data)))
        link.set_link_closed_callback(lambda _link: say("closed"))
        say("linked")

    def _got(self, resource: Any) -> None:
        digest = ""
        if self.forgets:
            forget_last_rate(self.link)
        if resource.status == RNS.Resource.COMPLETE:
            digest = hashlib.sha256(resource.data.read()).hexdigest()
        say("got", status=resource.status, digest=digest)

    def _stats(self) -> dict[str, Any]:
        row = RNS.Reticulum.get_instance().get_interface_stats()["interfaces"][0]
        names = ("bitrate", "status", "airtime_short", "airtime_long", "channel_load_short")
        return {
            **{name: row.get(name) for name in names},
            "type": type(self.interface).__module__ + "." + type(self.interface).__name__,
            "rssi": self.interface.r_stat_rssi,
            "snr": self.interface.r_stat_snr,
            "errors": len(getattr(self.interface, "hw_errors", ())),
        }

    def _watch(self) -> None:
        """Report each change of the interface."""
        online, pause = None, threading.Event()
        while True:
            if bool(self.interface.online) is not online:
                online = bool(self.interface.online)
                say("online" if online else "offline")
            pause.wait(LOOK_S)


def main() -> None:
    child = Child(sys.argv[1])
    for line in sys.stdin:
        child.perform(**json.loads(line))
    RNS.Reticulum.exit_handler()


if __name__ == "__main__":
    main()
