"""`withdraw`: end what this node said earlier, by a new record that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.ended import ended_by
from ciris_mesh.cli.options import KEY_ID, Manner, takes_manner
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import Signer, this_signer
from ciris_mesh.cli.stored import envelope_text, find_row, plain_record, stored_rows
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_K: Final = EnvelopeKind

Record = dict[str, Any]

#: Why a subject or the producer may withdraw (records-and-protocol.md, section 1.3).
RULE_PRODUCER: Final = 1
RULE_SUBJECT: Final = 2
#: A delegate's: for whom it is about, directly; for the producer, by a chain that it names.
RULE_DELEGATE: Final = 3
RULE_CHAIN: Final = 4

#: As many digits of an envelope id as nobody mistakes.
_ID_DIGITS: Final = 12

_OPERATIONAL: Final = (
    "user_id",
    "org_id",
    "name",
    "org_type",
    "parent_org_id",
    "partner_id",
    "role",
    "valid_until",
)


@click.command(cls=Verb)
@click.argument("record_id", metavar="ID")
@click.option(
    "--for",
    "acting_for",
    type=KEY_ID,
    metavar="KEY_ID",
    help="Withdraw an attestation for this key, which delegated agency:act_on_behalf.",
)
@click.option(
    "--via",
    "between",
    type=KEY_ID,
    multiple=True,
    metavar="KEY_ID",
    help="Who passed that power on, in order, from whom it is for; again for the next.",
)
@takes_manner
@click.pass_obj
def withdraw(
    app: App, *, record_id: str, acting_for: str | None, between: tuple[str, ...], manner: Manner
) -> None:
    """End the record with the envelope id ID, given whole or by its first digits.

    For attestations by this node or about it, or for whom it may act; and for its organizations,
    memberships and location proofs. The record stays; a new one says that it no longer holds, for
    good. See `ciris-mesh records` for ids.
    """
    me = this_signer(app)
    row = find_row(stored_rows(app), record_id.lower(), None)
    kind = EnvelopeKind(row["kind"])
    make = _ENDINGS.get(kind)
    if make is None:
        raise Failure(f"a record of kind {kind.value} cannot be withdrawn; {_INSTEAD[kind]}")
    if (acting_for or between) and kind is not _K.ATTESTATION:
        raise Failure("only attestations are withdrawn for another key; leave out --for and --via")
    record = plain_record(kind, envelope_text(app, kind.value, row["envelope_id"]))
    columns = _delegated(record, acting_for, between) if acting_for or between else make(record, me)
    if ending := ended_by(app, row, record):
        raise Failure(
            "this was taken back already, which is for good; nothing was signed. "
            f"See: ciris-mesh records {ending[:_ID_DIGITS]}"
        )
    publish(app, me, kind, columns, manner, withdraws=row["envelope_id"])


def _delegated(record: Record, acting_for: str | None, between: tuple[str, ...]) -> Record:
    said = _said(record)
    if acting_for == record["attesting_key_id"]:
        rule = RULE_CHAIN
        if between:
            said["delegation_chain"] = list(between)
    elif between:
        raise Failure("--via needs --for with the key that said this")
    elif acting_for in _subjects(record):
        rule = RULE_DELEGATE
    else:
        raise Failure(f"{acting_for} neither said this nor is it about that key")
    return _withdrawal(record, str(acting_for), rule, said)


def _attestation(record: Record, me: Signer) -> Record:
    return _withdrawal(record, record["attested_key_id"], _rule(record, me), _said(record))


def _said(record: Record) -> Record:
    if record["attestation_type"] == "withdraws":
        raise Failure("this is a withdrawal itself, and those are for good; attest anew instead")
    said = {"references_attestation_id": record["attestation_id"]}
    envelope = record["attestation_envelope"]
    if isinstance(envelope, dict) and "dimension" in envelope:
        said["dimension"] = envelope["dimension"]
    return said


def _withdrawal(record: Record, about: str, rule: int, said: Record) -> Record:
    columns = {
        "attested_key_id": about,
        "attestation_type": "withdraws",
        "withdraws_admission_rule": rule,
        "attestation_envelope": said,
    }
    # It goes wherever the withdrawn one went, no further.
    return columns | {name: record[name] for name in ("cohort_scope", "tier") if name in record}


def _rule(record: Record, me: Signer) -> int:
    if record["attesting_key_id"] == me.key_id:
        return RULE_PRODUCER
    if me.key_id in _subjects(record):
        return RULE_SUBJECT
    raise Failure(
        f"{record['attesting_key_id']} said this of {record['attested_key_id']}; "
        "only those two can withdraw it, or who may act for them: --for KEY_ID"
    )


def _subjects(record: Record) -> tuple[str, ...]:
    return (record["attested_key_id"], *record.get("subject_key_ids", ()))


def _location(record: Record, me: Signer) -> Record:
    if record["subject_key_id"] != me.key_id:
        raise Failure(f"this is about {record['subject_key_id']}; it is withdrawn on its own node")
    if "withdrawn_at" in record:
        raise Failure("this location proof is withdrawn already; nothing was signed")
    # Subject and time name a proof, so its withdrawal repeats both.
    kept = ("subject_key_id", "cell_id", "cell_resolution", "asserted_at", "valid_until")
    return {name: record[name] for name in kept if name in record} | {"withdrawn_at": me.now}


def _operational(record: Record, me: Signer) -> Record:
    if record["attesting_key_id"] != me.key_id:
        raise Failure(f"this was signed by {record['attesting_key_id']}; withdraw it on that node")
    if record["status"] == "deactivated" or "withdrawn_at" in record:
        raise Failure("this was ended already, which is for good; nothing was signed")
    kept = {name: record[name] for name in _OPERATIONAL if name in record}
    return kept | {"status": "deactivated", "withdrawn_at": me.now}


_ENDINGS: Final[dict[EnvelopeKind, Callable[[Record, Signer], Record]]] = {
    _K.ATTESTATION: _attestation,
    _K.LOCATION_PROOF: _location,
    _K.ORGANIZATION: _operational,
    _K.ORG_MEMBERSHIP: _operational,
}

_FINAL: Final = "what it took away stays away"
_INSTEAD: Final = {
    _K.KEY: "see: ciris-mesh revoke --help",
    _K.REVOCATION: _FINAL,
    _K.IDENTITY_OCCURRENCE: "see: ciris-mesh remove occurrence --help",
    _K.FAMILY: "remove its members, see: ciris-mesh remove family-member --help",
    _K.COMMUNITY: "remove its members, see: ciris-mesh remove community-member --help",
    _K.IDENTITY_OCCURRENCE_REVOCATION: _FINAL,
    _K.FAMILY_MEMBERSHIP_REVOCATION: _FINAL,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _FINAL,
    _K.PARTNER_RECORD: "propose a higher revision with --status revoked, see: "
    "ciris-mesh partner propose --help",
}
