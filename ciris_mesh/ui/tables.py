"""Rows to rich tables. Pure: no I/O, no clock. Every table reads well at 80 columns in ASCII."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ciris_mesh.runtime.status import (
    InterfaceStatus,
    KindCounts,
    NodeStatus,
    PeerStatus,
    PendingRemoval,
    RegistryStatus,
    TransferStatus,
)
from ciris_mesh.ui.health import health_block
from ciris_mesh.ui.words import (
    age,
    count,
    cut,
    instant,
    plain,
    printable,
    short_id,
    size,
)

#: KindFreshness.staleness when nothing is missing on either side.
_IN_SYNC: Final = "in_sync"

#: What 80 columns leave for the last column of `records` beside two ids, a day and a short kind.
_ABOUT_CHARS: Final = 30
_SCORE_CHARS: Final = 10
_BAR_CHARS: Final = 16
_PEER_CHARS: Final = 14
#: Of the kinds with names too long for a line of 80 columns; `--wide` has them whole.
_SHORT_KINDS: Final = {
    "location_proof": "location",
    "identity_occurrence": "occurrence",
    "org_membership": "membership",
    "organization": "org",
    "partner_record": "partner",
    "identity_occurrence_revocation": "occur. end",
    "family_membership_revocation": "family end",
    "community_membership_revocation": "commun. end",
}


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One held record, as `records` lists it.

    Attributes:
        type: of an attestation, such as "scores"; empty for other kinds.
        target: the key an attestation or revocation is about; empty for other kinds.
        says: the dimension of an attestation, the reason of a revocation.
        score: "=" and the score of an attestation.
    """

    position: int
    kind: str
    envelope_id: str
    shelf: str
    seq: int
    subject: str
    signers: tuple[str, ...]
    type: str = ""
    target: str = ""
    says: str = ""
    score: str = ""


