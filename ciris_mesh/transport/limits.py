"""What a transport holds at most, and why. Loopback and Reticulum keep the same limits."""

from __future__ import annotations

from typing import Final

from ciris_mesh.wire import frame

#: The wire's own frame limit; a frame of one byte more is refused before it is read.
FRAME_BYTES_MAX: Final = frame.FRAME_BYTES_MAX

#: What an identity that is no peer may send in one frame. A key record of 10.7 kB delivered as v1
#: JSON is 36 kB, a byte being up to four characters; an offered binding with it stays below 24 kB.
#: Nothing else is needed to meet.
FIRST_CONTACT_FRAME_BYTES_MAX: Final = 40 * 1024

#: Frames an identity that is no peer may send on one link: hello, wish, offer, refusal, and as
#: many again for retries of either side.
FIRST_CONTACT_FRAMES_MAX: Final = 16

#: Requests and offers of an identity that is no peer on one link, those repeated or turned away
#: included: each frame once more, for lost answers. Else repeating one frame would cost nothing.
FIRST_CONTACT_REQUESTS_MAX: Final = 2 * FIRST_CONTACT_FRAMES_MAX

#: app_data of an announce: design.md uses 23 bytes; 32 leaves room and keeps it cheap on radio.
APP_DATA_BYTES_MAX: Final = 32

#: Frames waiting to be sent on one link: two rounds' worth of messages.
SEND_QUEUE_FRAMES_MAX: Final = 64

#: Bytes waiting to be sent on one link: one frame of the full limit and a few Delivers beside it.
SEND_QUEUE_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX

#: Inbound frames of all links being put together or waiting for the handler.
REASSEMBLY_BYTES_MAX: Final = 32 * 1024 * 1024

#: Of those, the share of one link: a frame of the full limit and half a one beside it, for what
#: comes while the handler still has the last. Two links together never take all there is.
REASSEMBLY_BYTES_PER_LINK_MAX: Final = FRAME_BYTES_MAX + FRAME_BYTES_MAX // 2

#: Links other nodes hold to this one. A Reticulum link costs a thread and about 60 kB.
INBOUND_LINKS_MAX: Final = 128

#: Links others began to set up with this node and did not finish. An honest set-up takes a round
#: trip, so as many as may be up at all is plenty.
HALF_OPEN_LINKS_MAX: Final = INBOUND_LINKS_MAX

#: Links one identity may hold to this node: one in use, one dialled at the same moment by the
#: other side, and two that a restart left behind.
INBOUND_LINKS_PER_IDENTITY_MAX: Final = 4

#: Links this node holds to others, pending ones included; same cost as above.
OUTBOUND_LINKS_MAX: Final = 128

#: Announces waiting for the handler. More are dropped and counted; they come again.
ANNOUNCES_WAITING_MAX: Final = 256

#: One frame to a registry node: a single Resource segment, because it takes no others. Reticulum
#: splits at this size (`rns_seam.SEGMENT_BYTES_MAX`, checked by a test).
EDGE_SEND_BYTES_MAX: Final = 1024 * 1024 - 1

#: Frames and bytes waiting for one registry node: a round of every kind opened by either side, and
#: a few full frames of records.
EDGE_QUEUE_FRAMES_MAX: Final = 64
EDGE_QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024

#: Links registry nodes hold to this one, and this one to them: there are few of them.
EDGE_LINKS_MAX: Final = 64

#: Channel messages of one link that wait for the handler; each is at most a link's MDU (16 kB).
EDGE_CHANNEL_WAITING_MAX: Final = 64
