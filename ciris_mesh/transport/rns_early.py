"""What comes back before Reticulum has noted what it sent.

Reticulum sends a request, and the offer of a Resource, first and takes note of it afterwards. On a
fast link the other side may be quicker: then the answer, or the first request for parts, finds
nobody who waits for it and is thrown away. A request is then repeated after seconds, and parts are
asked for again after a quarter of a second, a few times in a hundred frames on loopback.

Here what came too early is kept until the note is taken. Four methods of a link are stood in for,
each of which does what it did, later if need be (rns 1.5.7).
"""

from __future__ import annotations

import threading
from typing import Any, Final

#: Answers kept of requests not noted yet. One small frame is under way at a time; what is not
#: claimed answers one that was given up.
ANSWERS_MAX: Final = 4

#: Requests for parts of a Resource not noted yet. One is offered at a time, and who gets it asks
#: once, and again after 0.25 s; longer than a few of these no offer takes to be noted.
PART_REQUESTS_MAX: Final = 4


class Early:
    """Keeps what comes too early on one link. Made once for a link; lasts as long as it does.

    Args:
        part_request: the context of packets that ask for parts.
    """

    def __init__(self, link: Any, *, part_request: int) -> None:
        self._link = link
        self._part_request = part_request
        self._lock = threading.Lock()  # guards the three fields below
        self._answers: dict[bytes, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._packets: list[Any] = []
        self._is_offering = False
        self._handle_response = link.handle_response
        self._is_ready = link.ready_for_new_resource
        self._register = link.register_outgoing_resource
        self._receive = link.receive
        link.handle_response = self._answered
        link.ready_for_new_resource = self._about_to_offer
        link.register_outgoing_resource = self._offered
        link.receive = self._received

    def requested(self, request_id: bytes) -> None:
        """A request was sent and noted: hand over the answer that came meanwhile."""
        with self._lock:
            answer = self._answers.pop(request_id, None)
        if answer is not None:
            self._handle_response(request_id, *answer[0], **answer[1])

    def _answered(self, request_id: bytes, *args: Any, **kwargs: Any) -> None:
        with self._lock:
            pending = list(self._link.pending_requests)
            if not any(request.request_id == request_id for request in pending):
                while len(self._answers) >= ANSWERS_MAX:
                    del self._answers[next(iter(self._answers))]
                self._answers[request_id] = args, kwargs
                return
        self._handle_response(request_id, *args, **kwargs)

    def _about_to_offer(self) -> bool:
        """Reticulum asks this right before it sends an offer."""
        with self._lock:
            self._is_offering = bool(self._is_ready())
            return self._is_offering

    def _offered(self, resource: Any) -> None:
        self._register(resource)
        with self._lock:
            self._is_offering = False
            packets, self._packets = self._packets, []
        for packet in packets:
            self._receive(packet)

    def _received(self, packet: Any) -> None:
        if packet.context == self._part_request:
            with self._lock:
                if self._is_offering and len(self._packets) < PART_REQUESTS_MAX:
                    self._packets.append(packet)
                    return
        self._receive(packet)
