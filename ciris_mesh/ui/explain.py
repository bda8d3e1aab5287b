"""`explain`: what a name on a screen, in a log or in `--json` means, and what helps.

Names never change meaning, so each has one entry, in the table of the part of the program it comes
from. Counters put a word in front ("reconcile_", "link_", "refused_"); a name not found whole is
looked for without it. Pure, ASCII, 80 columns.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ciris_mesh.ui.explained_node import NODE_GROUPS
from ciris_mesh.ui.explained_records import RECORD_GROUPS
from ciris_mesh.ui.explained_registries import REGISTRY_GROUPS
from ciris_mesh.ui.explaining import Group

COLUMNS: Final = 80
_CLOSE_MAX: Final = 3

GROUPS: Final[tuple[Group, ...]] = (*NODE_GROUPS, *RECORD_GROUPS, *REGISTRY_GROUPS)

#: What a counter's first word says of the rest, longest first.
PREFIXES: Final[Mapping[str, str]] = {
    "frame_batch_": "A batch of coded records of a peer could not be read, and its link was closed",
    "batch_": "A batch of coded records could not be read",
    "announce_": "An announce was passed over",
    "control_": "A request on this node's control socket was turned away",
    "frame_": "A frame of a peer could not be used, and its link was closed",
    "link_": "This node ended a link while getting to know the other end",
    "not_asked_": "A peer offered records this node did not ask for",
    "penalty_": "A peer has to wait longer for its turn on the radio",
    "reconcile_": "An exchange of sketches with a peer went no further",
    "refused_": "The peer closed the link and said why",
    "remote_": "An operator's request over Reticulum was turned away",
    "registry_": "A frame of a public registry node could not be used",
    "round_": "What a peer said in a round could not be used",
    "unserved_": "A peer asked for something this node did not send",
    "withheld_": "A peer asked for a record this node did not send",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One name.

    Attributes:
        where: the part of the program it comes from.
        meaning, help: sentences; `help` says what a person can do, be it nothing.
    """

    name: str
    where: str
    meaning: str
    help: str


def explain(name: str) -> tuple[Explanation, ...]:
    """Every meaning of a name, the whole of it first; empty when it is none."""
    name = name.strip().lower().replace("-", "_")
    found = tuple(_whole(name))
    if found:
        return found
    for prefix, before in PREFIXES.items():
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and rest:
            return tuple(
                Explanation(name, each.where, f"{before}. {each.meaning}", each.help)
                for each in _whole(rest)
            )
    return ()


def _whole(name: str) -> Iterator[Explanation]:
    for group in GROUPS:
        if name in group.entries:
            meaning, _, help_ = group.entries[name].partition(" | ")
            yield Explanation(name, group.title, meaning, help_ or group.help)


def names() -> tuple[str, ...]:
    """All names that have an entry."""
    return tuple(dict.fromkeys(name for group in GROUPS for name in group.entries))


def close_to(name: str) -> tuple[str, ...]:
    """Names a person may have meant."""
    return tuple(difflib.get_close_matches(name.lower(), names(), n=_CLOSE_MAX))


def explanation_lines(found: tuple[Explanation, ...]) -> Iterator[str]:
    """One paragraph for each meaning."""
    for number, each in enumerate(found):
        if number:
            yield ""
        yield f"{each.name} ({each.where})"
        yield from _indented(each.meaning)
        yield from _indented(f"What helps: {each.help}")


def list_lines() -> Iterator[str]:
    """Every name with what it means, by where it comes from."""
    for number, group in enumerate(GROUPS):
        if number:
            yield ""
        yield f"{group.title}:"
        for name in group.entries:
            meaning = group.entries[name].partition(" | ")[0]
            start = f"  {name:<28} "
            yield from textwrap.wrap(
                meaning, COLUMNS, initial_indent=start, subsequent_indent=" " * 31,
                break_on_hyphens=False,
            )  # fmt: skip


def _indented(text: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
