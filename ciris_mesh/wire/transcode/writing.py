"""One wrapper to operations.

Two tables do the work: `_FITS` says whether a slot's operation can code a value, giving what it
would write, and `_WRITES` writes that. A value that doesn't fit its slot is written with the first
plain operation it fits. Nothing here can be wrong silently: `batch` decodes what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ciris_mesh.records.canonical import compact
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.transcode import atoms, derive
from ciris_mesh.wire.transcode.grammar import NO_SHAPE, Mirror, Op, Shape, Slot, SlotArg
from ciris_mesh.wire.transcode.known import Known
from ciris_mesh.wire.transcode.shapes import KIND_NUMBERS, WRAPPERS
from ciris_mesh.wire.transcode.streams import Sink, varint, zigzag

#: Shorter arrays of small integers are as short as a list.
_BYTES_MIN: Final = 2
_OCTETS: Final = {str(octet): octet for octet in range(256)}


class CannotCode(Exception):
    """This wrapper is not one for operations; it is sent as it is."""


class _Absent:
    """In place of a value: the member is not there."""


_ABSENT: Final = _Absent()
_Value: TypeAlias = "JsonValue | _Absent"

#: What an operation would write; its writer knows what is in it. None: the value doesn't fit.
_Payload: TypeAlias = Any
_NOTHING: Final = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """One member, or one slot without a member.

    Attributes:
        lead: operations before the value: a jump, or none.
        slot: None for a member no slot knows.
        payload: what the slot's operation writes; None when the value doesn't fit it.
    """

    lead: tuple[Op, int] | None
    slot: Slot | None
    name: str
    value: _Value
    payload: _Payload


class Writer:
    """Writes one record; what it remembers for later ones goes to `known`.

    Args:
        wrapper: as parsed, with a member order and number tokens that `compact` reproduces.
    """

    def __init__(
        self, sink: Sink, known: Known, kind: EnvelopeKind, wrapper: dict[str, JsonValue]
    ) -> None:
        self._sink = sink
        self._known = known
        self._kind = kind
        self._wrapper = wrapper
        record = wrapper.get(WRAPPERS[kind].slots[0].name)
        self._record: dict[str, JsonValue] = record if isinstance(record, dict) else {}
        self._own_key: str | None = None

    def write(self) -> None:
        """Write the record.

        Raises:
            CannotCode: a number is spelled longer than any operation takes.
        """
        self._sink.ops.append(KIND_NUMBERS[self._kind])
        self._object(self._wrapper, WRAPPERS[self._kind])
        if self._own_key is not None:
            self._known.keys.add(self._own_key)

    # --- objects ---

    def _object(self, members: dict[str, JsonValue], shape: Shape) -> None:
        steps = self._aligned(members, shape)
        said = len(steps)
        while said and steps[said - 1].lead is None and steps[said - 1].payload is not None:
            said -= 1
        for step in steps[:said]:
            self._step(step)
        self._sink.ops.append(Op.REST)
        for step in steps[said:]:
            self._predicted(step)

    def _aligned(self, members: dict[str, JsonValue], shape: Shape) -> list[_Step]:
        """Members in their order, and between them the slots that have none."""
        steps: list[_Step] = []
        used: set[int] = set()
        cursor = 0
        for name, value in members.items():
            place = shape.index.get(name)
            if place is None:
                steps.append(_Step(None, None, name, value, None))
                continue
            passed = [at for at in range(cursor, place) if at not in used]
            used.add(place)
            if any(shape.slots[at].name in members for at in passed):
                steps.append(self._for_slot(shape.slots[place], value, (Op.JUMP, place)))
                continue
            steps += [self._for_slot(shape.slots[at], _ABSENT) for at in passed]
            steps.append(self._for_slot(shape.slots[place], value))
            cursor = place + 1
        rest = [at for at in range(cursor, len(shape.slots)) if at not in used]
        return steps + [self._for_slot(shape.slots[at], _ABSENT) for at in rest]

    def _for_slot(self, slot: Slot, value: _Value, lead: tuple[Op, int] | None = None) -> _Step:
        payload = _FITS[slot.op](self, value, slot.arg)
        return _Step(lead, slot, slot.name, value, payload)

    def _step(self, step: _Step) -> None:
        if step.lead is not None:
            self._sink.ops.append(step.lead[0])
            self._sink.num(step.lead[1])
        if step.slot is None:
            self._sink.ops.append(Op.OTHER)
            self._sink.words(step.name)
        elif step.payload is not None:
            self._sink.ops.append(Op.PREDICTED)
            self._predicted(step)
            return
        if isinstance(step.value, _Absent):
            self._sink.ops.append(Op.ABSENT)
        else:
            self._value(step.value)

    def _predicted(self, step: _Step) -> None:
        if step.slot is not None and step.slot.op in _WRITES:
            _WRITES[step.slot.op](self, step.payload, step.slot.arg)

    # --- values that no slot predicts ---

    def _value(self, value: JsonValue) -> None:
        for op in self._choices(value):
            payload = _FITS[op](self, value, None)
            if payload is not None:
                self._sink.ops.append(op)
                if op in _WRITES:
                    _WRITES[op](self, payload, None)
                return
        raise CannotCode

    def _choices(self, value: JsonValue) -> tuple[Op, ...]:
        match value:
            case str():
                if self._known.keys.place(value) is not None:
                    return (Op.KEY,)
                return _TEXT_CHOICES
            case JsonNumber():
                return (Op.DECIMAL, Op.NUMBER)
            case dict():
                return (Op.OBJECT,)
            case list():
                return (Op.BYTES, Op.LIST)
            case None:
                return (Op.NULL,)
            case _:
                return (Op.TRUE if value else Op.FALSE,)

    # --- does it fit? ---

    def _is_new(self, text: str) -> bool:
        return self._known.blobs.place(text) is None

    def _fits_uuid(self, value: _Value, _arg: SlotArg) -> _Payload:
        raw = atoms.uuid_parts(value) if isinstance(value, str) and self._is_new(value) else None
        return None if raw is None else (value, raw)

    def _fits_time(self, value: _Value, form: SlotArg) -> _Payload:
        parts = atoms.time_parts(value) if isinstance(value, str) else None
        return None if parts is None or form not in (None, parts[0]) else parts

    def _fits_key(self, value: _Value, is_any: SlotArg) -> _Payload:
        if not isinstance(value, str):
            return None
        is_id = self._known.keys.place(value) is not None or atoms.key_parts(value) is not None
        return value if is_any or is_id else None

    def _fits_hex(self, value: _Value, digits: SlotArg) -> _Payload:
        parts = atoms.hex_parts(value) if isinstance(value, str) and self._is_new(value) else None
        return None if parts is None or digits not in (None, parts[0]) else (value, *parts)

    def _fits_tailed(self, value: _Value, _arg: SlotArg) -> _Payload:
        parts = (
            atoms.tailed_parts(value) if isinstance(value, str) and self._is_new(value) else None
        )
        return None if parts is None else (value, *parts)

    def _fits_base64(self, value: _Value, size: SlotArg) -> _Payload:
        raw = atoms.base64_parts(value) if isinstance(value, str) and self._is_new(value) else None
        return None if raw is None or size not in (None, len(raw)) else (value, raw)

    def _fits_signature(self, value: _Value, _arg: SlotArg) -> _Payload:
        return atoms.signature_parts(value) if isinstance(value, str) else None

    def _fits_again(self, value: _Value, _arg: SlotArg) -> _Payload:
        return self._known.blobs.place(value) if isinstance(value, str) else None

    def _fits_decimal(self, value: _Value, _arg: SlotArg) -> _Payload:
        return atoms.decimal_parts(value.token) if isinstance(value, JsonNumber) else None

    def _fits_number(self, value: _Value, _arg: SlotArg) -> _Payload:
        is_number = isinstance(value, JsonNumber) and atoms.is_number(value.token)
        return value if is_number else None

    def _fits_bytes(self, value: _Value, _arg: SlotArg) -> _Payload:
        if not isinstance(value, list) or len(value) < _BYTES_MIN:
            return None
        octets = [_OCTETS.get(item.token) for item in value if isinstance(item, JsonNumber)]
        known = [octet for octet in octets if octet is not None]
        return bytes(known) if len(known) == len(value) else None

    def _fits_list(self, value: _Value, arg: SlotArg) -> _Payload:
        if not isinstance(value, list):
            return None
        is_plain = arg is None
        return value if is_plain or all(isinstance(item, dict) for item in value) else None

    def _fits_object(self, value: _Value, arg: SlotArg) -> _Payload:
        if not isinstance(value, dict):
            return None
        return value if not isinstance(arg, Shape) or self._is_worth(value, arg) else None

    def _is_worth(self, members: dict[str, JsonValue], shape: Shape) -> bool:
        """A signed envelope that mirrors little is shorter without its shape."""
        mirrors = [slot for slot in shape.slots if isinstance(slot.arg, Mirror)]
        expected = sum(slot.name in self._record for slot in mirrors)
        return 2 * sum(slot.name in members for slot in mirrors) >= expected

    def _fits_const(self, value: _Value, const: SlotArg) -> _Payload:
        return _NOTHING if type(value) is type(const) and value == const else None

    def _fits_copy(self, value: _Value, column: SlotArg) -> _Payload:
        text = derive.copied(self._record, str(column))
        return _NOTHING if text is not None and value == text else None

    def _fits_mirror(self, value: _Value, arg: SlotArg) -> _Payload:
        if not isinstance(arg, Mirror) or arg.column not in self._record:
            return _NOTHING if isinstance(value, _Absent) else None
        expected = derive.mirrored(self._record, arg)
        if isinstance(value, dict | list) and isinstance(expected, dict | list):
            return _NOTHING if compact(value) == compact(expected) else None  # members in order
        return _NOTHING if type(value) is type(expected) and value == expected else None

    def _fits_own_id(self, value: _Value, _arg: SlotArg) -> _Payload:
        if not isinstance(value, str) or self._known.keys.place(value) is not None:
            return None
        return derive.own_name(self._record, value)

    def _fits_own_group(self, value: _Value, _arg: SlotArg) -> _Payload:
        if not isinstance(value, str) or self._known.keys.place(value) is not None:
            return None
        return derive.own_label(self._kind, self._record, value)

    def _fits_content_hash(self, value: _Value, envelope: SlotArg) -> _Payload:
        expected = derive.content_hash(self._record, str(envelope))
        return _NOTHING if expected is not None and value == expected else None

    def _fits_row_hash(self, value: _Value, _arg: SlotArg) -> _Payload:
        is_hash = isinstance(value, str) and len(value) == 64
        return _NOTHING if is_hash and value == derive.row_hash(self._kind, self._record) else None

    # --- writing what fits ---

    def _write_text(self, text: str, _arg: SlotArg) -> None:
        self._sink.words(text)

    def _write_number(self, number: JsonNumber, _arg: SlotArg) -> None:
        self._sink.words(number.token)

    def _write_decimal(self, parts: tuple[int, int], _arg: SlotArg) -> None:
        self._sink.num(parts[0])
        self._sink.raw += varint(parts[1])

    def _write_uuid(self, payload: tuple[str, bytes], _arg: SlotArg) -> None:
        self._sink.raw += payload[1]
        self._known.blobs.add(payload[0])

    def _write_time(self, parts: atoms.TimeParts, slot_form: SlotArg) -> None:
        form, units, offset = parts
        if slot_form is None:
            self._sink.num(form)
            if atoms.time_has_offset(form):
                self._sink.num(offset)
        unit_ns = atoms.time_unit_ns(form)
        self._sink.raw += varint(zigzag(units - self._known.time_ns // unit_ns))
        self._known.time_ns = units * unit_ns

    def _write_key(self, text: str, _arg: SlotArg) -> None:
        place = self._known.keys.place(text)
        if place is not None:
            self._sink.num(place + 2)
            return
        self._known.keys.add(text)
        parts = atoms.key_parts(text)
        if parts is None:
            self._sink.num(1)
            self._sink.words(text)
        else:
            self._sink.num(0)
            self._sink.words(parts[0])
            self._sink.raw += parts[1]

    def _write_hex(self, payload: tuple[str, int, bytes], digits: SlotArg) -> None:
        if digits is None:
            self._sink.num(payload[1])
        self._sink.raw += payload[2]
        self._known.blobs.add(payload[0])

    def _write_tailed(self, payload: tuple[str, str, int, bytes], _arg: SlotArg) -> None:
        self._sink.words(payload[1])
        self._sink.num(payload[2])
        self._sink.raw += payload[3]
        self._known.blobs.add(payload[0])

    def _write_base64(self, payload: tuple[str, bytes], size: SlotArg) -> None:
        if size is None:
            self._sink.num(len(payload[1]))
        self._sink.raw += payload[1]
        self._known.blobs.add(payload[0])

    def _write_signature(self, raw: bytes, _arg: SlotArg) -> None:
        self._sink.raw += raw

    def _write_again(self, place: int, _arg: SlotArg) -> None:
        self._sink.num(place)

    def _write_bytes(self, octets: bytes, _arg: SlotArg) -> None:
        self._sink.num(len(octets))
        self._sink.raw += octets

    def _write_list(self, items: list[JsonValue], arg: SlotArg) -> None:
        self._sink.num(len(items))
        for item in items:
            if isinstance(arg, Shape) and isinstance(item, dict):
                self._object(item, arg)
            else:
                self._value(item)

    def _write_object(self, members: dict[str, JsonValue], arg: SlotArg) -> None:
        self._object(members, arg if isinstance(arg, Shape) else NO_SHAPE)

    def _write_own_id(self, name: str, _arg: SlotArg) -> None:
        self._sink.words(name)
        self._own_key = derive.own_key_id(self._record, name)

    def _write_own_group(self, label: str, _arg: SlotArg) -> None:
        self._sink.words(label)
        self._own_key = derive.own_group_id(self._kind, self._record, label)


_TEXT_CHOICES: Final = (
    Op.AGAIN,
    Op.UUID,
    Op.TIME,
    Op.KEY,
    Op.HEX,
    Op.SIGNATURE,
    Op.BASE64,
    Op.TAILED,
    Op.TEXT,
)

_Fits: TypeAlias = Callable[[Writer, _Value, SlotArg], _Payload]
_Writes: TypeAlias = Callable[[Writer, Any, SlotArg], None]


def _always(_writer: Writer, _value: _Value, _arg: SlotArg) -> _Payload:
    return _NOTHING


def _if_absent(_writer: Writer, value: _Value, _arg: SlotArg) -> _Payload:
    return _NOTHING if isinstance(value, _Absent) else None


def _if_text(_writer: Writer, value: _Value, _arg: SlotArg) -> _Payload:
    return value if isinstance(value, str) else None


def _if_empty(_writer: Writer, value: _Value, _arg: SlotArg) -> _Payload:
    return _NOTHING if isinstance(value, list) and not value else None


_FITS: Final[dict[Op, _Fits]] = {
    Op.ABSENT: _if_absent,
    Op.NULL: _always,
    Op.FALSE: _always,
    Op.TRUE: _always,
    Op.TEXT: _if_text,
    Op.NUMBER: Writer._fits_number,
    Op.DECIMAL: Writer._fits_decimal,
    Op.UUID: Writer._fits_uuid,
    Op.TIME: Writer._fits_time,
    Op.KEY: Writer._fits_key,
    Op.HEX: Writer._fits_hex,
    Op.TAILED: Writer._fits_tailed,
    Op.BASE64: Writer._fits_base64,
    Op.SIGNATURE: Writer._fits_signature,
    Op.AGAIN: Writer._fits_again,
    Op.BYTES: Writer._fits_bytes,
    Op.LIST: Writer._fits_list,
    Op.OBJECT: Writer._fits_object,
    Op.CONST: Writer._fits_const,
    Op.EMPTY_LIST: _if_empty,
    Op.COPY: Writer._fits_copy,
    Op.MIRROR: Writer._fits_mirror,
    Op.OWN_ID: Writer._fits_own_id,
    Op.OWN_GROUP: Writer._fits_own_group,
    Op.CONTENT_HASH: Writer._fits_content_hash,
    Op.ROW_HASH: Writer._fits_row_hash,
}

#: Operations that are not here write nothing behind their byte.
_WRITES: Final[dict[Op, _Writes]] = {
    Op.TEXT: Writer._write_text,
    Op.NUMBER: Writer._write_number,
    Op.DECIMAL: Writer._write_decimal,
    Op.UUID: Writer._write_uuid,
    Op.TIME: Writer._write_time,
    Op.KEY: Writer._write_key,
    Op.HEX: Writer._write_hex,
    Op.TAILED: Writer._write_tailed,
    Op.BASE64: Writer._write_base64,
    Op.SIGNATURE: Writer._write_signature,
    Op.AGAIN: Writer._write_again,
    Op.BYTES: Writer._write_bytes,
    Op.LIST: Writer._write_list,
    Op.OBJECT: Writer._write_object,
    Op.OWN_ID: Writer._write_own_id,
    Op.OWN_GROUP: Writer._write_own_group,
}
