"""What ended a record that is here, so that it is not ended again.

A second withdrawal would be one more record for everybody to carry, and change nothing.
"""

from __future__ import annotations

from typing import Any, Final

from ciris_mesh.cli.app import App
from ciris_mesh.cli.resolve import ever
from ciris_mesh.cli.stored import Row, all_rows, envelope_texts, plain_record, stored_rows
from ciris_mesh.records.kinds import EnvelopeKind

_K: Final = EnvelopeKind
_TAKEN_BACK: Final = frozenset({"superseded", "withdrawn", "recanted"})

Record = dict[str, Any]


def ended_by(app: App, row: Row, record: Record) -> str:
    """The envelope id of what ended this record for good; "" when nothing here does.

    Where too much is said about a subject to tell, nothing is told either.

    Args:
        row: the record in the list of `records`.
        record: its columns as plain values.
    """
    match EnvelopeKind(row["kind"]):
        case _K.ATTESTATION:
            return _of_attestation(app, str(record["attested_key_id"]), row["envelope_id"])
        case _K.ORGANIZATION:
            return _of_winner(ever(app, "org", str(record["org_id"])))
        case _K.ORG_MEMBERSHIP:
            pair = str(record["org_id"]), str(record["user_id"])
            return _of_winner(ever(app, "membership", *pair))
        case _K.LOCATION_PROOF:
            return _of_place(app, str(row["subject"]))
        case _:
            return ""


def _of_attestation(app: App, subject: str, envelope_id: str) -> str:
    found = ever(app, "attestations", subject)["found"] or {}
    ended = (it for it in found.get("past", ()) if it["state"] in _TAKEN_BACK)
    return next((str(it["ended_by"]) for it in ended if it["record"] == envelope_id), "")


def _of_winner(answer: dict[str, Any]) -> str:
    return str((answer["found"] or {}).get("ended_by", ""))


def _of_place(app: App, subject: str) -> str:
    """A proof is named by its subject and time, and its withdrawal bears the same name."""
    kind = _K.LOCATION_PROOF
    rows = [row for row in all_rows(stored_rows(app), kind.value) if row["subject"] == subject]
    texts = envelope_texts(app, [(kind.value, row["envelope_id"]) for row in rows])
    for row, text in zip(rows, texts, strict=True):
        if text and "withdrawn_at" in plain_record(kind, text):
            return str(row["envelope_id"])
    return ""
