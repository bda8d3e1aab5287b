"""A mailbox on real LXMF, and a page on `nomadnetwork.node`: the one module here that knows RNS.

    Reticulum's threads --> bounded queue --> take()          send() --> LXMRouter

LXMF takes SIGINT and SIGTERM when a router is made, and registers an exit handler: make the
mailbox on the main thread, behind Reticulum and before your own handlers. Its job thread is a
daemon that nothing ends but the process. Written against lxmf 1.2.1.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import LXMF
import RNS

from ciris_mesh.notify.mailbox import INBOX_MAX, TEXT_BYTES_MAX, Delivered, Message
from ciris_mesh.notify.page import DENIED

log = logging.getLogger(__name__)

#: A message by somebody whose key is not known here yet is kept so long while it is asked for.
_UNKNOWN_S: Final = 120.0
_UNKNOWN_MAX: Final = 16
#: Larger messages are not taken at all; LXMF counts in kilobytes.
_DELIVERY_LIMIT_KB: Final = 16
#: Bits of work a receiver may ask for each message to it, by its announce: two minutes on a small
#: board. Anybody can announce 254, and LXMF would work on that on every core for ever.
_STAMP_COST_MAX: Final = 12

_PAGE_APP: Final = "nomadnetwork"
_PAGE_ASPECT: Final = "node"
_PAGE_PATH: Final = "/page/index.mu"
#: One page is made for all who ask within so long.
_PAGE_AGE_S: Final = 5.0


class LxmfMailbox:
    """Implements `mailbox.Mailbox`. Main thread only; see above.

    Args:
        identity_file: the node's 64 secret bytes; the mailbox is one more of its destinations.
        storage: LXMF keeps its directory `lxmf` in here.
        name: shown beside the address.
        count: counts what was turned away or lost, by a stable name; called on any thread.
        propagation_node: 16 bytes of a node that keeps messages for people who are off; or None.
    """

    def __init__(
        self,
        identity_file: Path,
        storage: Path,
        *,
        name: str,
        count: Callable[[str], None],
        propagation_node: bytes | None = None,
    ) -> None:
        self._inbox: queue.Queue[Message] = queue.Queue(INBOX_MAX)
        self._lock = threading.Lock()  # guards what waits for a key
        self._drop = count
        self._unknown: list[tuple[float, bytes, bytes]] = []
        self._stopped = False
        self._identity = RNS.Identity.from_file(str(identity_file))
        self._router = LXMF.LXMRouter(
            storagepath=str(storage),
            autopeer=False,
            max_peers=0,
            delivery_limit=_DELIVERY_LIMIT_KB,
        )
        self._own = self._router.register_delivery_identity(self._identity, display_name=name)
        self._router.register_delivery_callback(self._arrived)
        self._has_propagation = propagation_node is not None
        if propagation_node is not None:
            self._router.set_outbound_propagation_node(propagation_node)

    @property
    def address(self) -> bytes:
        """16 bytes."""
        address: bytes = self._own.hash
        return address

    @property
    def public_key(self) -> bytes:
        """64 bytes."""
        public_key: bytes = self._identity.get_public_key()
        return public_key

    def announce(self) -> None:
        """Announce the address, 167 bytes and the name."""
        self._router.announce(self._own.hash)

    def take(self, timeout_s: float) -> Message | None:
        """The next message; None when none came in time."""
        self._look_again()
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def send(
        self,
        to: bytes,
        public_key: bytes,
        text: str,
        *,
        fields: Mapping[int, object] | None = None,
        done: Delivered | None = None,
    ) -> None:
        """Hand a message to LXMF: one packet where it fits and a path is known, else a link.

        When that fails and there is a propagation node, it is left there. A receiver that asks for
        more work than is sensible gets nothing, counted as `message_stamp_too_dear`.
        """
        self._dispatch(to, public_key, text, fields, done, LXMF.LXMessage.OPPORTUNISTIC)

    def stop(self) -> None:
        """Take nothing more and save LXMF's caches. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._router.register_delivery_callback(None)
            self._router.exit_handler()

    # -- outgoing ----------------------------------------------------------------------------

    def _is_affordable(self, to: bytes) -> bool:
        cost = self._router.get_outbound_stamp_cost(to)
        return cost is None or (isinstance(cost, int) and cost <= _STAMP_COST_MAX)

    def _dispatch(
        self,
        to: bytes,
        public_key: bytes,
        text: str,
        fields: Mapping[int, object] | None,
        done: Delivered | None,
        method: int,
    ) -> None:
        identity = RNS.Identity(create_keys=False)
        identity.load_public_key(public_key)
        destination = RNS.Destination(
            identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "lxmf", "delivery"
        )
        if destination.hash != to:
            raise ValueError("the address is not that of the key")
        if not self._is_affordable(to):
            self._drop("message_stamp_too_dear")
            if done is not None:
                done(False)  # noqa: FBT003 (the callback's only argument)
            return
        message = LXMF.LXMessage(
            destination, self._own, text, fields=dict(fields or {}), desired_method=method
        )

        def failed(_message: Any) -> None:
            if self._has_propagation and method != LXMF.LXMessage.PROPAGATED:
                self._dispatch(to, public_key, text, fields, done, LXMF.LXMessage.PROPAGATED)
                return
            self._drop("message_undelivered")
            if done is not None:
                done(False)  # noqa: FBT003 (the callback's only argument)

        message.register_failed_callback(failed)
        if done is not None:
            message.register_delivery_callback(lambda _message: done(True))  # noqa: FBT003
        self._router.handle_outbound(message)

    # -- incoming, on threads of Reticulum's ---------------------------------------------------

    def _arrived(self, message: Any) -> None:
        if message.signature_validated:
            self._keep(message)
        elif message.unverified_reason == LXMF.LXMessage.SOURCE_UNKNOWN and message.packed:
            self._ask_for_key(bytes(message.source_hash), bytes(message.packed))
        else:
            self._drop("message_bad_signature")

    def _keep(self, message: Any) -> None:
        identity = RNS.Identity.recall(message.source_hash)
        if identity is None:
            self._drop("message_unknown_sender")
            return
        content, sent_s = message.content, message.timestamp
        # LXMF hands over what the sender packed, of whatever type: bytes() of a number makes that
        # many, and a time that is no number is later than none and earlier than none.
        is_text = isinstance(content, bytes)
        if not is_text or not isinstance(sent_s, int | float) or not math.isfinite(sent_s):
            self._drop("message_malformed")
            return
        kept = Message(
            sender=bytes(message.source_hash),
            public_key=bytes(identity.get_public_key()),
            text=content[:TEXT_BYTES_MAX].decode("utf-8", "replace"),
            sent_s=float(sent_s),
            fields=message.fields if isinstance(message.fields, dict) else {},
        )
        try:
            self._inbox.put_nowait(kept)
        except queue.Full:
            self._drop("message_inbox_full")

    def _ask_for_key(self, source: bytes, packed: bytes) -> None:
        with self._lock:
            has_room = len(self._unknown) < _UNKNOWN_MAX
            if has_room:
                self._unknown.append((time.monotonic() + _UNKNOWN_S, source, packed))
        if not has_room:
            self._drop("message_unknown_sender")
            return
        RNS.Transport.request_path(source)

    def _look_again(self) -> None:
        """Messages whose sender's key has arrived, and those for which it did not."""
        now_s = time.monotonic()
        with self._lock:
            if not self._unknown:
                return
            waiting, self._unknown = self._unknown, []
        for until_s, source, packed in waiting:
            if RNS.Identity.recall(source) is not None:
                self._again(packed)
            elif now_s < until_s:
                with self._lock:
                    self._unknown.append((until_s, source, packed))
            else:
                self._drop("message_unknown_sender")

    def _again(self, packed: bytes) -> None:
        message = LXMF.LXMessage.unpack_from_bytes(packed)
        if message.signature_validated:
            self._keep(message)
        else:
            self._drop("message_bad_signature")


