"""`attest` and `revoke`: records signed with this node's key, shown before they are signed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import ask, locked_home, node_home, open_directory
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

if TYPE_CHECKING:
    from ciris_mesh.records.hybrid import FederationKey
    from ciris_mesh.runtime.home import Home

_yes_option = click.option("-y", "--yes", is_flag=True, help="Sign without asking.")
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the outcome as JSON; does not ask."
)
_TYPES: Final = ("scores", "delegates_to", "supersedes", "withdraws", "recants")


@click.command(cls=Verb)
@click.argument("key_id")
@click.option(
    "--dimension",
    required=True,
    metavar="TEXT",
    help="What is scored, such as identity:continuity:v1.",
)
@click.option(
    "--score", type=float, required=True, metavar="NUMBER", help="The score in that dimension."
)
@click.option(
    "--type",
    "type_",
    type=click.Choice(_TYPES),
    default="scores",
    show_default=True,
    help="What sort of attestation this is.",
)
@click.option("--weight", type=float, metavar="NUMBER", help="How much it should count.")
@click.option(
    "--expires", metavar="TIME", help="Until when it holds, such as 2027-06-01T00:00:00Z."
)
@_yes_option
@_json_option
@click.pass_obj
def attest(
    app: App,
    *,
    key_id: str,
    dimension: str,
    score: float,
    type_: str,
    weight: float | None,
    expires: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Say something about KEY_ID that every node will know was said by this one.

    What will be signed is shown first. A signed record spreads to all peers and cannot be taken
    back, only contradicted by a later one.
    """
    columns = {
        "attested_key_id": _key_id(key_id),
        "attestation_type": type_,
        "weight": weight,
        "expires_at": expires,
        "attestation_envelope": {"dimension": dimension, "score": _shortest(score)},
    }
    _sign(app, EnvelopeKind.ATTESTATION, columns, ask_first=not (yes or as_json), as_json=as_json)


@click.command(cls=Verb)
@click.argument("key_id")
@click.option("--reason", metavar="TEXT", help="Why, in a word or two: compromised, retired.")
@click.option(
    "--effective",
    metavar="TIME",
    help="From when on the key must not be believed, such as 2026-11-20T08:00:00Z; now if absent.",
)
@_yes_option
@_json_option
@click.pass_obj
def revoke(
    app: App,
    *,
    key_id: str,
    reason: str | None,
    effective: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Say that KEY_ID is not to be believed any more. There is no way back.

    It binds others when KEY_ID is this node's own key, or one whose rooting passes through it;
    from anyone else it is shown as a claim.
    """
    columns = {"revoked_key_id": _key_id(key_id), "reason": reason, "effective_at": effective}
    _sign(app, EnvelopeKind.REVOCATION, columns, ask_first=not (yes or as_json), as_json=as_json)


def _key_id(text: str) -> str:
    from ciris_mesh.runtime.keyids import is_key_id

    if not is_key_id(text):
        raise click.BadParameter(f"{text!r} is no key id", param_hint="KEY_ID")
    return text


def _shortest(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _sign(
    app: App, kind: EnvelopeKind, columns: Mapping[str, Any], *, ask_first: bool, as_json: bool
) -> None:
    from ciris_mesh.records.authoring import author
    from ciris_mesh.runtime.clock import SystemClock, ensure_signing_allowed
    from ciris_mesh.runtime.keyfiles import read_key_file

    clock = SystemClock()
    ensure_signing_allowed(clock)
    home = node_home(app)
    key = read_key_file(home.federation_key).key()
    at_ms = clock.wall_ms()
    columns = _normalized(columns)
    _preview(app, kind, columns, key, at_ms)
    if ask_first:
        _confirm()
    answer = _admit(app, kind, author(kind, columns, key, at_ms=at_ms), key)
    if answer["outcome"] not in ("admitted", "upgraded", "duplicate"):
        raise Failure(f"not stored: {answer['outcome']} {answer['reason']} {answer['detail']}")
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["envelope_id"])


def _normalized(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Give times a person wrote the form records have."""
    from ciris_mesh.records.timestamps import normalize

    plain = dict(columns)
    for name in ("expires_at", "effective_at"):
        if plain.get(name) is not None:
            try:
                plain[name] = normalize(plain[name])
            except ValueError:
                raise Failure(
                    f"{plain[name]!r} is no time; write it like 2027-06-01T00:00:00Z"
                ) from None
    return plain


def _preview(
    app: App, kind: EnvelopeKind, columns: Mapping[str, Any], key: FederationKey, at_ms: int
) -> None:
    from ciris_mesh.records.authoring import draft
    from ciris_mesh.records.canonical import jcs
    from ciris_mesh.records.kinds import KINDS

    prepared = draft(kind, columns, key, at_ms=at_ms)
    content = prepared.record[str(KINDS[kind].envelope_field)]
    app.talk(f"To be signed by {key.key_id} as {kind.value}:")
    app.talk(json.dumps(json.loads(jcs(content)), indent=2))


def _confirm() -> None:
    if not _somebody_is_there():
        raise Failure("nobody there to ask: add --yes to sign without asking")
    if not click.confirm("Sign this?", err=True):
        raise Failure("not signed")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _admit(app: App, kind: EnvelopeKind, envelope: bytes, key: FederationKey) -> dict[str, Any]:
    try:
        answer = ask(app, "admit", kind=kind.value, envelope_hex=envelope.hex())
        assert isinstance(answer, dict)
        return answer
    except NodeNotRunning:
        with locked_home(app) as home:
            return _admit_offline(home, kind, envelope, key)


def _admit_offline(
    home: Home, kind: EnvelopeKind, envelope: bytes, key: FederationKey
) -> dict[str, Any]:
    from ciris_mesh.directory.base import OWN
    from ciris_mesh.runtime.clock import SystemClock
    from ciris_mesh.runtime.ownself import own_key_record

    clock = SystemClock()
    with open_directory(home) as directory:
        if directory.public_key(key.key_id) is None:  # a node that never ran has no key record
            own = own_key_record(home, key, clock)
            directory.admit(EnvelopeKind.KEY, own, OWN, now_ms=clock.wall_ms())
        verdict = directory.admit(kind, envelope, OWN, now_ms=clock.wall_ms())
    return {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason.value,
        "envelope_id": verdict.envelope_id.hex() if verdict.envelope_id else None,
        "detail": verdict.detail,
    }
