"""Short answers: what a person asks by message, and what fits in the packet that goes back. Pure.

An LXMF message of up to 287 bytes goes as one packet, without a link; on a slow radio that is a
second of air instead of five.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ciris_mesh.notify.alerts import span

#: Below the 287 bytes of one packet by what titles and fields take.
REPLY_BYTES_MAX: Final = 280
#: Nobody's question is longer; the rest of a longer one is not looked at.
QUESTION_CHARS_MAX: Final = 120
MUTE_S_MAX: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that can be asked.

    Attributes:
        acts: it changes something, and only operators who may act get it.
    """

    name: str
    argument: str
    help: str
    acts: bool = False


VERBS: Final = (
    Verb("status", "", "health and records"),
    Verb("peers", "", "who is fresh, who is behind"),
    Verb("budget", "", "airtime used and allowed"),
    Verb("owed", "", "what waits for the radio"),
    Verb("mute", "8h", "no alerts for so long; mute 0 ends it"),
    Verb("help", "", "this list"),
    Verb("sync", "[PEER]", "compare with peers now", acts=True),
    Verb("untrust", "PEER", "stop exchanging with a peer", acts=True),
)
_BY_NAME: Final = {verb.name: verb for verb in VERBS}


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks. `verb` is None when it is nothing we know."""

    verb: Verb | None
    word: str
    argument: str


def read_question(text: str) -> Question:
    """Read a message: a verb and what follows it, in any case, a leading slash allowed."""
    words = text[:QUESTION_CHARS_MAX].strip().lstrip("/!").split(None, 1)
    word = words[0].lower() if words else ""
    return Question(_BY_NAME.get(word), word, words[1].strip() if len(words) > 1 else "")


def read_span(text: str) -> float | None:
    """Seconds in "8h", "30 min", "2d", "0"; None when it is no length of time up to a week."""
    digits = text.strip().lower()
    unit = digits.lstrip("0123456789. ")
    seconds = {"": 3600, "h": 3600, "m": 60, "min": 60, "d": 86_400, "s": 1}.get(unit)
    try:
        found = float(digits.removesuffix(unit)) * seconds if seconds else None
    except ValueError:
        return None
    return found if found is not None and 0 <= found <= MUTE_S_MAX else None


def help_text(*, may_act: bool) -> str:
    """What can be asked."""
    shown = [verb for verb in VERBS if may_act or not verb.acts]
    return fit(" ".join(filter(None, (verb.name, verb.argument))) for verb in shown)


@dataclass(frozen=True, slots=True)
class PeerLine:
    """One peer, in the words of a small screen. `heard_s`: None when never heard."""

    name: str
    fresh: bool
    missing: int | None
    heard_s: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RadioLine:
    """One radio interface. `limit_s` None: no limit. `owed_s`: airtime of what waits."""

    name: str
    online: bool
    used_s: float | None
    limit_s: float | None
    owed_records: int = 0
    owed_s: float = 0.0
    drain_h: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """All that answers are made of, gathered once a question."""

    name: str
    version: str
    uptime_s: float
    health: tuple[str, ...]
    records: int
    deferred: int
    peers: tuple[PeerLine, ...]
    radios: tuple[RadioLine, ...]


def status_text(view: Overview) -> str:
    """The answer to `status`."""
    fresh = sum(peer.fresh for peer in view.peers)
    state = "well" if not view.health else f"{len(view.health)} to look at"
    waiting = f", {view.deferred} waiting" if view.deferred else ""
    return fit(
        (
            f"{view.name}: {state}, up {span(view.uptime_s)}",
            f"{view.records} records{waiting}; {fresh} of {len(view.peers)} peers fresh",
            *view.health,
        )
    )


def peers_text(view: Overview) -> str:
    """The answer to `peers`: those to worry about first."""
    if not view.peers:
        return "no peers yet"
    return fit(_peer(peer) for peer in sorted(view.peers, key=lambda peer: peer.fresh))


def _peer(peer: PeerLine) -> str:
    heard = "never heard" if peer.heard_s is None else f"heard {span(peer.heard_s)} ago"
    if peer.fresh:
        return f"{peer.name}: fresh, {heard}"
    behind = f", {peer.missing} missing" if peer.missing else ""
    reason = f", {peer.reason}" if peer.reason else ""
    return f"{peer.name}: STALE, {heard}{behind}{reason}"


def budget_text(view: Overview) -> str:
    """The answer to `budget`."""
    if not view.radios:
        return "no radio here"
    return fit(_radio(radio) for radio in view.radios)


def _radio(radio: RadioLine) -> str:
    state = "" if radio.online else " DOWN"
    used = "not counted" if radio.used_s is None else f"{radio.used_s:.0f} s"
    limit = "no limit" if radio.limit_s is None else f"of {radio.limit_s:.0f} s an hour"
    return f"{radio.name}{state}: {used} {limit}"


def owed_text(view: Overview) -> str:
    """The answer to `owed`."""
    owed = [radio for radio in view.radios if radio.owed_records]
    if not owed:
        return "nothing waits for a radio"
    return fit(
        f"{radio.name}: {radio.owed_records} records, {radio.owed_s:.0f} s of air, "
        + ("drained: not at this duty" if radio.drain_h is None else f"{radio.drain_h:.1f} h")
        for radio in owed
    )


ANSWERS: Final = {
    "status": status_text,
    "peers": peers_text,
    "budget": budget_text,
    "owed": owed_text,
}


def fit(lines: Iterable[str]) -> str:
    """Whole lines as long as they fit into one packet, and how many did not."""
    given: Sequence[str] = list(lines)
    taken: list[str] = []
    for number, line in enumerate(given):
        rest = len(given) - number
        tail = f"\n+{rest} more" if rest > 1 else ""
        whole = "\n".join([*taken, line])
        if len(whole.encode()) + len(tail) > REPLY_BYTES_MAX:
            return "\n".join([*taken, f"+{rest} more"]) if taken else _cut(line)
        taken.append(line)
    return "\n".join(taken)


def _cut(line: str) -> str:
    return line.encode()[: REPLY_BYTES_MAX - 2].decode(errors="ignore") + ".."