class PageHost:
    """Serves one Micron page at `nomadnetwork.node`, to everybody or to those on a list.

    Args:
        identity_file: as above.
        name: shown in the list of nodes.
        allowed: hashes of identities, 16 bytes each; None lets everybody read it.
        render: makes the page; called on a thread of Reticulum's, at most every few seconds.
        count: counts who was not let in, as `page_denied`.
    """

    def __init__(
        self,
        identity_file: Path,
        *,
        name: str,
        allowed: frozenset[bytes] | None,
        render: Callable[[], str],
        count: Callable[[str], None],
    ) -> None:
        self._name = name
        self._drop = count
        self._allowed = allowed
        self._render = render
        self._lock = threading.Lock()  # guards the page
        self._page: tuple[float, bytes] | None = None
        self._own = RNS.Destination(
            RNS.Identity.from_file(str(identity_file)),
            RNS.Destination.IN,
            RNS.Destination.SINGLE,
            _PAGE_APP,
            _PAGE_ASPECT,
        )
        self._own.register_request_handler(
            _PAGE_PATH, response_generator=self._respond, allow=RNS.Destination.ALLOW_ALL
        )

    @property
    def address(self) -> bytes:
        """16 bytes; what a browser is given."""
        address: bytes = self._own.hash
        return address

    def announce(self) -> None:
        """Announce the page, 167 bytes and the name."""
        self._own.announce(app_data=self._name.encode())

    def stop(self) -> None:
        """Answer nobody any more. Idempotent."""
        self._own.deregister_request_handler(_PAGE_PATH)

    def _respond(
        self,
        path: str,
        data: object,
        request_id: bytes,
        link_id: bytes,
        remote_identity: Any,
        requested_at: float,
    ) -> bytes:
        """Reticulum tells handlers apart by how many arguments they have, so all are here."""
        who = bytes(remote_identity.hash) if remote_identity is not None else None
        if self._allowed is not None and who not in self._allowed:
            self._drop("page_denied")
            return DENIED.encode()
        try:
            return self._fresh_page()
        except Exception:
            log.exception("page.failed")
            return b"The page could not be made; look at the log.\n"

    def _fresh_page(self) -> bytes:
        now_s = time.monotonic()
        with self._lock:
            if self._page is not None and now_s - self._page[0] < _PAGE_AGE_S:
                return self._page[1]
        page = self._render().encode()
        with self._lock:
            self._page = now_s, page
        return page
