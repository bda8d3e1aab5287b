"""The JSON body of 0x01 and 0x02 frames: one table, tag -> class and fields.

What is accepted is what upstream's derived serde reader accepts, neither more nor less, because two
nodes that disagree about one frame disagree for ever: members in any order, unknown members
ignored, a structure also as an array of its fields. The vectors in tests/vectors pin both ways.
Beyond that only what no honest sender makes is refused: the limits below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

import orjson

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.envelope import ENVELOPE_BYTES_MAX
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import (
    Deliver,
    Diff,
    EnvelopeRef,
    Fetch,
    ReplicationMessage,
    Summary,
)

#: An 8 MiB frame (upstream's own limit) without its five bytes of preamble.
BODY_BYTES_MAX: Final = 8 * 1024 * 1024 - 5

#: Arrays and objects open at once: serde_json's recursion limit, so the same frames pass on both
#: sides. Checked before the parser runs, so no input can spend its stack.
DEPTH_MAX: Final = 127

#: Arrays and objects in one body. A hash costs at least 66 bytes and a ref at least 70 in two
#: brackets, so 8 MiB of either stay below. Bounds what the parser allocates: an empty list costs
#: three bytes here and sixty there.
CONTAINERS_MAX: Final = 256 * 1024

#: Quotation marks in one body: a ref has four in at least 92 bytes, so 8 MiB of refs stay below.
QUOTES_MAX: Final = 512 * 1024

#: Envelopes in one Deliver. Senders fill it up to 512 KiB, and no signed envelope stays below
#: 130 bytes, so an honest one has fewer. Stricter than upstream, on purpose: a frame has
#: room for 260,000 of three bytes, and each costs its reader a look of its own.
ENVELOPES_MAX: Final = 4096

#: What stands in each place of an octet's decimal; a gap before the first digit.
_GAP: Final = b" "
_HUNDREDS, _TENS, _UNITS = (
    bytes(f"{octet:3}".encode()[place] for octet in range(256)) for place in range(3)
)
#: What the octets of an envelope are spelled with, and the longest such text.
_DECIMALS: Final = b"0123456789,"
_TEXT_BYTES_MAX: Final = 4 * ENVELOPE_BYTES_MAX

_STRUCTURAL: Final = b'[]{}"'
_NOT_STRUCTURAL: Final = bytes(set(range(256)) - set(_STRUCTURAL))
_ALL_SQUARE: Final = bytes.maketrans(b"{}", b"[]")


@dataclass(frozen=True, slots=True)
class _Field:
    """One member: its name, its JSON text from a value, its value from parsed JSON."""

    name: str
    dump: Callable[[Any], str]
    load: Callable[[Any], Any]


def encode(message: ReplicationMessage) -> bytes:
    """Serialize to compact JSON, byte for byte as upstream does. Total."""
    tag = _TAG_OF[type(message)]
    members = (
        f',"{field.name}":{field.dump(getattr(message, field.name))}' for field in _TABLE[tag][1]
    )
    return f'{{"type":"{tag}"{"".join(members)}}}'.encode("ascii")


def decode(body: bytes) -> ReplicationMessage:
    """Parse untrusted bytes.

    Raises:
        DecodeError: too long, not JSON, too deep, unknown tag or kind, missing or repeated member,
            value out of range. No other exception escapes, whatever the input.
    """
    if len(body) > BODY_BYTES_MAX:
        raise DecodeError(f"body of {len(body)} bytes exceeds {BODY_BYTES_MAX}")
    if (message := _spelled_as_here(body)) is not None:
        return message
    try:
        return _load_message(_parse(body))
    except LocalProtocolError as exc:
        raise DecodeError(f"value out of range: {exc}") from exc
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise DecodeError(f"malformed message: {exc}") from exc


# --- bytes -> message at once, for what `encode` wrote ---


def _spelled_as_here(body: bytes) -> ReplicationMessage | None:
    """Read a Deliver spelled as `encode` spells it; None for all else, right or wrong.

    Envelopes are nearly all bytes there are, and the exact reader takes three times as long.
    """
    at = body.find(b"[[")
    kind = _DELIVER_HEADS.get(body[:at])
    if kind is None or not body.endswith(b"]]}"):
        return None
    texts = (b"," + body[at + 1 : -2]).split(b"]", ENVELOPES_MAX)
    if texts.pop():  # nothing is left after the last one, unless there are too many
        return None
    try:
        return Deliver(kind, tuple([_octets_of(text) for text in texts]))
    except (ValueError, TypeError, LocalProtocolError):  # 1234 is a ValueError, 2**64 a float
        return None  # the exact reader says what is wrong


def _octets_of(text: bytes) -> bytes:
    """Read `,[` and decimals with commas between.

    Nothing else may reach the parser, or it would build whatever a peer likes; and an array that
    no envelope is as long as costs eight bytes a number.

    Raises:
        ValueError: it is anything else.
    """
    is_plain = text.startswith(b",[") and text.translate(None, _DECIMALS) == b"["
    if not is_plain or len(text) > _TEXT_BYTES_MAX:
        raise ValueError("no array of octets")
    return bytes(orjson.loads(text[1:] + b"]"))


# --- bytes -> parsed JSON: objects are tuples of (name, value) pairs, arrays are lists ---


def _refuse_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _integer(token: str) -> int | float:
    return -0.0 if token == "-0" else int(token)  # serde_json reads -0 as a float


#: Pairs instead of a dict, because a dict forgets repeated members; tuples, because they then
#: cannot be mistaken for arrays.
_FAST: Final = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_refuse_constant)
_EXACT: Final = json.JSONDecoder(
    object_pairs_hook=tuple, parse_constant=_refuse_constant, parse_int=_integer
)


def _parse(body: bytes) -> Any:
    _check_structure(body)
    # A hook for integers triples the time, and no honest frame holds a minus sign.
    decoder = _EXACT if b"-" in body else _FAST
    return decoder.decode(str(body, "utf-8"))


def _check_structure(body: bytes) -> None:
    """Bound what the parser can be made to allocate and how deep it can recurse."""
    containers = body.count(b"[") + body.count(b"{")
    if containers > CONTAINERS_MAX or body.count(b'"') > QUOTES_MAX:
        raise ValueError("too many parts")
    if containers <= DEPTH_MAX:
        return
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outline = unescaped.translate(_ALL_SQUARE, _NOT_STRUCTURAL)
    nesting = b"".join(outline.split(b'"')[::2])  # every second part lies outside strings
    for _ in range(DEPTH_MAX):
        nesting = nesting.replace(b"[]", b"")  # takes away exactly the innermost level
    if nesting:
        raise ValueError("nested too deep, or brackets do not match")


def _check_ignored(value: Any) -> None:
    """Raise for what serde_json refuses although nobody reads it; Python's parser lets it pass."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            item.encode()  # a lone surrogate has no UTF-8
        elif isinstance(item, int | float):
            if math.isinf(item):  # raises OverflowError itself for integers beyond a double
                raise ValueError("number out of range")
        elif item is not None:
            pending.extend(item)


