"""`frame decode` and `frame encode`: replication frames as JSON, one a line."""

from __future__ import annotations

import json
import re
import typing
from typing import Any, Final

import click

from ciris_mesh.cli.lines import Answer, run_filter
from ciris_mesh.cli.plain import dump, from_hex, load
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import DecodeError, LocalProtocolError, PayloadTooLarge, UnknownVersion
from ciris_mesh.wire import frame as wire_frame
from ciris_mesh.wire import mesh, mesh_reconcile, mesh_records, messages
from ciris_mesh.wire.frame import AnyMessage

_JSON_MESSAGES: Final = (messages.Summary, messages.Diff, messages.Fetch, messages.Deliver)
_CLASSES: Final[tuple[type[Any], ...]] = (
    *_JSON_MESSAGES,
    mesh.Hello,
    mesh.BindingWanted,
    mesh.BindingOffer,
    mesh.Digests,
    mesh.Refusal,
    mesh.NoAir,
    mesh.ScopeWanted,
    mesh.ScopeOffer,
    mesh.Preview,
    *typing.get_args(mesh_reconcile.ReconcileMessage),
    mesh_records.Records,
    mesh_records.Taken,
)


def _tag(cls: type[Any]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


_BY_TAG: Final = {_tag(cls): cls for cls in _CLASSES}


@click.group()
def frame() -> None:
    """Read or write replication frames, one a line, for scripts and tests."""


@frame.command(cls=Verb)
def decode() -> None:
    """Read frames as hex digits, one a line, and print one JSON object for each.

    The member "result" is "message", "not_replication", "unknown_version" or "malformed".
    """
    run_filter(decode_line, _malformed)


@frame.command(cls=Verb)
def encode() -> None:
    """Read {"version", "message"} objects, one a line, and print {"frame"} in hex for each.

    Without "version" the kind's own version is used. What cannot be encoded is answered with
    {"error"}.
    """
    run_filter(encode_line, _error)


def decode_line(line: bytes) -> Answer:
    """Answer one line of `frame decode`."""
    try:
        unwrapped = wire_frame.try_unwrap(from_hex(line.decode("ascii", "replace"), "the line"))
    except UnknownVersion as exc:
        return {"result": "unknown_version", "version": exc.version}
    except (DecodeError, PayloadTooLarge, ValueError) as exc:
        return _malformed(str(exc))
    if unwrapped is None:
        return {"result": "not_replication"}
    body = {"type": _tag(type(unwrapped.message)), **dump(unwrapped.message)}
    return {"result": "message", "version": unwrapped.version, "message": body}


def encode_line(line: bytes) -> Answer:
    """Answer one line of `frame encode`."""
    try:
        item = json.loads(line)
        message = _message(item)
        return {"frame": _wrap(message, item.get("version")).hex()}
    except UnknownVersion as exc:
        return _error(str(exc))
    except RecursionError:
        return _error("nested too deep")
    except (ValueError, LocalProtocolError, PayloadTooLarge) as exc:
        return _error(str(exc))


def _message(item: Any) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get("message"), dict):
        raise ValueError('expected an object with a member "message" that is an object')
    members = dict(item["message"])
    tag = members.pop("type", None)
    cls = _BY_TAG.get(tag) if isinstance(tag, str) else None
    if cls is None:
        raise ValueError(f"unknown message type {tag!r}")
    return load(cls, members)


def _wrap(message: AnyMessage, version: Any) -> bytes:
    if version is None:
        return wire_frame.wrap(message)
    if isinstance(message, _JSON_MESSAGES):
        return wire_frame.wrap_at_version(message, _version(version))
    if _version(version) != wire_frame.VERSION_MESH:
        raise ValueError(f"version {version} does not carry {_tag(type(message))}")
    return wire_frame.wrap(message)


def _version(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 0xFF:
        raise ValueError("version is not an integer from 0 to 255")
    return value


def _malformed(reason: str) -> Answer:
    return {"result": "malformed", "reason": reason}


def _error(reason: str) -> Answer:
    return {"error": reason}
