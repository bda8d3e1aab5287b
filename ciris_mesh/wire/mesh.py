"""The messages of 0x81 frames, between nodes of this project: who I am, and do we hold the same.

Those that find out *what* differs are in `mesh_reconcile`, those that carry records in
`mesh_records`; encode and decode here are for all.

Each is a msgpack array `[tag, field, ...]` in constructor order. There is one spelling of every
message: bytes that are not exactly what `encode` writes are refused, so a frame can be compared and
pinned by its bytes. A new field or kind therefore needs a new version byte; Hello lists the
versions a node speaks and is always understood in this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.scope import SCOPE_BYTES_MAX
from ciris_mesh.wire import mesh_reconcile, mesh_records
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage
from ciris_mesh.wire.mesh_records import Records, Taken

#: Hashes and nonces are eight bytes: a LoRa packet is short, and each is salted or confirmed later.
SHORT_HASH_BYTES: Final = 8
#: Versions in one Hello; there are three, and a frame must stay below 400 B.
WIRE_VERSIONS_MAX: Final = 8
#: A binding is 3.4 kB of signatures and keys.
BINDING_BYTES_MAX: Final = 4 * 1024
#: A key record with both signature halves and an inner envelope is about 10 kB.
KEY_ENVELOPE_BYTES_MAX: Final = 16 * 1024
#: Longest reason for a refusal; reasons are names, not sentences.
REASON_CHARS_MAX: Final = 32
#: The longest of the messages here is a BindingOffer, 20 KiB and a few bytes of msgpack.
BODY_BYTES_MAX: Final = BINDING_BYTES_MAX + KEY_ENVELOPE_BYTES_MAX + 64
#: Messages of `mesh_reconcile` are one byte string behind a tag, with at most 7 bytes around it.
RECONCILE_BODY_BYTES_MAX: Final = mesh_reconcile.PACKED_BYTES_MAX + 7

ENVELOPE_ID_BYTES: Final = 32
#: Leaves 400 bytes for the whole frame, which is what a request in one packet carries.
PREVIEW_BATCH_BYTES_MAX: Final = 356
#: Capability bit of a Hello: "I understand tag 21".
CAPABILITY_PREVIEWS: Final = 1 << 2
#: Capability bit of a Hello: "I take none of your records; offer me none".
CAPABILITY_TAKES_NOTHING: Final = 1 << 3
#: Capability bit of a Hello: "I read mixed records", `wire.transcode.mixed`.
CAPABILITY_MIXED: Final = 1 << 4

CAPABILITIES_MAX: Final = 2**16 - 1
DAY_MAX: Final = 2**16 - 1
COUNT_MAX: Final = 2**32 - 1
WAIT_S_MAX: Final = 2**16 - 1

_REASON: Final = re.compile(r"[a-z0-9_]{1,32}")


def _check(ok: bool, text: str) -> None:  # noqa: FBT001 (an assertion's condition, not a flag)
    if not ok:
        raise LocalProtocolError(text)


def _check_int(value: int, most: int, name: str) -> None:
    _check(type(value) is int and 0 <= value <= most, f"{name} is no integer in 0 .. {most}")


def _check_short_hash(value: bytes, name: str) -> None:
    _check(
        isinstance(value, bytes) and len(value) == SHORT_HASH_BYTES,
        f"{name} is not {SHORT_HASH_BYTES} bytes",
    )


def _check_wire_order(kinds: tuple[EnvelopeKind, ...]) -> None:
    numbers = [KINDS[kind].number for kind in kinds]
    _check(
        all(one < next_ for one, next_ in pairwise(numbers)),
        "kinds are not in wire order, each once",
    )


@dataclass(frozen=True, slots=True)
class Hello:
    """First message on every link, from both ends.

    Attributes:
        wire_versions: version bytes this node speaks, ascending, 1 to 8 of them.
        capabilities: 16 bits; unknown ones are kept and ignored.
        kinds: kinds this node serves, in wire order.
        scope_hash: which part of the federation the node wants, 8 bytes.
        nonce: 8 random bytes of this link; salts the digests of both ends.
        day: days since the Unix epoch by this node's clock, 0 .. 65535.
        view_digest: of all that the node would offer, 8 bytes; zeros when not computed.
        binding_hash: of its binding, 8 bytes, so that a known one need not be sent.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    wire_versions: tuple[int, ...]
    capabilities: int
    kinds: tuple[EnvelopeKind, ...]
    scope_hash: bytes
    nonce: bytes
    day: int
    view_digest: bytes
    binding_hash: bytes

    def __post_init__(self) -> None:
        _check(1 <= len(self.wire_versions) <= WIRE_VERSIONS_MAX, "not 1 to 8 wire versions")
        for version in self.wire_versions:
            _check_int(version, 0xFF, "a wire version")
        _check(
            all(one < next_ for one, next_ in pairwise(self.wire_versions)),
            "wire versions are not ascending",
        )
        _check_int(self.capabilities, CAPABILITIES_MAX, "capabilities")
        _check_wire_order(self.kinds)
        _check_int(self.day, DAY_MAX, "day")
        for name in ("scope_hash", "nonce", "view_digest", "binding_hash"):
            _check_short_hash(getattr(self, name), name)


