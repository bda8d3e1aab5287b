"""`cosign`: take a record that several must sign from one to the next, as a file.

The file goes by mail, on a stick or by hand; it holds no secret. `cosign sign` adds this node's
signature to a copy, `cosign assemble` puts the copies together and submits the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.options import FILE, Manner, takes_manner
from ciris_mesh.cli.publish import read_proposal, signing_verb, tell_proposal, write_proposal
from ciris_mesh.cli.signing import (
    Signer,
    confirm,
    preview,
    signed_content,
    size_text,
    submit,
    tell,
    this_signer,
)
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.ui.words import count

if TYPE_CHECKING:
    from ciris_mesh.cli.keyring import Lookup
    from ciris_mesh.records.proposal import Proposal


@click.group()
def cosign() -> None:
    """Sign or assemble a record that several must sign, file by file.

    The files hold no secret and go by mail, on a stick or by hand; this version does not send them
    over the mesh.
    """


@cosign.command(cls=Verb)
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def show(app: App, *, file: Path, as_json: bool) -> None:
    """Show what FILE asks to be signed, and who has signed it so far.

    Nothing is signed or changed.
    """
    from ciris_mesh.records.proposal import signature_reasons

    proposal = read_proposal(file)
    reasons = signature_reasons(proposal, _lookup(app))
    if as_json:
        print_json(
            {
                "kind": proposal.draft.kind.value,
                "file": str(file),
                "threshold": proposal.threshold,
                "invited": list(proposal.invited),
                "signatures": {name: reason.value or "valid" for name, reason in reasons.items()},
                "content": signed_content(proposal.draft),
            }
        )
        return
    asked = f" of {', '.join(proposal.invited)}" if proposal.invited else ""
    needed = count(proposal.threshold, "signature")
    click.echo(f"{proposal.draft.kind.value}, {needed} needed{asked}")
    for name, reason in reasons.items():
        click.echo(f"signed by {name}: {reason.value or 'valid'}")
    preview(app, proposal.draft, "What each signs:", must_be_seen=True)


@cosign.command(cls=Verb)
@click.argument("file", type=FILE)
@click.option(
    "--output", type=FILE, metavar="FILE", help="Leave FILE as it is and write the copy here."
)
@takes_manner
@click.pass_obj
def sign(app: App, *, file: Path, output: Path | None, manner: Manner) -> None:
    """Add this node's signature to the record in FILE.

    What will be signed is worked out again from the record and shown first. FILE is replaced by
    the signed copy, which goes back to whoever assembles them.
    """
    from ciris_mesh.records.proposal import sign as add_signature

    me = this_signer(app)
    proposal = read_proposal(file)
    if proposal.invited and me.key_id not in proposal.invited:
        raise Failure(f"{me.key_id} is not among those asked to sign {file}; nothing was signed")
    target = output or file
    if _has_signed(proposal, me, file):
        app.talk(f"{file} holds the signature of {me.key_id} already.")
        if output is not None:
            write_proposal(output, proposal, replace=False)
        tell_proposal(target, proposal, "duplicate", as_json=manner.as_json)
        return
    kind = proposal.draft.kind.value
    size = size_text(proposal.draft, [*proposal.signers, me.key_id])
    title = f"To be signed by {me.key_id} as {kind}, {size}:"
    preview(app, proposal.draft, title, must_be_seen=not manner.yes)
    confirm("Sign this?", yes=manner.yes)
    signed = add_signature(proposal, me.key)
    write_proposal(target, signed, replace=output is None)
    tell_proposal(target, signed, "signed", as_json=manner.as_json)


@cosign.command(cls=Verb)
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@takes_manner
@click.pass_obj
def assemble(app: App, *, files: Sequence[Path], manner: Manner) -> None:
    """Put the signatures of all copies in FILE... together and submit the record.

    Every signature is verified, and all must be of the same record. With fewer than the file asks
    for nothing is submitted.
    """
    from ciris_mesh.records.proposal import envelope

    merged = _merged(app, files)
    kind = merged.draft.kind
    title = f"To be submitted as {kind.value}, {size_text(merged.draft, merged.signers)}"
    preview(
        app,
        merged.draft,
        f"{title}, signed by {', '.join(merged.signers)}:",
        must_be_seen=not manner.yes,
    )
    confirm("Submit this?", yes=manner.yes)
    answer = submit(app, kind, envelope(merged))
    tell(kind, answer, as_json=manner.as_json, signers=list(merged.signers))


def _merged(app: App, files: Sequence[Path]) -> Proposal:
    """All copies as one, every signature verified and enough of them."""
    from ciris_mesh.errors import MalformedRecord
    from ciris_mesh.records.proposal import merge, standing

    keys = _lookup(app)
    first = read_proposal(files[0])
    copies = [first, *(read_proposal(path) for path in files[1:])]
    for path, copy in zip(files, copies, strict=True):
        if replace(copy, claims=()) != replace(first, claims=()):
            raise Failure(f"{path} is another proposal than {files[0]}; assemble copies of one")
        _verify(path, copy, keys)
    try:
        merged = merge(copies)
    except MalformedRecord as exc:
        raise Failure(f"these copies make no record: {exc.detail}") from None
    found = len(standing(merged, keys))
    if found < merged.threshold:
        raise Failure(
            f"{found} of {count(merged.threshold, 'signature')}: have {_missing(merged)} run "
            f"ciris-mesh {signing_verb(merged.draft.kind)} sign on a copy"
        )
    return merged


def _missing(proposal: Proposal) -> str:
    missing = [name for name in proposal.invited if name not in proposal.signers]
    return " or ".join(missing) or "another signer"


def _verify(path: Path, proposal: Proposal, keys: Lookup) -> None:
    from ciris_mesh.records.outcome import Reason
    from ciris_mesh.records.proposal import signature_reasons

    for name, reason in signature_reasons(proposal, keys).items():
        match reason:
            case Reason.NONE:
                continue
            case Reason.SIGNER_UNKNOWN:
                raise Failure(
                    f"{path}: the key of {name} is not known here; wait until its key record came"
                )
            case Reason.SIGNER_NOT_ALLOWED:
                raise Failure(f"{path}: {name} was not asked to sign; use a copy without it")
            case _:
                raise Failure(
                    f"{path}: the signature of {name} does not stand ({reason.value}); "
                    "have it signed again"
                )


def _has_signed(proposal: Proposal, me: Signer, file: Path) -> bool:
    if me.key_id not in proposal.signers:
        return False
    own = {me.key_id: me.key.public}
    mine = replace(
        proposal, claims=tuple(each for each in proposal.claims if each.key_id == me.key_id)
    )
    _verify(file, mine, own.get)
    return True


def _lookup(app: App) -> Lookup:
    """Keys known here; this node's own even before it ever ran."""
    from ciris_mesh.cli.keyring import Keyring
    from ciris_mesh.cli.node import node_home
    from ciris_mesh.runtime.keyfiles import read_key_file

    own = read_key_file(node_home(app).federation_key).key()
    ring = Keyring(app, None)
    return lambda name: own.public if name == own.key_id else ring.lookup(name)
