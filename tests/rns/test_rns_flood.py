"""A flood of link requests at a public node: bounded, named, counted, and nobody else's trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciris_mesh.runtime.localnodes import free_port
from ciris_mesh.transport.limits import INBOUND_LINKS_MAX
from support.transport_nodes import ChildNode
from support.waiting import wait_until

pytestmark = [pytest.mark.rns, pytest.mark.slow]

LINKS = INBOUND_LINKS_MAX + 40


def test_links_that_never_identify_take_no_place_from_a_peer(tmp_path: Path) -> None:
    port = free_port()
    public = ChildNode(tmp_path / "public", listen=port, transport_node=True, identify_s=600.0)
    peer = ChildNode(tmp_path / "peer", connect=(port,))
    flooder = ChildNode(tmp_path / "flooder", connect=(port,))
    try:
        public.do("permit", addresses=[peer.address])
        for each in (peer, flooder):
            each.hear(public)
        link = peer.reach(public.address)["link"]
        inbound = public.wait("identified", address=peer.address)["link"]

        for number in range(LINKS):
            flooder.do("raw_link", address=public.address)
            if number % 20 == 0:
                peer.do("send", link=link, frames=[(number, 5_000)])
                assert public.wait("frame", link=inbound, tag=number)["intact"]
        wait_until(
            lambda: public.do("stats")["dropped"].get("too_many_links", 0) >= LINKS // 10,
            "what is beyond the bound is turned away and counted",
        )
        assert public.do("stats")["links"] <= INBOUND_LINKS_MAX
        peer.do("send", link=link, frames=[(1_000, 50_000)])
        assert public.wait("frame", link=inbound, tag=1_000)["intact"]

        # Whoever comes now finds a place: the oldest of the strangers had to go.
        peer.do("hang_up", link=link)
        peer.wait("down", link=link)
        assert peer.reach(public.address)
    finally:
        for node in (flooder, peer, public):
            node.stop()