# --- parsed JSON -> values ---


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected an array, got {type(value).__name__}")
    return value


def _structure(value: Any, fields: Sequence[_Field]) -> list[Any]:
    """Read an object, or an array of exactly the fields in order, as serde does for structs."""
    if isinstance(value, list):
        if len(value) != len(fields):
            raise ValueError(f"{len(value)} elements instead of {len(fields)}")
        return [field.load(item) for field, item in zip(fields, value, strict=True)]
    if not isinstance(value, tuple):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    wanted = {field.name for field in fields}
    found: dict[str, Any] = {}
    for name, item in value:
        if name not in wanted:
            _check_ignored((name, item))
        elif name in found:
            raise ValueError(f"duplicate member {name}")
        else:
            found[name] = item
    for name in wanted - found.keys():
        raise ValueError(f"missing member {name}")
    return [field.load(found[field.name]) for field in fields]


def _load_message(value: Any) -> ReplicationMessage:
    rest: Any
    if isinstance(value, list):
        tags, rest = value[:1], value[1:]
    elif isinstance(value, tuple):
        tags = [item for name, item in value if name == "type"]
        rest = tuple(pair for pair in value if pair[0] != "type")
    else:
        raise TypeError(f"expected an object, got {type(value).__name__}")
    if len(tags) != 1:
        raise ValueError(f"{len(tags)} types instead of one")
    if not isinstance(tags[0], str) or tags[0] not in _TABLE:
        raise ValueError(f"unknown type {tags[0]!r:.60}")
    cls, fields = _TABLE[tags[0]]
    message: ReplicationMessage = cls(*_structure(rest, fields))
    return message


