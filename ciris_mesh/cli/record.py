"""`record hash`, `record canonical` and `record verify`: records as JSON text, one a line.

None of them stores anything. `hash` and `canonical` validate nothing beyond reading the JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.lines import Answer, run_filter
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import canonical as forms
from ciris_mesh.records.jsontext import JsonValue, parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.rows import envelope_id, persist_row_hash

if TYPE_CHECKING:
    from ciris_mesh.records.checks import KeyLookup

_FORMS: Final[dict[str, Callable[[JsonValue], bytes]]] = {
    "v1python": forms.v1python,
    "jcs": forms.jcs,
}

_kind_option = click.option(
    "--kind",
    required=True,
    type=click.Choice([kind.value for kind in EnvelopeKind]),
    metavar="KIND",
    help="The kind all lines are of, such as key or attestation.",
)


@click.group()
def record() -> None:
    """Hash, canonicalize or verify records, one a line, for scripts and tests."""


@record.command("hash", cls=Verb)
@_kind_option
def hash_(kind: str) -> None:
    """Read wrappers as JSON text and print {"row_hash", "envelope_id"} for each.

    Nothing is validated: a record with a wrong signature has a hash too.
    """
    run_filter(lambda line: hash_line(EnvelopeKind(kind), line), _error)


@record.command(cls=Verb)
@click.option(
    "--form",
    required=True,
    type=click.Choice(list(_FORMS)),
    help="v1python is what row hashes use, jcs what signatures use.",
)
def canonical(form: str) -> None:
    """Read any JSON text and print {"canonical"}, its canonical bytes in hex, for each line."""
    run_filter(lambda line: canonical_line(form, line), _error)


@record.command(cls=Verb)
@_kind_option
@click.option(
    "--keys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also know the keys in this file: key envelopes, one a line.",
)
@click.pass_obj
def verify(app: App, kind: str, keys: Path | None) -> None:
    """Read wrappers as JSON text and print {"outcome", "reason", "checks"} for each.

    Signers are looked up in this node's own directory, when there is one, and in --keys FILE.
    Nothing is stored, so a record that a node would take is answered with "admitted" each time.
    """
    from ciris_mesh.cli.keyring import Keyring

    ring = Keyring(app, keys)
    run_filter(lambda line: verify_line(EnvelopeKind(kind), line, ring.lookup, ring.pinned), _error)


def hash_line(kind: EnvelopeKind, line: bytes) -> Answer:
    """Answer one line of `record hash`."""
    try:
        wrapper = parse_json(line)
        field = KINDS[kind].wrapper_field
        inner = wrapper.get(field) if isinstance(wrapper, dict) else None
        if not isinstance(wrapper, dict) or not isinstance(inner, dict):
            return _error(f'no record here: expected {{"{field}": {{...}}}}')
        return {
            "row_hash": persist_row_hash(kind, inner),
            "envelope_id": envelope_id(kind, wrapper).hex(),
        }
    except (MalformedRecord, ValueError) as exc:
        return _error(str(exc))


def canonical_line(form: str, line: bytes) -> Answer:
    """Answer one line of `record canonical`."""
    try:
        return {"canonical": _FORMS[form](parse_json(line)).hex()}
    except (MalformedRecord, ValueError) as exc:
        return _error(str(exc))


def verify_line(
    kind: EnvelopeKind, line: bytes, keys: KeyLookup, pinned: dict[str, bytes]
) -> Answer:
    """Answer one line of `record verify`."""
    from ciris_mesh.records.checks import verify_bytes  # loads the cryptography

    result = verify_bytes(kind, line, keys, pinned=pinned)
    return {
        "outcome": result.verdict.outcome.value,
        "reason": result.verdict.reason.value,
        "checks": [
            {"name": check.name, "ok": check.ok, "detail": check.detail} for check in result.checks
        ],
    }


def _error(reason: str) -> Answer:
    return {"error": reason}
