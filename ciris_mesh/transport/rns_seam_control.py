"""What operators see and ask, by Reticulum's API; see `rns_seam`. Written against rns 1.5.7."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import RNS

from ciris_mesh.transport.rns_seam import APP_NAME, MESH_ASPECTS, Identity, Link

#: An answer is at most this long once unpacked: a status of a large mesh is 100 kB.
RESPONSE_BYTES_MAX: Final = 1 << 20


def control_path(name: str) -> str:
    """The request path of an operator's question."""
    return f"ciris.control.{name}"


def serve_requests(
    destination: Any,
    ask: Callable[[str, object, bytes], bytes | None],
    operators: Mapping[bytes, frozenset[str]],
) -> None:
    """Let these identities, and nobody else, send requests of these names.

    Reticulum looks at the list; to others it says nothing at all. Each request has a thread.
    """

    # Five parameters: Reticulum counts them.
    def answer(
        path: str, data: object, request_id: bytes, identity: Any, requested_at: object
    ) -> bytes | None:
        return ask(path.rpartition(".")[2], data, identity.hash)

    for name in sorted(set().union(*operators.values())):
        allowed = [who for who, names in operators.items() if name in names]
        destination.register_request_handler(
            control_path(name),
            response_generator=answer,
            allow=RNS.Destination.ALLOW_LIST,
            allowed_list=allowed,
        )


def open_request_link(
    identity: Identity, *, established: Callable[[Link], None], closed: Callable[[Link], None]
) -> Link:
    """Send a link request to a node, to ask it something. Its identity must be known."""
    destination = RNS.Destination(
        identity, RNS.Destination.OUT, RNS.Destination.SINGLE, APP_NAME, *MESH_ASPECTS
    )
    link: Link = RNS.Link(destination, established_callback=established, closed_callback=closed)
    return link


def send_question(
    link: Any,
    name: str,
    body: bytes,
    *,
    timeout_s: float,
    answered: Callable[[object], None],
    failed: Callable[[], None],
) -> bool:
    """Ask; False when no interface took it. One of the callbacks follows otherwise."""
    receipt = link.request(
        control_path(name),
        body,
        response_callback=lambda receipt: answered(receipt.response),
        failed_callback=lambda _receipt: failed(),
        timeout=timeout_s,
        max_response_size=RESPONSE_BYTES_MAX,
    )
    return receipt is not False


def transfers(link: Any) -> list[tuple[bool, int, int, float]]:
    """Resources under way: (inbound, bytes done, bytes in all, seconds since the first moved)."""
    found = []
    for inbound, resources in ((True, link.incoming_resources), (False, link.outgoing_resources)):
        for resource in list(resources):
            total, begun_s = int(resource.total_size or 0), resource.started_transferring
            if begun_s is not None and total:
                done = round(total * resource.get_progress())
                found.append((inbound, done, total, max(0.0, time.time() - begun_s)))
    return found