@dataclass(frozen=True, slots=True)
class BindingWanted:
    """ "I don't know your binding: send it." """


@dataclass(frozen=True, slots=True)
class BindingOffer:
    """A node's signed binding, and its key record for those who meet it first.

    Attributes:
        binding: as `records.binding` encodes it, at most 4 KiB; not read here.
        key_envelope: envelope of kind `key`, at most 16 KiB; empty when not offered.

    Raises:
        LocalProtocolError: a field is too long; DecodeError when it came from a peer.
    """

    binding: bytes
    key_envelope: bytes

    def __post_init__(self) -> None:
        for name, most in (
            ("binding", BINDING_BYTES_MAX),
            ("key_envelope", KEY_ENVELOPE_BYTES_MAX),
        ):
            value = getattr(self, name)
            _check(isinstance(value, bytes) and len(value) <= most, f"{name} exceeds {most} bytes")


@dataclass(frozen=True, slots=True)
class ScopeWanted:
    """ "I don't know the scope your hello names: spell it." """


@dataclass(frozen=True, slots=True)
class ScopeOffer:
    """What a scope of communities says: their ids, joined by zero bytes. Not read here.

    Raises:
        LocalProtocolError: it is too long; DecodeError when it came from a peer.
    """

    communities: bytes

    def __post_init__(self) -> None:
        size = len(self.communities) if isinstance(self.communities, bytes) else -1
        _check(0 < size <= SCOPE_BYTES_MAX, f"a scope has 1 to {SCOPE_BYTES_MAX} bytes")


