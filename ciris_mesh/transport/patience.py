"""How long to wait on a link, by its round-trip time.

What counts is that something moves, not how long a transfer takes; these are the waits without
any movement. They grow with the round trip, so the same rules serve TCP and LoRa.
"""

from __future__ import annotations

from typing import Final

#: No part moved for this long: stalled. The multiple leaves a window of parts its time on the
#: slowest LoRa setting (74 s at SF12, round trip 13.5 s).
STALL_S: Final = 10.0
STALL_RTTS: Final = 12.0

#: An inbound link must say who it is within this time, plus the same allowance.
IDENTIFY_S: Final = 20.0

#: A request is lost after this and six round trips; on a slow link after what Reticulum grants.
ANSWER_S: Final = 3.5
ANSWER_SLOW_S: Final = 11.25
ANSWER_RTTS: Final = 6.0

#: An offered Resource is offered again after this and Reticulum's second of grace, five times.
OFFER_S: Final = 2.0

#: After a refusal the other side gets this long to learn of it before the link closes.
REFUSAL_LINGER_S: Final = 2.0

#: An offer of which nothing was taken for this long before the other side closed the link was
#: refused: Reticulum loses a refusal that comes faster than it books the offer.
IGNORED_OFFER_S: Final = 1.0

#: An identity that is no peer has this long in all, however much it says: a hello, a key record
#: and a binding each way. The multiple lets 28 kB through at SF12.
FIRST_CONTACT_S: Final = 60.0
FIRST_CONTACT_RTTS: Final = 75.0

#: Round trips believed at most, by the medium of the first hop. Reticulum takes the initiator's
#: word when it names more than was measured, and whoever names hours would never time out. Behind
#: TCP there may be one hop of the slowest LoRa setting (13.5 s), elsewhere four.
RTT_TCP_MAX_S: Final = 15.0
RTT_MAX_S: Final = 60.0

#: A round trip of this and more makes a link slow.
SLOW_RTT_S: Final = 0.5


def believed_rtt_s(rtt_s: float | None, medium: str) -> float:
    """The round trip to reckon with, in seconds; 0 when none is known."""
    return min(rtt_s or 0.0, RTT_TCP_MAX_S if medium == "tcp" else RTT_MAX_S)


def stall_s(rtt_s: float) -> float:
    """Seconds without a moving part until a transfer counts as stalled."""
    return STALL_S + STALL_RTTS * rtt_s


def identify_s(rtt_s: float) -> float:
    """Seconds an inbound link has to identify."""
    return IDENTIFY_S + STALL_RTTS * rtt_s


def first_contact_s(rtt_s: float) -> float:
    """Seconds an identity that is no peer may hold an inbound link."""
    return FIRST_CONTACT_S + FIRST_CONTACT_RTTS * rtt_s


def answer_s(rtt_s: float, *, slow: bool) -> float:
    """Seconds until a request without an answer counts as lost."""
    return (ANSWER_SLOW_S if slow else ANSWER_S) + ANSWER_RTTS * rtt_s


def offer_s(rtt_s: float) -> float:
    """Seconds between two offers of the same Resource."""
    return max(OFFER_S, ANSWER_RTTS * rtt_s)


def linger_s(rtt_s: float) -> float:
    """Seconds between a refusal and the end of the link."""
    return REFUSAL_LINGER_S + ANSWER_RTTS * rtt_s


def was_ignored(age_s: float, rtt_s: float) -> bool:
    """Say of an offer that old, of which nothing was taken, whether it was meant to be refused."""
    return age_s >= IGNORED_OFFER_S + rtt_s  # the two sides measure the round trip differently


# Paced packets (`paced`): what the speed of a link means for them.

#: What a packet of the round trip that set up a link counts for, in bytes: 204 and two preambles,
#: and the wait for the channel. Taken only where no interface says how fast it is.
_SETUP_BYTES: Final = 300.0

#: Preambles and headers of LoRa frames, on top of what the bitrate says.
_ON_AIR: Final = 1.25

#: Parts handed to Reticulum at once: eight of 500 bytes fit an RNode's queue of 6,144 with
#: something else in it. On slow settings fewer, so that no more than this is out of our hands.
WINDOW_PARTS_MAX: Final = 8
WINDOW_S_MAX: Final = 13.0

#: An acknowledgement waits so long for an answer to travel with; admitting a batch takes less.
ACK_DELAY_S: Final = 0.5
ACK_DELAY_S_MAX: Final = 2.0

#: Nothing came back for this long, beyond what the bytes take twice over: ask again.
ACK_WAIT_S: Final = 2.0
ACK_WAIT_RTTS: Final = 3.0


def byte_s(rtt_s: float, bitrate_bps: float | None) -> float:
    """Seconds that a byte takes, by the interface's own bitrate or else by the round trip."""
    return _ON_AIR * 8 / bitrate_bps if bitrate_bps else rtt_s / _SETUP_BYTES


def window_parts(part_bytes: int, one_byte_s: float) -> int:
    """Parts that may be out before an acknowledgement is waited for."""
    part_s = part_bytes * one_byte_s
    return max(1, min(WINDOW_PARTS_MAX, int(WINDOW_S_MAX / part_s) if part_s else WINDOW_PARTS_MAX))


def ack_delay_s(rtt_s: float) -> float:
    """Seconds an acknowledgement waits for something to travel with."""
    return min(ACK_DELAY_S + rtt_s / 4, ACK_DELAY_S_MAX)


def ack_wait_s(rtt_s: float, size_bytes: int, one_byte_s: float) -> float:
    """Seconds until what was sent, and not acknowledged, is asked about."""
    return ACK_WAIT_S + ACK_WAIT_RTTS * rtt_s + ack_delay_s(rtt_s) + 2 * size_bytes * one_byte_s
