"""Interfaces that Reticulum gave up, and that come back without being allowed anything.

A write that fails, because a hub restarts or a line breaks, marks an interface of Reticulum's
(rns 1.5.7: TCP, Backbone and I2P clients) as one that neither sends nor takes anything until the
program is restarted. But whoever reads from the same connection sees it end a moment later, and
connects again after five seconds. From then on the interface is up, hears everything and says
nothing: no announce, no path request and no answer on a link leaves by it, for ever, and all that
tells of it is one line of Reticulum's log.

So such an interface is taken back: it gets what its configuration says, as when it was made.

    in use --a write fails--> given up --taken back--> in use, as soon as it is connected again
"""

from __future__ import annotations

import logging

from ciris_mesh.transport import rns_seam as seam

log = logging.getLogger(__name__)


def take_back() -> None:
    """Undo it where it happened. Every second, so that it is done before Reticulum reconnects."""
    for interface in seam.interfaces():
        if seam.is_given_up(interface):
            seam.put_into_use(interface)
            log.warning("interface.taken_back name=%s: sends once it is connected", interface.name)
