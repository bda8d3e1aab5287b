"""Peers and those who might become some, for people. Pure, 80 columns, ASCII."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.status import CandidateStatus, PeerStatus, StrangersStatus
from ciris_mesh.ui.tables import grid, pairs
from ciris_mesh.ui.words import age, ascii_text, cut, printable

#: What there is room for of a key id beside an address.
_KEY_CHARS: Final = 20
_DIRECTIONS: Final = {
    "both": "both ways",
    "send": "only from here: nothing of its records is taken",
    "receive": "only from there: it is offered nothing",
}


def decisions_table(peer: PeerStatus) -> Table:
    """Return what was decided here about one peer."""
    kinds = ", ".join(row.kind for row in peer.kinds)
    every = len(peer.kinds) in (0, len(EnvelopeKind))
    return pairs(
        [
            ("key", peer.key_id),
            ("address", peer.address),
            ("records go", _DIRECTIONS.get(peer.direction, peer.direction)),
            *([("its word", "it takes no records of this node")] if peer.takes_nothing else []),
            *([] if every else [("kinds", kinds)]),
            *([("note", ascii_text(peer.note))] if peer.note else []),
            *([("bootstrap", "yes: not removed by accident")] if peer.bootstrap else []),
            *([("BLACKHOLED", "Reticulum here ignores it: rnpath -b")] if peer.blackholed else []),
        ]
    )


def reach_view(peer: PeerStatus) -> RenderableType:
    """Return how it could be reached in the last day, a line for each medium."""
    if not peer.reach:
        return Text("Reached in the last day: unknown, nobody tried.")
    numbers = ("dialled", "answered", "share", "came in")
    table = grid("reached over", *numbers, "last", right=numbers)
    for row in peer.reach:
        table.add_row(
            row.medium,
            str(row.dialled),
            str(row.answered),
            "?" if row.share is None else f"{100 * row.share:.0f} %",
            str(row.came_in),
            age(row.last_s),
        )
    return table


def strangers_view(status: StrangersStatus) -> RenderableType:
    """Return candidates, and who may knock."""
    parts: list[RenderableType] = [
        _candidates_table(status.candidates)
        if status.candidates
        else Text("No node was heard or met yet that is not a peer.")
    ]
    if any(not row.key_id for row in status.candidates):
        parts.append(
            Text(
                "\nWhose key is not shown has not said so yet: `ciris-mesh peer add ADDRESS` calls"
                "\nit and asks, before anything is added."
            )
        )
    for name, who in (
        ("allowed, and nobody else", status.allowed),
        ("ignored", status.ignored),
        ("blackholed by Reticulum here", status.blackholed),
    ):
        if who:
            parts.append(Text(f"\n{name}:\n" + "\n".join(f"  {printable(one)}" for one in who)))
    return Group(*parts)


def _candidates_table(rows: tuple[CandidateStatus, ...]) -> Table:
    table = grid("address", "key, verified", "hops", "heard", "", right=("hops",))
    for row in rows:
        table.add_row(
            row.address,
            cut(printable(row.key_id), _KEY_CHARS) or "?",
            "?" if row.hops is None else str(row.hops),
            age(row.last_heard_s),
            "blackholed" if row.blackholed else printable(row.reason),
        )
    return table
