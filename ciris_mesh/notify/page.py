"""A status page in Micron, the markup of NomadNet and MeshChat. Pure.

Text from others (aliases, reasons) never reaches the page as markup: every backtick, and whatever
begins a line with a meaning, is taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ciris_mesh.notify.alerts import span
from ciris_mesh.notify.texts import Overview, PeerLine, RadioLine

#: Rows of one table: a page travels over the radio when it is asked for there.
ROWS_MAX: Final = 30
_LINE_CHARS_MAX: Final = 100
_LINE_STARTS: Final = frozenset("><-#")

DENIED: Final = "This page is for people its owner has invited.\n"


def status_page(view: Overview) -> str:
    """The page `/page/index.mu`."""
    return "\n".join(_lines(view)) + "\n"


def _lines(view: Overview) -> Iterator[str]:
    yield f">{plain(view.name)}"
    yield f"ciris-mesh {plain(view.version)}, up {span(view.uptime_s)}"
    yield ""
    yield ">>Health"
    yield from [plain(line) for line in view.health] or ["Well: nothing to look at."]
    yield ""
    yield ">>Records"
    yield f"{view.records} here, {view.deferred} waiting for what they need"
    yield ""
    yield ">>Peers"
    yield from _rows([_peer(peer) for peer in view.peers], "None yet.")
    yield ""
    yield ">>Radio"
    yield from _rows([_radio(radio) for radio in view.radios], "None here.")


def _rows(rows: list[str], nothing: str) -> Iterator[str]:
    yield from rows[:ROWS_MAX] or [nothing]
    if len(rows) > ROWS_MAX:
        yield f"and {len(rows) - ROWS_MAX} more"


def _peer(peer: PeerLine) -> str:
    state = "fresh" if peer.fresh else "`!stale`!"
    heard = "never heard" if peer.heard_s is None else f"heard {span(peer.heard_s)} ago"
    missing = f", {peer.missing} missing" if peer.missing else ""
    return f"{plain(peer.name)}: {state}, {heard}{missing}"


def _radio(radio: RadioLine) -> str:
    used = "not counted" if radio.used_s is None else f"{radio.used_s:.0f} s used"
    limit = "no limit" if radio.limit_s is None else f"{radio.limit_s:.0f} s an hour allowed"
    state = "" if radio.online else ", `!down`!"
    return f"{plain(radio.name)}: {used}, {limit}{state}"


def plain(text: str) -> str:
    """`text` without anything Micron reads as markup, on one line."""
    line = "".join(char for char in text if char.isprintable() and char not in "`\\")
    line = line[:_LINE_CHARS_MAX].strip()
    while line[:1] in _LINE_STARTS and line:
        line = line[1:].lstrip()
    return line
