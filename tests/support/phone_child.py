"""A person's phone: an LXMF router and a page reader in a process of their own.

JSON lines in: {"do": "send", "to": HEX, "text": TEXT, "fields": BOOL}, {"do": "page", "of": HEX},
{"do": "announce"}. JSON lines out: what it is, what it got. Not a test itself.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import LXMF
import RNS

OUT = sys.stdout
sys.stdout = sys.stderr  # Reticulum logs there
#: Many times what an answer takes.
PAGE_S = 30
OUT_LOCK = threading.Lock()


def say(**message: Any) -> None:
    with OUT_LOCK:
        OUT.write(json.dumps(message) + "\n")
        OUT.flush()


class Phone:
    def __init__(self, storage: Path, identity: Path) -> None:
        self.identity = RNS.Identity.from_file(str(identity))
        self.router = LXMF.LXMRouter(storagepath=str(storage), autopeer=False)
        self.own = self.router.register_delivery_identity(self.identity, display_name="phone")
        self.router.register_delivery_callback(self._arrived)
        say(address=self.own.hash.hex())

    def _arrived(self, message: Any) -> None:
        say(
            text=message.content_as_string(),
            sender=message.source_hash.hex(),
            valid=message.signature_validated,
            fields={str(key): repr(value) for key, value in message.fields.items()},
            size=len(message.packed),
        )

    def perform(self, command: dict[str, Any]) -> None:
        match command:
            case {"do": "announce"}:
                self.router.announce(self.own.hash)
            case {"do": "send", "to": to, "text": text}:
                self._send(bytes.fromhex(to), text, command.get("fields") or {})
            case {"do": "page", "of": of}:
                self._page(bytes.fromhex(of))
            case _:
                raise AssertionError(f"unknown command {command}")

    def _send(self, to: bytes, text: str, fields: dict[str, Any]) -> None:
        identity = self._identity(to)
        destination = RNS.Destination(
            identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "lxmf", "delivery"
        )
        message = LXMF.LXMessage(
            destination,
            self.own,
            text,
            fields={int(key): [{1: [0, False]}] for key in fields},
            desired_method=LXMF.LXMessage.DIRECT,
        )
        message.register_delivery_callback(lambda _message: say(delivered=text))
        message.register_failed_callback(lambda _message: say(failed=text))
        self.router.handle_outbound(message)

    def _page(self, of: bytes) -> None:
        identity = self._identity(of)
        destination = RNS.Destination(
            identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "nomadnetwork", "node"
        )

        page = None
        while page is None:
            page = self._ask_page(destination)
        say(page=page)

    def _ask_page(self, destination: Any) -> str | None:
        """None when no answer came.

        Reticulum gives a link seconds to be set up, which a machine may stand still. And it notes a
        request only after it has sent it: an answer that is quicker goes to nobody.
        """
        ends: queue.Queue[str | None] = queue.Queue()

        def up(link: Any) -> None:
            link.identify(self.identity)
            link.request(
                "/page/index.mu",
                data=None,
                response_callback=lambda receipt: ends.put(receipt.response.decode()),
                failed_callback=lambda _receipt: link.teardown(),
                timeout=PAGE_S,
            )

        RNS.Link(destination, established_callback=up, closed_callback=lambda _link: ends.put(None))
        return ends.get()

    def _identity(self, of: bytes) -> Any:
        RNS.Transport.request_path(of)
        end_s = time.monotonic() + 200
        while (identity := RNS.Identity.recall(of)) is None or not RNS.Transport.has_path(of):
            if time.monotonic() > end_s:
                raise AssertionError(f"nobody knows {of.hex()}")
            threading.Event().wait(0.1)
        return identity


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rns", type=Path, required=True)
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--identity", type=Path, required=True)
    given = parser.parse_args()
    RNS.Reticulum(str(given.rns), loglevel=1)
    phone = Phone(given.storage, given.identity)
    for line in sys.stdin:
        try:
            phone.perform(json.loads(line))
        except AssertionError as error:
            say(failed=str(error))


if __name__ == "__main__":
    main()
