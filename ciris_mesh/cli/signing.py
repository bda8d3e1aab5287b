"""What every signing command does: prepare, show, ask, sign, hand to the node, tell.

Nothing is signed that was not shown: the draft that is previewed is the draft that is signed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import ask, locked_home, node_home, open_directory
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle

if TYPE_CHECKING:
    from ciris_mesh.records.authoring import Draft
    from ciris_mesh.records.hybrid import FederationKey
    from ciris_mesh.runtime.home import Home

#: Outcomes after which the record stands here as federation truth.
_TAKEN: Final = ("admitted", "upgraded", "superseded", "duplicate")

#: Records that must not lead to a person's purchases.
_OPERATIONAL: Final = (SignatureStyle.OPERATIONAL, SignatureStyle.STEWARDS)


@dataclass(frozen=True, slots=True)
class Signer:
    """This node's key, and the one moment everything in this command is dated with."""

    key: FederationKey
    at_ms: int

    @property
    def key_id(self) -> str:
        """The key's id."""
        return self.key.key_id

    @property
    def now(self) -> str:
        """The moment as columns have it."""
        from ciris_mesh.records.timestamps import from_unix_ms

        return from_unix_ms(self.at_ms)


def this_signer(app: App) -> Signer:
    """Read this node's key.

    Raises:
        ClockUntrusted: the clock may not date a signature.
        ConfigError: there is no node here.
        KeyFileError: the key cannot be read.
    """
    from ciris_mesh.runtime.clock import clock_of, ensure_signing_allowed
    from ciris_mesh.runtime.keyfiles import read_key_file

    home = node_home(app)
    clock = clock_of(home)
    ensure_signing_allowed(clock)
    return Signer(read_key_file(home.federation_key).key(), clock.wall_ms())


def prepare(kind: EnvelopeKind, columns: Mapping[str, Any], me: Signer) -> Draft:
    """Make the record complete but for signatures.

    Raises:
        MalformedRecord: no such record can be signed.
        Failure: it holds a payment processor's id, or every node would refuse what it says.
    """
    from ciris_mesh.records.authoring import draft, measure
    from ciris_mesh.records.payment import find_payment_id

    prepared = draft(kind, columns, me.key, at_ms=me.at_ms)
    where = find_payment_id(prepared.record) if KINDS[kind].style in _OPERATIONAL else None
    if where is not None:
        raise Failure(f"{where} is a payment processor's id: leave it out, every node would see it")
    measure(prepared, [me.key_id])
    _require_sound(prepared, me)
    return prepared


def _require_sound(prepared: Draft, me: Signer) -> None:
    """Put what the record says to the rules by which nodes will refuse it, whoever signs it."""
    from ciris_mesh.records.authoring import unsigned
    from ciris_mesh.records.rules.base import Trust
    from ciris_mesh.records.rules.table import judge_content

    finding = judge_content(unsigned(prepared, [me.key_id]), Trust())
    if not finding.is_fine:
        raise Failure(f"nothing was signed: {finding.reason.value}: {finding.detail}")


def preview(app: App, prepared: Draft, title: str, *, must_be_seen: bool) -> None:
    """Show every column that is about to be signed, after a line that says by whom.

    Public keys are shortened: nobody compares 2,600 characters, and they push out the rest.

    Args:
        must_be_seen: show it even to somebody who asked for quiet.
    """
    from ciris_mesh.ui.words import json_lines, wrapped

    text = f"{wrapped(title)}\n{json_lines(json.dumps(signed_content(prepared)))}"
    if must_be_seen:
        click.echo(text, err=True)
    else:
        app.talk(text)


def signed_content(prepared: Draft) -> Any:
    """What a signature covers, as plain JSON: the signed envelope, or all columns."""
    from ciris_mesh.records.canonical import jcs
    from ciris_mesh.records.rows import ROW_HASH_FIELD

    member = KINDS[prepared.kind].envelope_field
    columns = {name: it for name, it in prepared.record.items() if name != ROW_HASH_FIELD}
    return json.loads(jcs(columns if member is None else columns[member]))


def size_text(prepared: Draft, signers: Sequence[str]) -> str:
    """How large the record will be, in words."""
    from ciris_mesh.records.authoring import measure

    return f"{measure(prepared, signers)} bytes with {_count(len(signers), 'signature')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + "s" * (number != 1)


def confirm(question: str, *, yes: bool) -> None:
    """Return when the person agreed.

    Raises:
        Failure: they did not, or nobody is there to be asked.
    """
    if yes:
        return
    if not somebody_is_there():
        raise Failure("nobody there to ask: add --yes to go ahead without asking")
    if not click.confirm(question, err=True):
        raise Failure("nothing was done")


def somebody_is_there() -> bool:
    """True when a person sits at standard input."""
    return sys.stdin.isatty()


def submit(app: App, kind: EnvelopeKind, envelope: bytes) -> dict[str, Any]:
    """Hand a signed record to the running node, or store it while none runs.

    Returns:
        `outcome`, `reason`, `envelope_id` and `detail` of the verdict, whatever it is.
    """
    try:
        answer = ask(app, "admit", kind=kind.value, envelope_hex=envelope.hex())
        assert isinstance(answer, dict)
        return answer
    except NodeNotRunning:
        with locked_home(app) as home:
            return _admit_offline(home, kind, envelope)


def tell(kind: EnvelopeKind, answer: Mapping[str, Any], *, as_json: bool, **more: Any) -> None:
    """Print what became of a record: its envelope id, or with --json everything.

    What waits for another record is kept, and goes out by itself later: signing it again would
    only make a second one.

    Raises:
        Failure: the node did not take it; the line says why.
    """
    if as_json:
        print_json({"kind": kind.value, **answer, **more})
    is_waiting = answer["outcome"] == "deferred"
    if is_waiting:
        click.echo(
            f"Kept, not published yet: {answer['reason']} {answer['detail']}\n"
            "It goes out by itself when that is here.",
            err=True,
        )
    elif answer["outcome"] not in _TAKEN:
        why = f"; see: ciris-mesh explain {answer['reason']}" if answer["reason"] else ""
        raise Failure(f"not stored: {answer['outcome']} {answer['reason']} {answer['detail']}{why}")
    if not as_json:
        click.echo(answer["envelope_id"])


def _admit_offline(home: Home, kind: EnvelopeKind, envelope: bytes) -> dict[str, Any]:
    from ciris_mesh.directory.base import OWN
    from ciris_mesh.runtime.clock import clock_of
    from ciris_mesh.runtime.keyfiles import read_key_file
    from ciris_mesh.runtime.ownself import own_key_record

    clock = clock_of(home)
    key = read_key_file(home.federation_key).key()
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