def _load_kind(value: Any) -> EnvelopeKind:
    # serde also takes a unit variant as an object: its name with null or {} as the value.
    if isinstance(value, tuple) and len(value) == 1 and value[0][1] in (None, ()):
        value = value[0][0]
    if not isinstance(value, str):
        raise TypeError(f"kind is no string but {type(value).__name__}")
    if value not in _KIND_TOKENS:
        raise ValueError(f"unknown kind {value!r:.60}")
    return EnvelopeKind(value)


def _load_octets(value: Any) -> bytes:
    items = _array(value)  # bytes() of an integer from the wire would allocate that many zeros
    if not set(map(type, items)) <= _ONLY_INT:
        raise TypeError("a byte is not an integer")  # bytes([True]) would pass
    return bytes(items)


def _load_seq(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"seq is no integer but {type(value).__name__}")
    return value


def _load_ref(value: Any) -> EnvelopeRef:
    return EnvelopeRef(*_structure(value, _REF_FIELDS))


# --- values -> JSON text ---


def _dump_octets(octets: bytes) -> str:
    return f"[{_decimals(octets).decode('ascii')}]"


def _decimals(octets: bytes) -> bytes:
    """Decimals with commas between: all hundreds, tens, units and commas; then without the gaps."""
    text = bytearray(4 * len(octets))
    text[0::4] = octets.translate(_HUNDREDS)
    text[1::4] = octets.translate(_TENS)
    text[2::4] = octets.translate(_UNITS)
    text[3::4] = b"," * len(octets)
    del text[-1:]
    return bytes(text.translate(None, _GAP))


def _dump_kind(kind: EnvelopeKind) -> str:
    return f'"{kind.value}"'


def _dump_ref(ref: EnvelopeRef) -> str:
    members = (f'"{field.name}":{field.dump(getattr(ref, field.name))}' for field in _REF_FIELDS)
    return f"{{{','.join(members)}}}"


def _list_of(name: str, dump: Callable[[Any], str], load: Callable[[Any], Any]) -> _Field:
    return _Field(
        name,
        dump=lambda items: f"[{','.join([dump(item) for item in items])}]",
        load=lambda value: tuple([load(item) for item in _array(value)]),
    )


def _load_envelopes(value: Any) -> tuple[bytes, ...]:
    items = _array(value)
    if len(items) > ENVELOPES_MAX:
        raise ValueError(f"{len(items)} envelopes in one Deliver, more than {ENVELOPES_MAX}")
    return tuple([_load_octets(item) for item in items])


_ONLY_INT: Final = {int}
_KIND_TOKENS: Final = frozenset(kind.value for kind in EnvelopeKind)

_REF_FIELDS: Final = (
    _Field("envelope_hash", _dump_octets, _load_octets),
    _Field("seq", str, _load_seq),
)
_KIND: Final = _Field("kind", _dump_kind, _load_kind)
_REFS: Final = _list_of("refs", _dump_ref, _load_ref)
_WANT: Final = _list_of("want", _dump_octets, _load_octets)
_ENVELOPES: Final = replace(_list_of("envelopes", _dump_octets, _load_octets), load=_load_envelopes)

#: Wire tag -> (message class, its fields in constructor order).
_TABLE: Final[dict[str, tuple[type[Any], tuple[_Field, ...]]]] = {
    "summary": (Summary, (_KIND, _REFS)),
    "diff": (Diff, (_KIND, _WANT)),
    "fetch": (Fetch, (_KIND, _WANT)),
    "deliver": (Deliver, (_KIND, _ENVELOPES)),
}
_TAG_OF: Final = {cls: tag for tag, (cls, _) in _TABLE.items()}

#: How `encode` begins a Deliver -> of which kind.
_DELIVER_HEADS: Final[dict[bytes, EnvelopeKind]] = {
    f'{{"type":"deliver","kind":"{kind}","envelopes":'.encode("ascii"): kind
    for kind in EnvelopeKind
}
