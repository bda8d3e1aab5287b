"""A row that is here, judged as if it came today: by another node's hand, or for a check."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ciris_mesh.directory.admission import Admission
from ciris_mesh.directory.base import OWN, Shelf, Source, StoredRow
from ciris_mesh.directory.judgement import Judgement, candidate
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.outcome import Outcome, Reason, Verdict

#: By which path a row could have come to its shelf, at another node of the same operator.
_COULD_COME_FROM: Final = {
    Shelf.LOCAL: OWN,
    Shelf.BRIDGED: Source("registry", "registry"),
    Shelf.FEDERATION: Source("import"),
}


def judge_again(admission: Admission, row: StoredRow, now_ms: int) -> Judgement:
    """Would this row come in, as it stands on its shelf?

    Returns:
        A judgement with that row when it would; else one with the verdict and no row.
    """
    what = candidate(row.kind, row.envelope, _COULD_COME_FROM[row.shelf])
    try:
        envelope = parse_envelope(row.kind, row.envelope)
    except MalformedRecord as error:
        verdict = Verdict(
            Outcome.MALFORMED, Reason(error.reason), row.kind, row.envelope_id, error.detail
        )
        return Judgement(what, verdict)
    judgement = admission.judge_known(what, envelope, now_ms)
    ours = judgement.row
    if ours is None:
        return judgement._replace(entry=None)
    known = replace(row, admitted_at_ms=ours.admitted_at_ms, introduced=ours.introduced)
    if row.shelf is Shelf.BRIDGED:  # what it lacked may have come since
        known = replace(known, shelf=ours.shelf, signers=ours.signers)
    if known != ours:
        verdict = Verdict(Outcome.REFUSED, Reason.ROW_DIFFERS, row.kind, row.envelope_id)
        return Judgement(what, verdict)
    return judgement._replace(row=row, entry=None)


def lacked(admission: Admission, row: StoredRow, now_ms: int) -> Verdict | None:
    """Why a row is only bridged, as of today; None for rows of other shelves."""
    if row.shelf is not Shelf.BRIDGED:
        return None
    again = candidate(row.kind, row.envelope, _COULD_COME_FROM[row.shelf])
    (judged,) = admission.judge_all([again], now_ms)
    return judged.verdict
