"""What comes in on one link, by whatever carrier: may it come, and is there room for it?

The lock is held around every call.
"""

from __future__ import annotations

from collections.abc import Callable

from ciris_mesh.transport import patience
from ciris_mesh.transport.admittance import FirstContact, Misbehaviour, refusal
from ciris_mesh.transport.base import Address, FrameReceived, LinkId
from ciris_mesh.transport.inbox import Inbox
from ciris_mesh.transport.reasons import DownReason, DropReason
from ciris_mesh.transport.rns_host import Host


class Intake:
    """One link's.

    Args:
        born_s: monotonic seconds.
        sequences: small frames that come as requests are numbered modulo this.
        flooded: called when the other end misbehaved too often.

    Attributes:
        address: the proven identity at the other end; None when it proved none.
        closing: when the link is to end after a refusal, and for what.
        progress_s: when something last moved, either way; arrived_s: when something last came.
    """

    def __init__(
        self,
        host: Host,
        link: LinkId,
        *,
        address: Address | None,
        born_s: float,
        sequences: int,
        flooded: Callable[[], None],
    ) -> None:
        self.address = address
        self.closing: tuple[float, DownReason] | None = None
        self.progress_s = self.arrived_s = born_s
        self.inbox = Inbox(self._report, host.budget, sequences=sequences)
        self._host = host
        self._link = link
        self._flooded = flooded
        self._first_contact = FirstContact(born_s)
        self._misbehaviour = Misbehaviour(host.drop)

    def arrived(self, now: float) -> None:
        """Something came."""
        self.progress_s = self.arrived_s = now

    def overdue(self, now: float, rtt_s: float) -> DownReason | None:
        """Say why the other end has had this link long enough; None while it may stay."""
        return self._first_contact.overdue(self.address, now, rtt_s, self._host.permitted)

    def refuses(self, size_bytes: int, now: float, rtt_s: float) -> bool:
        """Whether a frame of that size may not come; the link is about to close then."""
        reason = refusal(
            self.address,
            size_bytes,
            frames_before=self.inbox.received,
            permitted=self._host.permitted,
        )
        if reason is not None:
            self._refuse(reason, now, rtt_s)
        return reason is not None

    def asks_too_much(self, now: float, rtt_s: float) -> bool:
        """Count something that wants to come; whether it is one too many."""
        too_much = self._first_contact.asks_too_much(self.address, self._host.permitted)
        if too_much:
            self._refuse(DropReason.FRAMES_NOT_PERMITTED, now, rtt_s)
        return too_much

    def _refuse(self, reason: DropReason, now: float, rtt_s: float) -> None:
        self._host.drop(reason)
        self.closing = now + patience.linger_s(rtt_s), DownReason.FLOODED

    def misbehave(self, reason: DropReason, resource: str = "") -> None:
        """It did what no well-behaved end does."""
        if self._misbehaviour.is_too_much(reason, resource):
            self._flooded()

    def _report(self, frame: bytes) -> None:
        self._host.rx_bytes += len(frame)
        self._host.pump.put(FrameReceived(self._link, frame), then=self._frame_taken)

    def _frame_taken(self) -> None:
        with self._host.lock:
            self.inbox.delivered()
