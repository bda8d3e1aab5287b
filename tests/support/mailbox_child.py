"""A mailbox on real LXMF, alone in its process: prints what becomes of strange messages."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

import RNS
import RNS.vendor.umsgpack as msgpack

from ciris_mesh.notify.lxmf_mailbox import LxmfMailbox

NO_INTERFACES = """[reticulum]
enable_transport = no
share_instance = no
[logging]
loglevel = 0
[interfaces]
"""


def main() -> None:
    """Feed the mailbox signed messages of every shape, then send to receivers of every price."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rns", type=Path, required=True)
    place: Path = parser.parse_args().rns
    (place / "config").write_text(NO_INTERFACES)
    (place / "identity").write_bytes(bytes(range(64)))
    RNS.Reticulum(str(place))
    counts: Counter[str] = Counter()
    mailbox = LxmfMailbox(
        place / "identity", place, name="x", count=lambda name: counts.update([name])
    )
    ana = RNS.Identity()
    phone = RNS.Destination(ana, RNS.Destination.IN, RNS.Destination.SINGLE, "lxmf", "delivery")
    for identity, address in ((ana, phone.hash), (mailbox._identity, mailbox.address)):
        RNS.Identity.remember(os.urandom(16), address, identity.get_public_key())

    def deliver(sent_s: object, content: object) -> str | None:
        packed = msgpack.packb([sent_s, b"", content, {}])
        signed = mailbox.address + phone.hash + packed
        signature = ana.sign(signed + RNS.Identity.full_hash(signed))
        mailbox._router.lxmf_delivery(mailbox.address + phone.hash + signature + packed)
        message = mailbox.take(0.0)
        return None if message is None else message.text

    def send(cost: object) -> bool:
        mailbox._router.outbound_stamp_costs[phone.hash] = [0, cost]
        counts.clear()
        mailbox.send(phone.hash, ana.get_public_key(), "hello")
        return not counts["message_stamp_too_dear"]

    read = [
        deliver(1.0, b"status"),
        *(deliver(2.0, content) for content in (1 << 40, [1, 2], "text", None)),
        *(deliver(sent_s, b"status") for sent_s in ("3", None, [4], float("nan"), float("inf"))),
    ]
    malformed = counts["message_malformed"]
    # Stamps are worked on by LXMF's own thread; here only what it is given matters.
    mailbox._router.handle_outbound = lambda _message: None
    sent = {str(cost): send(cost) for cost in (None, 0, 12, 13, 254, "8")}
    sys.stdout.write(json.dumps({"read": read, "malformed": malformed, "sent": sent}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # LXMF's threads end with the process alone


if __name__ == "__main__":
    main()
