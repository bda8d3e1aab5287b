"""`occurrence`: the devices and services a key acts on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.options import (
    FILE,
    KEY_ID,
    Manner,
    takes_cosigners,
    takes_manner,
    time_option,
)
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_DEVICE_CLASSES: Final = ("phone", "laptop", "server", "embedded", "agent", "service")
#: Two public keys in base64 are 1,650 bytes.
_KEYS_FILE_BYTES_MAX: Final = 8 * 1024


@click.group()
def occurrence() -> None:
    """Vouch for a device or service of an identity."""


@occurrence.command(cls=Verb)
@click.argument("occurrence_key_id", type=KEY_ID, metavar="KEY_ID")
@click.option(
    "--device-class",
    required=True,
    type=click.Choice(_DEVICE_CLASSES),
    help="What sort of device it is.",
)
@click.option(
    "--identity",
    type=KEY_ID,
    metavar="KEY_ID",
    help="Whose device it is; this node's own key if absent.",
)
@time_option("--valid-until", "Until when it is one, such as 2027-06-01T00:00:00Z.")
@click.option(
    "--encryption-keys",
    type=FILE,
    metavar="FILE",
    help="Its public keys for content sent to it: JSON with x25519_base64 and ml_kem_768_base64.",
)
@takes_cosigners
@takes_manner
@click.pass_obj
def add(
    app: App,
    *,
    occurrence_key_id: str,
    device_class: str,
    identity: str | None,
    valid_until: str | None,
    encryption_keys: Path | None,
    manner: Manner,
) -> None:
    """Say that KEY_ID is a device of this node's identity, or of another one.

    It counts when the identity itself says so, or another device of it that counts already.
    """
    me = this_signer(app)
    columns = {
        "identity_key_id": identity or me.key_id,
        "occurrence_key_id": occurrence_key_id,
        "device_class": device_class,
        "valid_until": valid_until,
        "encryption_pubkeys": None if encryption_keys is None else _read_keys(encryption_keys),
    }
    publish(app, me, EnvelopeKind.IDENTITY_OCCURRENCE, columns, manner)


def _read_keys(path: Path) -> dict[str, Any]:
    from ciris_mesh.errors import KeyExchangeRefused, MalformedRecord
    from ciris_mesh.records.jsontext import parse_json
    from ciris_mesh.records.kex import KexPublicKey
    from ciris_mesh.runtime.files import TooLarge, read_bounded

    try:
        keys = KexPublicKey.from_members(
            parse_json(read_bounded(path, bytes_max=_KEYS_FILE_BYTES_MAX))
        )
    except (KeyExchangeRefused, MalformedRecord, TooLarge) as exc:
        raise Failure(
            f"{path} holds no encryption keys ({exc}); expected JSON with x25519_base64 of 32 "
            "bytes and ml_kem_768_base64 of 1184"
        ) from None
    if keys.mlkem768 is None:
        raise Failure(f"{path} lacks ml_kem_768_base64; one key alone protects nothing for long")
    return dict(keys.members())
