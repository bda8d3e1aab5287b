"""The closed sets of names a transport reports: why links end, dials fail, bytes are dropped.

They are members of events and of `TransportStats.dropped`, so they never change meaning.
"""

from __future__ import annotations

from enum import StrEnum


class DownReason(StrEnum):
    """Why a link is gone (`LinkDown.reason`)."""

    CLOSED = "closed"  # this side hung up
    PEER_CLOSED = "peer_closed"  # the other side hung up
    TIMEOUT = "timeout"  # nothing was heard of the other side
    STALLED = "stalled"  # a frame made no progress
    REFUSED = "refused"  # a frame was more than the receiving side lets this identity send
    FLOODED = "flooded"  # more arrived than this side had agreed to hold
    UNIDENTIFIED = "unidentified"  # the other side did not say who it is in time
    OVERSTAYED = "overstayed"  # an identity that is no peer held an inbound link too long
    TOO_MANY_LINKS = "too_many_links"  # more links than one identity, or all of them, may hold
    STOPPED = "stopped"  # this transport was stopped
    HANDED_OVER = "handed_over"  # an operator's: requests go on over it, frames do not


class DialReason(StrEnum):
    """Why no link came up (`DialFailed.reason`)."""

    NO_PATH = "no_path"
    TIMEOUT = "timeout"
    TOO_MANY_LINKS = "too_many_links"
    STOPPED = "stopped"


class DropReason(StrEnum):
    """What was dropped or turned away (`TransportStats.dropped`)."""

    FRAME_NOT_PERMITTED = "frame_not_permitted"  # larger than an unknown identity may send
    FRAME_TOO_LARGE = "frame_too_large"  # larger than anyone may send
    FRAMES_NOT_PERMITTED = "frames_not_permitted"  # more frames than an unknown identity may send
    FRAME_UNREADABLE = "frame_unreadable"  # the carrier delivered something that is no frame
    PACKET_UNPROVEN = "packet_unproven"  # of a slow link, and not made by its other end just now
    REASSEMBLY_FULL = "reassembly_full"  # too many bytes are being put together already
    INBOUND_BUSY = "inbound_busy"  # answered "busy"; the sender tries again
    LINK_NOT_READY = "link_not_ready"  # bytes on a link that nobody owns, or not yet
    UNIDENTIFIED = "unidentified"  # inbound links closed for want of an identity
    OVERSTAYED = "overstayed"  # inbound links of unknown identities closed after their time
    HALF_OPEN = "half_open"  # links that somebody began to set up and did not finish in time
    SET_UP_REPEATED = "set_up_repeated"  # ends of a link's set-up that seem not to have arrived
    TOO_MANY_LINKS = "too_many_links"
    ANNOUNCE_FLOOD = "announce_flood"  # announces beyond the rate of one address, or of all
    ANNOUNCE_UNREADABLE = "announce_unreadable"
    EDGE_STRANGER = "edge_stranger"  # bytes at `ciris.edge` from who is no verified registry node
    EDGE_UNIDENTIFIED = "edge_unidentified"  # links there closed for want of an identity
    EDGE_OVERSTAYED = "edge_overstayed"  # links there of strangers closed after their time
    EDGE_RADIO = "edge_radio"  # `ciris.edge` not announced: a shared Reticulum has a radio
    RNS_INBOUND = "rns_inbound_dropped"  # packets Reticulum's own inbound queues dropped
