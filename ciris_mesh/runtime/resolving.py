"""Questions put to a directory: `records.resolve` on rows read from the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.protocol.report import BoundedBy, InSync
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.resolve.base import Row
from ciris_mesh.records.resolve.freshness import Confirmed
from ciris_mesh.records.resolve.pending import Pending
from ciris_mesh.records.resolve.table import QUESTIONS, Answer, resolve
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.timestamps import to_unix_ns
from ciris_mesh.runtime.staleness import StalenessBoard

#: Longer than any id; a question is typed by a person or a script.
SUBJECT_CHARS_MAX: Final = 512

_NS_PER_MS: Final = 1_000_000


class DirectoryRows:
    """Rows by name out of a directory."""

    def __init__(self, directory: ReplicationDirectory) -> None:
        self._directory = directory

    def named(self, name: str, *, limit: int, others: int = 0) -> list[Row]:
        """See `records.resolve.base.Rows`."""
        return [
            Row(parse_envelope(row.kind, row.envelope), row.shelf.name.lower())
            for row in self._directory.named_rows(name, limit=limit, others=others)
        ]

    def vouched(self, name: str, vouchers: Collection[str], *, limit: int) -> list[Row]:
        """See `records.resolve.base.Rows`."""
        return [
            Row(parse_envelope(row.kind, row.envelope), row.shelf.name.lower())
            for row in self._directory.vouched_rows(name, vouchers, limit=limit)
        ]

    def signers(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """See `records.resolve.base.Rows`."""
        return self._directory.signers_named(name, limit=limit)

    def rooted(self, trust: Trust) -> Collection[str]:
        """See `records.resolve.base.Rows`: the directory keeps them, by the trust it has."""
        return self._directory.rooted()


def answer(
    directory: ReplicationDirectory,
    trust: Trust,
    question: str,
    subject: str,
    *,
    more: str = "",
    at: str | None = None,
    now_ms: int,
    confirmed: Iterable[Confirmed] = (),
    tau_partial_s: float,
    pending: Sequence[Pending] = (),
) -> Answer:
    """Answer one question from what is held here.

    Args:
        at: the instant asked about, RFC 3339; now when None.
        confirmed: what peers confirmed, see `confirmations`.
        pending: removals that peers sent ahead, see `previews`.

    Raises:
        OperatorError: no such question, a second subject too many or missing, or no such time.
    """
    known = QUESTIONS.get(question)
    if known is None:
        raise OperatorError(f"unknown question {question!r}; one of: {', '.join(QUESTIONS)}")
    if max(len(subject), len(more)) > SUBJECT_CHARS_MAX:
        raise OperatorError(f"a name has at most {SUBJECT_CHARS_MAX} characters")
    if not subject and question != "revoked":
        raise OperatorError(f"{question} needs a name")
    if bool(more) is not bool(known.more):
        wanted = f"a second name, {known.more}" if known.more else "one name only"
        raise OperatorError(f"{question} takes {wanted}")
    return resolve(
        question,
        subject,
        DirectoryRows(directory),
        trust,
        _instant_ns(at, now_ms),
        more=more,
        confirmed=confirmed,
        tau_partial_s=tau_partial_s,
        pending=pending,
    )


def confirmations(board: StalenessBoard, peers: Iterable[str]) -> list[Confirmed]:
    """What each of these peers confirmed of each kind, as the board has it."""
    return [_confirmed(board, peer, kind) for peer in peers for kind in EnvelopeKind]


def _confirmed(board: StalenessBoard, peer: str, kind: EnvelopeKind) -> Confirmed:
    signal = board.standing(peer, kind).signal
    missing = signal.missing if isinstance(signal, BoundedBy) else None
    return Confirmed(
        peer, kind, board.age_s(peer, kind), 0 if isinstance(signal, InSync) else missing
    )


def _instant_ns(at: str | None, now_ms: int) -> int:
    if at is None:
        return now_ms * _NS_PER_MS
    try:
        return to_unix_ns(at)
    except ValueError:
        raise OperatorError(f"{at[:40]!r} is no time; write it like 2027-06-01T00:00:00Z") from None