def grid(*columns: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table in the house style; columns named in `right` hold numbers."""
    table = Table(box=None, header_style="head", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        justify = "right" if name in right else "left"
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def status_view(status: NodeStatus) -> RenderableType:
    """Return the whole screen of `status`."""
    fine = f"{count(len(status.peers), 'peer')}, nothing to complain of"
    parts: list[RenderableType] = [health_block(status.health, fine), Text(), _header(status)]
    if status.transfers:
        parts += [Text(), transfers_table(status.transfers)]
    if status.peers:
        parts += [Text(), peers_table(status.peers)]
    else:
        parts.append(Text("\nNo peers yet: run `ciris-mesh invite` here and on another node."))
    if status.registries:
        parts += [Text(), registries_view(status.registries)]
    if status.candidates:
        parts.append(Text(f"\n{count(len(status.candidates), 'node')} heard that are not peers."))
    if status.kinds:
        parts += [Text(), kinds_table(status.kinds)]
    if status.interfaces:
        parts += [Text(), interfaces_table(status.interfaces)]
    if status.pending_removals:
        parts += [Text(), pending_view(status.pending_removals)]
    if status.drops:
        parts += [Text(), drops_table(status.drops)]
    return Group(*parts)


def pending_view(pending: Sequence[PendingRemoval]) -> RenderableType:
    """Return one line per removal that was announced and is not here."""
    head = (
        f"{count(len(pending), 'removal')} pending: announced by radio, the record is not here yet."
    )
    lines = [Text(head, "head")]
    for row in pending:
        whom = f"{row.removed} from {row.about}" if row.removed else row.about
        by = ", ".join(row.by)
        kind = row.kind.replace("_", " ")
        lines.append(Text(f"{kind} of {printable(whom)}, signed by {printable(by)}", "warn"))
    return Group(*lines, Text("Until then `ciris-mesh resolve` takes their subjects for suspect."))


def _header(status: NodeStatus) -> Text:
    return Text.assemble(
        (plain(status.key_id), "head"),
        f"\nciris-mesh {status.version}, up {age(status.uptime_s)}, "
        f"clock {plain(status.clock)}, {size(status.rss_bytes)} in memory\n"
        f"waiting for other records: {status.deferred}, first contact: {status.first_contact}, "
        f"refusals remembered: {status.refused_remembered}",
    )


def transfers_table(transfers: Iterable[TransferStatus]) -> Table:
    """Return one line per transfer under way: a bar, how much, how fast, how long still."""
    numbers = ("bytes", "rate", "left")
    table = grid("transfer", "", *numbers, right=numbers)
    for row in transfers:
        share = row.done_bytes / row.total_bytes if row.total_bytes else 0.0
        done = round(_BAR_CHARS * min(1.0, share))
        arrow = "from" if row.direction == "in" else "to"
        table.add_row(
            f"{arrow} {cut(printable(row.peer), _PEER_CHARS)}",
            f"[{'#' * done}{'.' * (_BAR_CHARS - done)}]",
            f"{size(row.done_bytes)} of {size(row.total_bytes)}",
            f"{size(round(row.rate_bytes_s))}/s",
            "?" if row.left_s is None else age(row.left_s),
        )
    return table


def peers_table(peers: Iterable[PeerStatus]) -> Table:
    """Return one line per peer: can it be reached, and do we agree."""
    table = grid("peer", "state", "over", "heard", "missing", "agreement", right=("missing",))
    for peer in peers:
        state = f"{peer.state}: {peer.reason}" if peer.reason else peer.state
        if peer.takes_nothing and not peer.reason:
            state += ", takes nothing"
        table.add_row(
            printable(peer.alias or peer.key_id),
            plain(state),
            peer.link_class or peer.medium,
            age(peer.last_heard_s),
            _missing(peer.missing, in_sync=_is_in_sync(peer)),
            _agreement(peer),
            style="" if peer.fresh else "warn",
        )
    return table


def registries_view(registries: Sequence[RegistryStatus]) -> RenderableType:
    """Return one line per registry node, and why what it brought is only bridged."""
    table = grid("registry node", "state", "heard", "ids", "rounds", right=("rounds",))
    lines: list[RenderableType] = [table]
    for each in registries:
        state = f"{each.state}: {each.reason}" if each.reason else each.state
        table.add_row(
            printable(each.key_id),
            printable(state),
            age(each.last_heard_s),
            f"of {each.basis}, {each.basis_by}",
            str(each.rounds.get("completed", 0)),
            style="" if each.state == "connected" else "warn",
        )
        for word, rows in (("bridged", each.bridged), ("not taken", each.refused)):
            said = ", ".join(f"{row.count} {printable(row.reason)}" for row in rows)
            if said:
                lines.append(Text(f"{printable(each.key_id)}, {word}: {said}"))
        if each.declined:
            again = f"{each.declined} times a record it was given"
            lines.append(Text(f"{printable(each.key_id)}, asked again for: {again}"))
    return Group(*lines)


def _is_in_sync(peer: PeerStatus) -> bool:
    return bool(peer.kinds) and all(row.staleness == _IN_SYNC for row in peer.kinds)


def _missing(number: int | None, *, in_sync: bool) -> str:
    if number is None:
        return "0" if in_sync else "?"
    return str(number)


def _agreement(peer: PeerStatus) -> str:
    if peer.fresh:
        return "fresh"
    behind = [row.kind for row in peer.kinds if not row.fresh]
    if not behind or len(behind) == len(peer.kinds):
        return "not yet"
    return f"stale: {count(len(behind), 'kind')}"


def freshness_table(peer: PeerStatus) -> Table:
    """Return one line per kind for one peer."""
    table = grid("kind", "agreement", "missing", "confirmed", right=("missing",))
    for row in peer.kinds:
        table.add_row(
            row.kind,
            row.staleness.replace("_", " "),
            _missing(row.missing, in_sync=row.staleness == _IN_SYNC),
            age(row.confirmed_s),
            style="" if row.fresh else "warn",
        )
    return table


def kinds_table(kinds: Iterable[KindCounts]) -> RenderableType:
    """Return how many records of each kind stand on each shelf; kinds without any are left out."""
    shelves = ("federation", "bridged", "local")
    table = grid("kind", *shelves, right=shelves)
    for row in kinds:
        if row.federation or row.bridged or row.local:
            table.add_row(row.kind, str(row.federation), str(row.bridged), str(row.local))
    return table if table.row_count else Text("No records yet.")


def interfaces_table(interfaces: Iterable[InterfaceStatus]) -> Table:
    """Return one line per Reticulum interface."""
    numbers = ("received", "sent")
    table = grid("interface", "class", "mode", "state", *numbers, right=numbers)
    for row in interfaces:
        table.add_row(
            plain(row.name),
            plain(row.link_class or row.medium),
            plain(row.mode),
            "up" if row.online else "down",
            size(row.rx_bytes),
            size(row.tx_bytes),
            style="" if row.online else "bad",
        )
    return table


def drops_table(drops: Mapping[str, int]) -> Table:
    """Return what was turned away, and how often."""
    table = grid("turned away", "times", right=("times",))
    for reason, times in sorted(drops.items()):
        table.add_row(plain(reason), str(times))
    return table


def records_table(rows: Iterable[RecordRow], *, wide: bool = False) -> Table:
    """Return one line of at most 80 columns per record, long ids ending in "..".

    Args:
        wide: nothing is shortened, and the time has hours and minutes.
    """
    table = grid("id", "time" if wide else "day", "kind", "signed by", "about")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        kind = row.kind if wide else _SHORT_KINDS.get(row.kind, row.kind)
        table.add_row(
            row.envelope_id if wide else short_id(row.envelope_id),
            instant(row.seq)[: 16 if wide else 10],
            plain(kind),
            plain(", ".join(row.signers) if wide else _first_of(row.signers)),
            _about(row, wide=wide),
        )
    return table


def _first_of(signers: Sequence[str]) -> str:
    if len(signers) > 1:
        return f"{cut(signers[0], 7)} +{len(signers) - 1}"
    return "".join(map(short_id, signers))


def _about(row: RecordRow, *, wide: bool) -> str:
    shelf = "" if row.shelf == "federation" else f"({row.shelf})"
    target = row.target or row.subject
    words = (shelf, row.type, target if wide else short_id(target))
    start = " ".join(filter(None, words)) + " "
    said = plain(row.says)
    score = row.score if wide else cut(row.score, _SCORE_CHARS)
    # What a score is of can be guessed from its beginning; the score itself cannot.
    room = _ABOUT_CHARS - len(start) - len(score)
    line = plain(start) + (said if wide else cut(said, max(2, room))) + score
    return line.rstrip() if wide else cut(line.rstrip(), _ABOUT_CHARS)


def record_table(record: Mapping[str, Any]) -> Table:
    """Return what is known about one record, a row of `records --json`."""
    return pairs(
        [
            ("id", record["envelope_id"]),
            ("kind", record["kind"]),
            ("shelf", record["shelf"]),
            ("time", instant(record["seq"])),
            ("admitted", instant(record["admitted_at_ms"])),
            ("subject", record["subject"]),
            ("signed by", ", ".join(record["signers"])),
            *([("lacks", f"{record['lacks']}: {record['detail']}")] if "lacks" in record else []),
            *([("brought by", record["brought_by"])] if record.get("brought_by") else []),
            *(
                [("vouched by", ", ".join(vouched))]
                if (vouched := record.get("vouched_by"))
                else []
            ),
        ]
    )


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Return name and value lines, for `id` and single records."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="head", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, plain(value))
    return table