@dataclass(frozen=True, slots=True)
class KindDigest:
    """What one node's view of one kind hashes to, salted with both nonces.

    Attributes:
        count: envelopes in the view, 0 .. 2**32 - 1.
        digest: 8 bytes.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    kind: EnvelopeKind
    count: int
    digest: bytes

    def __post_init__(self) -> None:
        _check_int(self.count, COUNT_MAX, "count")
        _check_short_hash(self.digest, "digest")


@dataclass(frozen=True, slots=True)
class Digests:
    """A comparison of views, kinds in wire order; `reply` marks the answer to the peer's own.

    Raises:
        LocalProtocolError: the kinds are out of order; DecodeError when it came from a peer.
    """

    entries: tuple[KindDigest, ...]
    reply: bool

    def __post_init__(self) -> None:
        _check_wire_order(tuple(entry.kind for entry in self.entries))
        _check(type(self.reply) is bool, "reply is no boolean")


@dataclass(frozen=True, slots=True)
class Refusal:
    """ "I will not go on." `reason` is a stable name: 1 to 32 of a-z, 0-9 and underscore.

    Raises:
        LocalProtocolError: the reason is no such name; DecodeError when it came from a peer.
    """

    reason: str

    def __post_init__(self) -> None:
        _check(
            isinstance(self.reason, str) and _REASON.fullmatch(self.reason) is not None,
            "reason is not 1 to 32 of a-z, 0-9 and underscore",
        )


@dataclass(frozen=True, slots=True)
class NoAir:
    """ "My airtime is used up: leave me alone for `wait_s` seconds, 1 .. 65535." The link goes.

    Raises:
        LocalProtocolError: the time is out of range; DecodeError when it came from a peer.
    """

    wait_s: int

    def __post_init__(self) -> None:
        _check_int(self.wait_s, WAIT_S_MAX, "wait_s")
        _check(self.wait_s > 0, "wait_s is 0")


@dataclass(frozen=True, slots=True)
class Preview:
    """The first half of a removal, ahead of the record: what it is to be called, and a batch.

    Attributes:
        envelope_id: of the record that is to follow, 32 bytes.
        batch: as `transcode.encode_batch` writes it, of that one removal without its post-quantum
            halves, so short that the frame fits one packet; not read here.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    envelope_id: bytes
    batch: bytes

    def __post_init__(self) -> None:
        _check(
            isinstance(self.envelope_id, bytes) and len(self.envelope_id) == ENVELOPE_ID_BYTES,
            f"an envelope id has {ENVELOPE_ID_BYTES} bytes",
        )
        size = len(self.batch) if isinstance(self.batch, bytes) else -1
        _check(0 < size <= PREVIEW_BATCH_BYTES_MAX, "a preview's batch is empty or too long")


MeshMessage: TypeAlias = (
    Hello
    | BindingWanted
    | BindingOffer
    | Digests
    | Refusal
    | NoAir
    | ScopeWanted
    | ScopeOffer
    | Preview
    | ReconcileMessage
    | Records
    | Taken
)


@dataclass(frozen=True, slots=True)
class _Field:
    """One array element. `dump` and `load` are identity where msgpack's own types do."""

    name: str
    dump: Callable[[Any], Any] = lambda value: value
    load: Callable[[Any], Any] = lambda value: value


_BY_NUMBER: Final = {row.number: kind for kind, row in KINDS.items()}
_ALL_KINDS_BITS: Final = sum(1 << (number - 1) for number in _BY_NUMBER)


