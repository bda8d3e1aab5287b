"""What `--json` prints, as JSON Schema, made from the dataclasses that are printed.

A member may be added; none changes meaning or goes away without a new number in "schema". A test
keeps a copy of every member and its type.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Final

_PLAIN: Final[dict[Any, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", bytes: "string",
    types.NoneType: "null",
}  # fmt: skip


#: How a command is called where its name here is not all of it.
_WRITTEN: Final = {"waiting": "records --waiting"}


@dataclass(frozen=True, slots=True)
class RecordAnswer:
    """One record, as `records --json` lists it.

    Attributes:
        position: in the order records came in; `--after` goes on from there.
        envelope_id: 64 hex digits.
        shelf: "local", "bridged" or "federation".
        seq: Unix milliseconds at which it was signed, by its signer's clock.
        admitted_at_ms: Unix milliseconds at which it came in, by this node's clock.
    """

    position: int
    kind: str
    envelope_id: str
    shelf: str
    seq: int
    subject: str
    signers: tuple[str, ...]
    admitted_at_ms: int


@dataclass(frozen=True, slots=True)
class WaitingAnswer:
    """One record that came and waits for another, as `records --waiting --json` lists it.

    Attributes:
        position: in the order they came; `--after` goes on from there.
        envelope_id: 64 hex digits.
        path, peer: how it came and who brought it, such as "peer" and a key id.
        waits_for: names of what it waits for, such as "key:KEY_ID".
        not_before_ms: Unix milliseconds before which it is not looked at; null without such a time.
        since_ms: Unix milliseconds at which it came; null for longer than the node runs.
        bytes: size of its envelope.
    """

    position: int
    kind: str
    envelope_id: str
    signers: tuple[str, ...]
    path: str
    peer: str
    waits_for: tuple[str, ...]
    not_before_ms: int | None
    since_ms: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """One line of `doctor`.

    Attributes:
        name: of the check; stable.
        word: "ok", "note", "warn", "fail" or "skip".
        command: what helps; empty when nothing is to be done.
    """

    name: str
    word: str
    text: str
    command: str


@dataclass(frozen=True, slots=True)
class DoctorAnswer:
    """The whole answer to `doctor --json`."""

    schema: int
    version: str
    home: str
    healthy: bool
    checks: tuple[CheckAnswer, ...]


def answer_types() -> dict[str, Any]:
    """Command -> the type of what its `--json` prints."""
    from ciris_mesh.runtime.budget import BudgetStatus
    from ciris_mesh.runtime.status import NodeStatus, PeerStatus

    return {
        "status": NodeStatus,
        "peers": tuple[PeerStatus, ...],
        "budget": BudgetStatus,
        "records": tuple[RecordAnswer, ...],
        "waiting": tuple[WaitingAnswer, ...],
        "doctor": DoctorAnswer,
    }


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one command's answer."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ciris-mesh {_WRITTEN.get(name, name)} --json",
        **_schema(answer_types()[name]),
    }


def members(name: str) -> Iterator[tuple[str, str]]:
    """(path, type) of every member of an answer, such as ("peers[].fresh", "boolean")."""
    yield from _members(_schema(answer_types()[name]), "")


def _schema(hint: Any) -> dict[str, Any]:
    if is_dataclass(hint):
        assert isinstance(hint, type), "a type, not a value"
        return _object(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return {"anyOf": [_schema(each) for each in args]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    return {"type": "array", "items": _schema(args[0])}


def _object(made: type) -> dict[str, Any]:
    doc = inspect.getdoc(made) or ""
    said, hints = _attributes(doc), typing.get_type_hints(made)
    properties = {}
    for each in fields(made):
        found = _schema(hints[each.name])
        if each.name in said:
            found = {"description": said[each.name], **found}
        properties[each.name] = found
    always = [
        each.name
        for each in fields(made)
        if each.default is MISSING and each.default_factory is MISSING
    ]
    return {
        "description": " ".join(doc.partition("\n\n")[0].split()),
        "type": "object",
        "properties": properties,
        "required": always,
    }


def _attributes(doc: str) -> dict[str, str]:
    """Name -> what the docstring says of it; several names may share a line."""
    block = doc.partition("Attributes:\n")[2].partition("\n\n")[0]
    said: dict[str, str] = {}
    names: list[str] = []
    for line in block.splitlines():
        match = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if match:
            names = match[1].split(", ")
            said |= dict.fromkeys(names, match[2])
        else:
            said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return said


def _members(found: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    yield path, "|".join(_kinds_of(found))
    for each in found.get("anyOf", [found]):
        for name, member in each.get("properties", {}).items():
            yield from _members(member, f"{path}.{name}".lstrip("."))
        if "items" in each:
            yield from _members(each["items"], f"{path}[]")
        if isinstance(each.get("additionalProperties"), dict):
            yield from _members(each["additionalProperties"], f"{path}.*")


def _kinds_of(found: dict[str, Any]) -> list[str]:
    return [str(each.get("type", "enum")) for each in found.get("anyOf", [found])]
