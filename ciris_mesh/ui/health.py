"""The block on top of every screen: is this well, and if not, what helps. ASCII."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from ciris_mesh.runtime.ailing import NOT_RUNNING, peer_problems
from ciris_mesh.runtime.status import PeerStatus
from ciris_mesh.ui.words import count, printable


def health_block(problems: Sequence[str], fine: str) -> Text:
    """Return "# Health" and a line for each problem, or one that says all is well.

    Args:
        fine: what is well when nothing is wrong; also tells an empty list from a broken one.
    """
    block = Text("# Health\n", "head")
    if not problems:
        return block.append(f"+ healthy: {fine}", "good")
    lines = (f"! {printable(line)}" for line in problems)
    return block.append("\n".join(lines), "bad")


def peers_health(peers: Sequence[PeerStatus], *, is_running: bool = True) -> Text:
    """The block above a list of peers."""
    if not is_running or any(peer.state == NOT_RUNNING for peer in peers):
        problem = "no node runs here, so nothing is exchanged; start it with: ciris-mesh run"
        return health_block([problem], "")
    return health_block((*peer_problems(peers), *_stale(peers)), _agreed(peers))


def _stale(peers: Iterable[PeerStatus]) -> list[str]:
    return [
        f"peer {peer.alias or peer.key_id}: connected, and "
        f"{count(sum(not kind.fresh for kind in peer.kinds), 'kind')} not confirmed lately"
        for peer in peers
        if peer.state == "connected" and peer.kinds and not peer.fresh
    ]


def _agreed(peers: Sequence[PeerStatus]) -> str:
    if not peers:
        return "no peers yet, so there is nobody to agree with"
    fresh = sum(peer.fresh for peer in peers)
    if fresh == len(peers):
        return f"{count(fresh, 'peer')} agreed with this node lately"
    return f"{fresh} of {count(len(peers), 'peer')} agreed lately; nothing failed"