def _array(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise ValueError(f"expected an array, got {type(value).__name__}")
    return value


def _kind(number: Any) -> EnvelopeKind:
    if type(number) is not int or number not in _BY_NUMBER:
        raise ValueError("unknown kind number")
    return _BY_NUMBER[number]


def _dump_kinds(kinds: tuple[EnvelopeKind, ...]) -> int:
    return sum(1 << (KINDS[kind].number - 1) for kind in kinds)


def _load_kinds(bits: Any) -> tuple[EnvelopeKind, ...]:
    if type(bits) is not int or not 0 <= bits <= _ALL_KINDS_BITS:
        raise ValueError("kinds are no bitmap of known kinds")
    return tuple(kind for number, kind in _BY_NUMBER.items() if bits >> (number - 1) & 1)


def _dump_entries(entries: tuple[KindDigest, ...]) -> list[list[Any]]:
    return [[KINDS[entry.kind].number, entry.count, entry.digest] for entry in entries]


def _load_entries(value: Any) -> tuple[KindDigest, ...]:
    return tuple(_load_entry(_array(item)) for item in _array(value))


def _load_entry(item: tuple[Any, ...]) -> KindDigest:
    if len(item) != 3:
        raise ValueError(f"{len(item)} elements in a digest instead of 3")
    return KindDigest(_kind(item[0]), item[1], item[2])


#: Tag -> (message class, its fields in constructor order). Tags are only ever added.
_TABLE: Final[dict[int, tuple[type[Any], tuple[_Field, ...]]]] = {
    1: (
        Hello,
        (
            _Field("wire_versions", load=_array),
            _Field("capabilities"),
            _Field("kinds", _dump_kinds, _load_kinds),
            _Field("scope_hash"),
            _Field("nonce"),
            _Field("day"),
            _Field("view_digest"),
            _Field("binding_hash"),
        ),
    ),
    2: (BindingWanted, ()),
    3: (BindingOffer, (_Field("binding"), _Field("key_envelope"))),
    4: (Digests, (_Field("entries", _dump_entries, _load_entries), _Field("reply"))),
    5: (Refusal, (_Field("reason"),)),
    18: (NoAir, (_Field("wait_s"),)),
    19: (ScopeWanted, ()),
    20: (ScopeOffer, (_Field("communities"),)),
    21: (Preview, (_Field("envelope_id"), _Field("batch"))),
}
_TAG_OF: Final = {cls: tag for tag, (cls, _) in _TABLE.items()}
#: The second byte of `[tag, bin]`: tags below 128 are their own msgpack.
_RECONCILE_TAGS: Final = frozenset(bytes((tag,)) for tag in mesh_reconcile.TAGS)
_RECORDS_HEAD: Final = bytes((0x92, mesh_records.TAG))
_TAKEN_HEAD: Final = bytes((0x92, mesh_records.TAKEN_TAG))


def encode(message: MeshMessage) -> bytes:
    """Serialize to msgpack, smallest forms throughout. Total."""
    if isinstance(message, Records):
        return mesh_records.encode(message)
    if isinstance(message, Taken):
        return mesh_records.encode_taken(message)
    if isinstance(message, ReconcileMessage):
        return _packb(list(mesh_reconcile.pack(message)))
    tag = _TAG_OF[type(message)]
    return _packb([tag, *(field.dump(getattr(message, field.name)) for field in _TABLE[tag][1])])


def _packb(values: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(values, use_bin_type=True)
    return packed


def decode(body: bytes) -> MeshMessage:
    """Parse untrusted bytes.

    Raises:
        DecodeError: too long, no msgpack, trailing bytes, unknown tag, wrong shape or type, value
            out of range, or not the one spelling `encode` writes. No other exception escapes.
    """
    if body.startswith(_RECORDS_HEAD):
        return mesh_records.decode(body)
    if body.startswith(_TAKEN_HEAD):
        return mesh_records.decode_taken(body)
    reconciles = body[:1] == b"\x92" and body[1:2] in _RECONCILE_TAGS
    most = RECONCILE_BODY_BYTES_MAX if reconciles else BODY_BYTES_MAX
    if len(body) > most:
        raise DecodeError(f"body of {len(body)} bytes exceeds {most}")
    try:
        message = _load_reconcile(_unpack(body)) if reconciles else _load_message(_unpack(body))
    except LocalProtocolError as exc:
        raise DecodeError(f"value out of range: {exc}") from exc
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise DecodeError(f"malformed message: {exc}") from exc
    if encode(message) != body:
        raise DecodeError("not the one spelling of this message")
    return message


def _unpack(body: bytes) -> Any:
    return msgpack.unpackb(
        body,
        use_list=False,
        strict_map_key=True,
        max_str_len=REASON_CHARS_MAX,
        max_bin_len=max(KEY_ENVELOPE_BYTES_MAX, mesh_reconcile.PACKED_BYTES_MAX),
        max_array_len=len(KINDS),  # longer than any message or list of versions
        max_map_len=0,
        max_ext_len=0,
    )


def _load_reconcile(value: Any) -> MeshMessage:
    tag, packed = _array(value)
    if type(packed) is not bytes:
        raise ValueError(f"expected bytes, got {type(packed).__name__}")
    return mesh_reconcile.unpack(tag, packed)


def _load_message(value: Any) -> MeshMessage:
    tag, *values = _array(value) or (None,)
    if type(tag) is not int or tag not in _TABLE:
        raise ValueError("unknown tag")
    cls, fields = _TABLE[tag]
    if len(values) != len(fields):
        raise ValueError(f"{len(values)} fields in {cls.__name__} instead of {len(fields)}")
    message: MeshMessage = cls(
        *(field.load(item) for field, item in zip(fields, values, strict=True))
    )
    return message
