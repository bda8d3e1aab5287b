"""Fetching what listed vouchers named: rows that are in nobody's offer.

After each comparison a peer is asked, outside the round, for rows that stand nowhere here. Whoever
holds one and knows the vouch serves it; else nothing comes, and that peer is asked again later,
ever more seldom. On a radio, where a link ends with the comparison, whoever dialled asks for a few
before it closes, and for a few more as long as some come: they are paid for as all else that is
said, and who is asked sends none while anybody waits for records it owes (`radioroom`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from ciris_mesh.directory.backoff import BackoffMemory
from ciris_mesh.directory.vouches import Vouches
from ciris_mesh.errors import LifecycleError, TransportError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.parting import is_brief
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.wire.messages import Deliver, Fetch, ReplicationMessage

logger = logging.getLogger(__name__)

#: Ids of one kind asked for at once: 15 kB, since a Fetch spells them as numbers.
ASKED_MAX: Final = 128

#: By radio: as many as one answer brings.
ASKED_BY_RADIO_MAX: Final = 1

#: Questions on one link by radio: their answers, 3 kB each, are an hour of air at 1 %. Between two
#: links the peer can be told of what others wait for.
QUESTIONS_BY_RADIO_MAX: Final = 4

#: How long a peer is not asked again for a row: it may be fetching it itself.
AGAIN_FIRST_S: Final = 60.0
AGAIN_LONGEST_S: Final = 86_400.0
#: Of all peers together, 250 bytes each; what is forgotten is asked for once more.
REMEMBERED_MAX: Final = 16_384


class VouchedRows:
    """Asks peers for vouched rows. On the peers' strands.

    Args:
        tell: puts a message on a peer's link, as `Exchange.tell`.
    """

    def __init__(
        self, parts: Parts, vouches: Vouches, tell: Callable[[str, ReplicationMessage], None]
    ) -> None:
        self._parts = parts
        self._vouches = vouches
        self._tell = tell
        self._told_too_many = 0
        self._lock = threading.Lock()  # guards the memory
        self._asked: BackoffMemory[tuple[str, EnvelopeKind, bytes]] = BackoffMemory(
            AGAIN_FIRST_S, AGAIN_LONGEST_S, REMEMBERED_MAX
        )

    def ask(self, peer: Peer, state: LinkState) -> None:
        """Ask this peer for some of what is missing, if it was not asked a moment ago."""
        if not peer.config.direction.takes:
            return
        if is_brief(state) and (state.inbound or state.fetching or peer.round is not None):
            return  # who dialled closes, and it asks when there is nothing else to say
        if is_brief(state) and state.fetches >= QUESTIONS_BY_RADIO_MAX:
            return
        missing = self._vouches.missing(self._parts.wall_ms())
        if self._vouches.too_many > self._told_too_many:
            self._told_too_many = self._vouches.too_many
            self._parts.drops.count("vouches_too_many")
        for kind in sorted(missing.keys() & state.kinds & peer.config.kinds):
            at_most = ASKED_BY_RADIO_MAX if is_brief(state) else ASKED_MAX
            is_asked = self._fetch(peer.config.key_id, kind, missing[kind], at_most)
            if is_asked:
                state.fetching.add(kind)
                state.fetches += 1
            if is_asked and is_brief(state):
                return  # what comes is awaited before more is asked for

    def took(self, peer: Peer, state: LinkState, deliver: Deliver) -> bool:
        """Take what was asked for, or the word that it is not there. True when something came."""
        state.fetching.discard(deliver.kind)
        key_id, now_ms = peer.config.key_id, self._parts.wall_ms()
        verdicts = self._parts.bridge.apply(key_id, deliver.kind, deliver.envelopes, now_ms=now_ms)
        is_of_use = any(one.outcome.is_change for one in verdicts)
        if is_of_use and is_brief(state):
            self.ask(peer, state)
        return is_of_use

    def _fetch(self, key_id: str, kind: EnvelopeKind, ids: list[bytes], at_most: int) -> bool:
        now_s = self._parts.clock()
        with self._lock:
            due = [one for one in ids if not self._asked.is_active((key_id, kind, one), now_s)]
        want = due[:at_most]
        if not want:
            return False
        try:
            self._tell(key_id, Fetch(kind, tuple(want)))
        except (TransportError, LifecycleError) as error:
            logger.debug("vouched.not_asked peer=%s error=%s", key_id, error)
            return False
        with self._lock:
            for one in want:
                self._asked.note((key_id, kind, one), now_s)
        return True
