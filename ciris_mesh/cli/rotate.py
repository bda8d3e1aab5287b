"""`identity rotate`: hand over to a new federation key, in two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import ask, locked_home, node_home
from ciris_mesh.cli.signing import confirm, prepare, preview, size_text, submit, this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ciris_mesh.cli.signing import Signer
    from ciris_mesh.runtime.home import Home

_STOP_FIRST = "stop the node first; it still signs with the old key"
_TAKEN = ("admitted", "upgraded", "superseded", "duplicate")


@click.command(cls=Verb)
@click.option("--finish", is_flag=True, help="The second step: the new key takes over now.")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; does not ask.")
@click.pass_obj
def rotate(app: App, *, finish: bool, yes: bool, as_json: bool) -> None:
    """Hand over to a new federation key, signed by the one in use.

    First: a new key is made, and the old one signs that it follows; peers get that as any record.
    Then, when they have it (ciris-mesh wait --converged) and the node is stopped, --finish lets
    the new key take over and revokes the old one. Every peer's operator runs
    `ciris-mesh peer follow` with this node's name, and compares the words. Backups and papers made
    before hold the old key: make new ones. The Reticulum address stays.
    """
    if finish:
        _finish(app, yes=yes or as_json, as_json=as_json)
    else:
        _begin(app, yes=yes or as_json, as_json=as_json)


def _begin(app: App, *, yes: bool, as_json: bool) -> None:
    from ciris_mesh.runtime.handover import handover_columns, key_columns, next_seeds

    me = this_signer(app)
    new = next_seeds(node_home(app)).key()
    is_signed = _signed_for(app, me.key_id) == new.key_id
    if not is_signed:
        _sign(app, me, EnvelopeKind.KEY, key_columns(new, me.key_id), yes=yes)
        columns = handover_columns(new.key_id, me.key_id)
        _sign(app, me, EnvelopeKind.ATTESTATION, columns, yes=yes)
    if as_json:
        print_json({"old": me.key_id, "new": new.key_id, "finished": False})
        return
    click.echo(new.key_id)
    said = "That was signed already; nothing was signed again" if is_signed else "Signed"
    app.talk(
        f"\n{said}. Let every peer have it: ciris-mesh wait --converged\n"
        "Then stop the node, and run: ciris-mesh identity rotate --finish"
    )


def _signed_for(app: App, key_id: str) -> str:
    """The key that `key_id`, this node's, hands over to by what it signed; "" for none."""
    from ciris_mesh.cli.peerbook import running_or_home

    found: dict[str, str] = running_or_home(
        app, lambda: ask(app, "own_handover"), lambda home: {"new": _signed_here(home, key_id)}
    )
    return found["new"]


def _signed_here(home: Home, key_id: str) -> str:
    from ciris_mesh.cli.node import open_directory
    from ciris_mesh.runtime.handover import find_handover

    with open_directory(home) as directory:
        found = find_handover(directory, key_id)
    return "" if found is None else found.key_id


def _finish(app: App, *, yes: bool, as_json: bool) -> None:
    from ciris_mesh.runtime.handover import next_seeds, swap_keys
    from ciris_mesh.runtime.setup import node_identity

    home = node_home(app)
    if not (home.path / "federation.key.next").exists():
        raise Failure(
            f"nothing to finish: {this_signer(app).key_id} is this node's key, and hands over to "
            "none; begin with: ciris-mesh identity rotate"
        )
    me = this_signer(app)
    new = next_seeds(home).key()
    try:
        with locked_home(app):
            pass  # a running node would go on signing with the old key
    except NodeNotRunning:
        raise Failure(_STOP_FIRST) from None
    with locked_home(app) as held:
        signed_for = _signed_here(held, me.key_id)
    if signed_for != new.key_id:
        raise Failure("the hand-over is not signed yet: ciris-mesh identity rotate")
    confirm(f"Let {new.key_id} take over, and revoke {me.key_id} for good?", yes=yes)
    columns = {"revoked_key_id": me.key_id, "reason": f"handed over to {new.key_id}"}
    _sign(app, me, EnvelopeKind.REVOCATION, columns, yes=True)
    try:
        with locked_home(app) as held:  # somebody may have started it while we asked
            swap_keys(held)
    except NodeNotRunning:
        raise Failure(_STOP_FIRST) from None
    identity = node_identity(home)
    if as_json:
        print_json({"old": me.key_id, "new": identity.key_id, "finished": True})
        return
    click.echo(f"{identity.key_id}\n{identity.invite}")
    app.talk(
        f"\nDone. Words for your peers to compare: {' '.join(identity.words)}\n"
        "Each of them runs: ciris-mesh peer follow NAME, with what they call this node.\n"
        "Backups and papers made before hold the old key: make new ones. Next: ciris-mesh run"
    )


def _sign(
    app: App, me: Signer, kind: EnvelopeKind, columns: Mapping[str, Any], *, yes: bool
) -> None:
    """As `publish`, without telling each outcome: the two records are one deed."""
    from ciris_mesh.records.authoring import assemble

    prepared = prepare(kind, columns, me)
    size = size_text(prepared, [me.key_id])
    title = f"To be signed by {me.key_id} as {kind.value}, {size}:"
    preview(app, prepared, title, must_be_seen=not yes)
    confirm("Sign this?", yes=yes)
    envelope = assemble(prepared, {me.key_id: me.key.sign(prepared.message)})
    answer = submit(app, kind, envelope)
    if answer["outcome"] not in _TAKEN:
        raise Failure(f"not taken: {answer['outcome']} {answer['reason']}: {answer['detail']}")
