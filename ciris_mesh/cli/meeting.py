"""Meeting a node without its invite: it is called, and shows whose key it speaks for."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.lookup import one_beginning, shown
from ciris_mesh.cli.node import ask
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.ui.words import count

#: The dialler asks for a path for 20 s at most and for a link as long; then the two get to know
#: each other.
MEET_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.2
_ADDRESS: Final = re.compile(r"[0-9a-f]{32}")
_START_THE_NODE: Final = (
    "only a running node can find out whose key an address speaks for: start it, or add the "
    "invite of the other node"
)


def candidate_address(app: App, text: str) -> str | None:
    """The address of the candidate a person means, or the one written out; None for neither.

    Raises:
        Failure: several begin so.
    """
    lowered = text.strip().lower()
    try:
        rows = ask(app, "candidates")["candidates"]
    except NodeNotRunning:
        rows = []
    by_name: dict[str, str] = {row["address"]: row["address"] for row in rows}
    by_name |= {row["key_id"]: row["address"] for row in rows if row["key_id"]}
    found = one_beginning(lowered, by_name) if lowered else None
    if found is not None:
        return by_name[found]
    return lowered if _ADDRESS.fullmatch(lowered) else None


def meet(app: App, address: str) -> dict[str, Any]:
    """Learn who is at an address; a row of `peers --candidates --json` with a verified key.

    Raises:
        Failure: nobody answered, or nobody who says who it is.
    """
    try:
        row = _row(app, address)
        if row is None or not row["key_id"]:
            app.talk(
                f"Calling {address} to ask whose key it speaks for...\n"
                "By radio that is some 9 kB on air; the node's invite would cost none."
            )
            ask(app, "meet", address=address)
            row = _wait(app, address)
    except NodeNotRunning:
        raise Failure(_START_THE_NODE) from None
    return row


def _wait(app: App, address: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + MEET_TIMEOUT_S
    while time.monotonic() < deadline_s:
        row = _row(app, address)
        if row is not None and row["key_id"]:
            return row
        if row is not None and row["reason"]:
            raise Failure(
                f"{address} did not answer ({row['reason']}): is it running, and is there a "
                "common Reticulum network?"
            )
        time.sleep(_POLL_S)
    raise Failure(f"{address} did not say whose key it speaks for within {MEET_TIMEOUT_S:g} s")


def _row(app: App, address: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = ask(app, "candidates")["candidates"]
    return next((row for row in rows if row["address"] == address), None)


def introduction(row: dict[str, Any], words: tuple[str, ...]) -> str:
    """What a person is shown before deciding."""
    hops = "" if row["hops"] is None else f", {count(row['hops'], 'hop')} away"
    return (
        f"{shown(row['key_id'])} showed this key itself{hops}. Nobody vouched for who runs it.\n"
        f"Words to compare with its operator, before you agree: {' '.join(words)}"
    )
