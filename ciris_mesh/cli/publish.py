"""From columns to a record in the federation, or to a file on its way round several signers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.options import Manner
from ciris_mesh.cli.signing import Signer, confirm, prepare, preview, size_text, submit, tell
from ciris_mesh.records.kinds import EnvelopeKind

if TYPE_CHECKING:
    from ciris_mesh.cli.lookup import KnownKey
    from ciris_mesh.records.proposal import Proposal

#: One signature needs no file.
_THRESHOLD: Final = 2


def publish(
    app: App,
    me: Signer,
    kind: EnvelopeKind,
    columns: Mapping[str, Any],
    manner: Manner,
    *,
    about: KnownKey | None = None,
    **told: Any,
) -> None:
    """Show a record, ask, sign it with this node's key, submit it and tell what became of it.

    With `manner.cosign_file` the record is written there instead, and nothing is signed.

    Args:
        about: whom it is about, said beside the record.
        told: more members of the --json answer.

    Raises:
        MalformedRecord: no such record can be signed.
        Failure: not confirmed, or not taken by the node.
    """
    from ciris_mesh.records.authoring import assemble

    if manner.cosign_file is not None:
        propose(app, me, kind, columns, manner.cosign_file, manner, about=about)
        return
    prepared = prepare(kind, columns, me)
    size = size_text(prepared, [me.key_id])
    title = f"To be signed by {me.key_id} as {kind.value}, {size}:{_about(about)}"
    preview(app, prepared, title, must_be_seen=not manner.yes)
    confirm("Sign this?", yes=manner.yes)
    envelope = assemble(prepared, {me.key_id: me.key.sign(prepared.message)})
    tell(kind, submit(app, kind, envelope), as_json=manner.as_json, **told)


def propose(
    app: App,
    me: Signer,
    kind: EnvelopeKind,
    columns: Mapping[str, Any],
    path: Path,
    manner: Manner,
    *,
    about: KnownKey | None = None,
) -> None:
    """Write a record to a file that several are to sign.

    Raises:
        MalformedRecord: no such record can be signed, or not by so many.
        Failure: the file exists.
    """
    from ciris_mesh.records import proposal as proposals

    prepared = prepare(kind, columns, me)
    threshold = manner.threshold or _THRESHOLD
    proposal = proposals.propose(prepared, threshold=threshold, invited=manner.cosigners)
    size = size_text(prepared, [f"{me.key_id}{number:02}" for number in range(threshold)])
    title = f"To be signed by others as {kind.value}, about {size}:{_about(about)}"
    preview(app, prepared, title, must_be_seen=False)
    write_proposal(path, proposal, replace=False)
    tell_proposal(path, proposal, "proposed", as_json=manner.as_json)
    verb = signing_verb(kind)
    app.talk(
        f"\nEach signer runs: ciris-mesh {verb} sign {path.name}\n"
        f"Then one of them: ciris-mesh {verb} assemble {path.name} (and the other copies)"
    )


def signing_verb(kind: EnvelopeKind) -> str:
    """Under which command people look for `sign` and `assemble` of such a file."""
    return "partner" if kind is EnvelopeKind.PARTNER_RECORD else "cosign"


def _about(key: KnownKey | None) -> str:
    return "" if key is None else f"\n{key.line()}"


def write_proposal(path: Path, proposal: Proposal, *, replace: bool) -> None:
    """Write the file, whole or not at all, readable by its owner.

    Raises:
        Failure: it exists and `replace` is False.
    """
    from ciris_mesh.records.proposal import encode
    from ciris_mesh.runtime.files import write_atomic

    try:
        write_atomic(path, encode(proposal), replace=replace)
    except FileExistsError:
        raise Failure(f"{path} exists already and is not overwritten; name another file") from None


def read_proposal(path: Path) -> Proposal:
    """Read a file that went round.

    Raises:
        Failure: it is none, or was altered; the line names it.
    """
    from ciris_mesh.errors import MalformedRecord
    from ciris_mesh.records.proposal import FILE_BYTES_MAX, decode
    from ciris_mesh.runtime.files import TooLarge, read_bounded

    try:
        return decode(read_bounded(path, bytes_max=FILE_BYTES_MAX))
    except (MalformedRecord, TooLarge) as exc:
        detail = exc.detail if isinstance(exc, MalformedRecord) else str(exc)
        raise Failure(
            f"{path} is no proposal as it was written ({detail}); get it from its sender again"
        ) from None


def tell_proposal(path: Path, proposal: Proposal, outcome: str, *, as_json: bool) -> None:
    """Print the file's name, or with --json where the proposal stands."""
    from ciris_mesh.records.rows import is_wrapper_named, persist_row_hash

    if not as_json:
        click.echo(str(path))
        return
    kind = proposal.draft.kind
    row_hash = persist_row_hash(kind, proposal.draft.record)
    print_json(
        {
            "kind": kind.value,
            # Of a partner record it depends on who will have signed.
            "envelope_id": None if is_wrapper_named(kind) else row_hash,
            "outcome": outcome,
            "reason": "",
            "file": str(path),
            "threshold": proposal.threshold,
            "signers": list(proposal.signers),
            "invited": list(proposal.invited),
        }
    )
