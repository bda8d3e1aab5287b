"""`ciris-mesh` whose node also says what it is told to, over the control socket. Not a test itself.

It has a valid identity, a valid key and a working runtime, so it gets as far as a peer can get:
what it says goes out on an attributed link. Two operations come on top of the honest ones, both
False while there is no such link:

    say    {"peer": KEY_ID, "frame_hex": HEX}    any bytes, as one frame
    flood  {"peer": KEY_ID, "size_bytes": N}     a Resource of any size, past our own sender's limit
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import RNS

from ciris_mesh.cli.main import main
from ciris_mesh.errors import LinkGone
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.transport.base import LinkId
from ciris_mesh.transport.rns_node import RnsTransport

Arguments = dict[str, Any]

honest_table = Operations.table


def table(operations: Operations) -> Mapping[str, Callable[[Arguments], object]]:
    """The honest operations and ours."""
    runtime = operations.node.runtime

    def link_to(key_id: str) -> LinkId | None:
        peer = runtime.peers.get(key_id)
        return peer.link.link if peer is not None and peer.link is not None else None

    def say(arguments: Arguments) -> bool:
        link = link_to(arguments["peer"])
        if link is None:
            return False
        try:
            runtime.transport.send(link, bytes.fromhex(arguments["frame_hex"]))
        except LinkGone:
            return False
        return True

    def flood(arguments: Arguments) -> bool:
        link = link_to(arguments["peer"])
        assert isinstance(runtime.transport, RnsTransport)
        found = runtime.transport._links.get(link) if link is not None else None
        if found is None:
            return False
        noise = random.Random(0).randbytes(arguments["size_bytes"])
        RNS.Resource(noise, found.rns, auto_compress=False)
        return True

    return {**honest_table(operations), "say": say, "flood": flood}


if __name__ == "__main__":
    Operations.table = table  # type: ignore[assignment, method-assign]
    main()
