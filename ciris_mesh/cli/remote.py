"""`-R ADDRESS -i IDENTITY -w SECONDS`: ask a node elsewhere, over Reticulum.

The letters are those of `rnstatus`, the exit codes those of `lxmd`: 200 no answer in time, 201
Reticulum, 202 the identity file, 203 the address, 204 no access, 205 not understood, 206 not found,
207 an empty answer.
"""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.errors import ControlError

if TYPE_CHECKING:
    from ciris_mesh.transport.rns_remote import RemoteNode

#: A path, a link and an answer through a few hops take seconds; over LoRa -w says more.
WAIT_S: Final = 15.0
WAIT_MAX_S: Final = 600.0
_NONCE_BYTES: Final = 16

#: Names of a node's errors -> exit codes.
_CODES: Final = {
    "denied": 204, "bad_request": 205, "unknown_op": 206, "operator_error": 206,
}  # fmt: skip
_NO_IDENTITY: Final = 202


class Remote:
    """A node elsewhere. The link is opened at the first question and used for all of a command."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.identity: Path | None = None
        self.wait_s = WAIT_S
        self._node: RemoteNode | None = None

    def ask(self, app: App, op: str, arguments: dict[str, Any]) -> Any:
        """Ask, and return the answer's "result".

        Raises:
            Failure: with an exit code of 200 to 207.
        """
        from ciris_mesh.runtime.asking import result_of
        from ciris_mesh.transport.rns_remote import RemoteFailed

        body = json.dumps({**arguments, "nonce": secrets.token_hex(_NONCE_BYTES)})
        try:
            node = self._node = self._node or self._open(app)
            return result_of(node.ask(op, body.encode()))
        except RemoteFailed as error:
            raise Failure(str(error), int(error.code)) from None
        except ControlError as error:
            raise Failure(f"the node says: {error}", _CODES.get(error.name, 1)) from None

    def _open(self, app: App) -> RemoteNode:
        from ciris_mesh.transport.rns_remote import RemoteNode, parse_address

        address = parse_address(self.address)
        if self.identity is None:
            raise Failure(
                "-R needs -i FILE, an identity that node lists in [control] remote_allowed; "
                "make one by: rnid -g FILE",
                _NO_IDENTITY,
            )
        node = RemoteNode(app.rns_config_dir, self.identity, address, self.wait_s)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Reticulum took it
        return node


def takes_remote(function: Callable[..., None]) -> Callable[..., None]:
    """Add -R, -i and -w to a command whose questions go through `cli.node.ask`."""
    directory: Any = click.Path(path_type=Path)
    options = (
        click.option(
            "-R",
            "--remote",
            metavar="ADDRESS",
            expose_value=False,
            is_eager=True,
            callback=_set_remote,
            help="Ask the node with this address, over Reticulum, instead of the one here.",
        ),
        click.option(
            "-i",
            "--identity",
            type=directory,
            metavar="FILE",
            expose_value=False,
            callback=_set_identity,
            help="The identity to ask with; the node must list it.",
        ),
        click.option(
            "-w",
            "--wait",
            "wait_s",
            type=click.FloatRange(1, WAIT_MAX_S),
            metavar="SECONDS",
            expose_value=False,
            callback=_set_wait,
            help=f"Wait this long for the way there, and for each answer ({WAIT_S:g}).",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _set_remote(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(App).remote = Remote(value)


def _set_identity(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    _remote(ctx, "-i", value).identity = value


def _set_wait(ctx: click.Context, _param: click.Parameter, value: float | None) -> None:
    _remote(ctx, "-w", value).wait_s = value or WAIT_S


def _remote(ctx: click.Context, option: str, value: object) -> Remote:
    remote = ctx.ensure_object(App).remote
    if remote is None and value is not None:
        raise click.UsageError(f"{option} goes with -R ADDRESS.")
    return remote or Remote("")
