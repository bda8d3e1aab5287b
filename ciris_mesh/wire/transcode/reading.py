"""Operations back to one wrapper.

A record is read in one pass; what follows from the rest of it is left open and filled in
afterwards, in the order in which `derive` may look at things. Every read pays from the record's
allowance before it makes anything, so no input costs more than it may yield.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ciris_mesh.errors import BatchRefused
from ciris_mesh.records.envelope import encode_base64
from ciris_mesh.records.jsontext import DEPTH_MAX, JsonNumber, JsonValue
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.transcode import atoms, derive
from ciris_mesh.wire.transcode.grammar import (
    NO_SHAPE,
    PLAIN_LAST,
    BatchReason,
    Mirror,
    Op,
    Shape,
    Slot,
    SlotArg,
)
from ciris_mesh.wire.transcode.known import Known
from ciris_mesh.wire.transcode.shapes import WRAPPERS
from ciris_mesh.wire.transcode.streams import Source, unzigzag

_Members: TypeAlias = "dict[str, JsonValue]"

#: What a member's name measures beside itself: two quotation marks and a colon.
_MEMBER_CHARS: Final = 3


@dataclass(frozen=True, slots=True)
class _Open:
    """A value to be filled in: where, and what it follows from."""

    members: _Members
    slot: Slot
    name: str = ""


class Reader:
    """Reads one record.

    Raises:
        BatchRefused: the reason names what is wrong.
    """

    def __init__(self, source: Source, known: Known, kind: EnvelopeKind) -> None:
        self._source = source
        self._known = known
        self._kind = kind
        self._open: dict[Op, list[_Open]] = {op: [] for op in _FILLS}
        self._depth = 0

    def read(self) -> _Members:
        """The wrapper."""
        shape = WRAPPERS[self._kind]
        wrapper = self._object(shape)
        record = wrapper.get(shape.slots[0].name)
        for op, fill in _FILLS.items():
            for place in self._open[op]:
                fill(self, place, record if isinstance(record, dict) else {})
        return wrapper

    # --- objects ---

    def _object(self, shape: Shape) -> _Members:
        self._deeper()
        members: _Members = {}
        unsaid = dict.fromkeys(range(len(shape.slots)))
        while (op := self._source.op()) != Op.REST:
            if op == Op.OTHER:
                self._other(members, shape)
                continue
            place = self._jump(unsaid) if op == Op.JUMP else next(iter(unsaid), None)
            if place is None:
                raise BatchRefused(BatchReason.UNKNOWN_OPERATION, f"{op} after the last slot")
            del unsaid[place]
            self._slot(members, shape.slots[place], self._source.op() if op == Op.JUMP else op)
        for place in unsaid:
            self._predicted(members, shape.slots[place])
        self._depth -= 1
        return members

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BatchRefused(BatchReason.TOO_DEEP, f"nested over {DEPTH_MAX} levels")

    def _jump(self, unsaid: dict[int, None]) -> int:
        place = self._source.num()
        if place not in unsaid:
            raise BatchRefused(BatchReason.BAD_REFERENCE, f"no slot {place} is left")
        return place

    def _other(self, members: _Members, shape: Shape) -> None:
        name = self._source.words()
        self._source.spend(_MEMBER_CHARS)
        if name in members or name in shape.index:
            raise BatchRefused(BatchReason.DUPLICATE_MEMBER, name[:40])
        members[name] = self._value(self._source.op())

    def _slot(self, members: _Members, slot: Slot, op: int) -> None:
        if op == Op.PREDICTED:
            self._predicted(members, slot)
        elif op != Op.ABSENT:
            self._source.spend(len(slot.name) + _MEMBER_CHARS)
            members[slot.name] = self._value(op)

    def _predicted(self, members: _Members, slot: Slot) -> None:
        if slot.op is Op.ABSENT:
            return
        if slot.op in _FILLS:
            name = self._source.words() if slot.op in _NAMED else ""
            members[slot.name] = None  # keeps the place
            self._open[slot.op].append(_Open(members, slot, name))
        else:
            self._source.spend(len(slot.name) + _MEMBER_CHARS)
            members[slot.name] = _READS[slot.op](self, slot.arg)

    # --- values ---

    def _value(self, op: int) -> JsonValue:
        self._source.spend(1)
        if op > PLAIN_LAST or op not in _READS:
            raise BatchRefused(BatchReason.UNKNOWN_OPERATION, str(op))
        return _READS[op](self, None)

    def _null(self, _arg: SlotArg) -> JsonValue:
        return None

    def _false(self, _arg: SlotArg) -> JsonValue:
        return False

    def _true(self, _arg: SlotArg) -> JsonValue:
        return True

    def _text(self, _arg: SlotArg) -> JsonValue:
        return self._source.words()

    def _number(self, _arg: SlotArg) -> JsonValue:
        token = self._source.words()
        if not atoms.is_number(token):
            raise BatchRefused(BatchReason.BAD_VALUE, f"{token[:40]} is no number")
        return JsonNumber(token)

    def _decimal(self, _arg: SlotArg) -> JsonValue:
        scale = self._source.num()
        try:
            return JsonNumber(atoms.decimal_text(scale, self._source.raw_varint()))
        except ValueError as error:
            raise BatchRefused(BatchReason.BAD_VALUE, str(error)) from None

    def _uuid(self, _arg: SlotArg) -> JsonValue:
        return self._blob(atoms.uuid_text(self._source.raw(atoms.UUID_BYTES)))

    def _time(self, slot_form: SlotArg) -> JsonValue:
        form = slot_form if isinstance(slot_form, int) else self._source.num()
        if form >= atoms.TIME_FORMS:
            raise BatchRefused(BatchReason.BAD_VALUE, f"no form {form} of a time")
        offset = self._source.num() if atoms.time_has_offset(form) else 0
        unit_ns = atoms.time_unit_ns(form)
        units = self._known.time_ns // unit_ns + unzigzag(self._source.raw_varint())
        try:
            text = atoms.time_text(form, units, offset)
        except ValueError as error:
            raise BatchRefused(BatchReason.BAD_VALUE, str(error)) from None
        self._source.spend(len(text))
        self._known.time_ns = units * unit_ns
        return text

    def _key(self, _arg: SlotArg) -> JsonValue:
        place = self._source.num()
        if place > 1:
            said = self._known.keys.at(place - 2)
            self._source.spend(len(said))
            return said
        text = self._source.words()
        if place == 0:
            text = atoms.key_text(text, self._source.raw(atoms.KEY_DIGEST_BYTES))
        self._known.keys.add(text)
        return text

    def _hex(self, slot_digits: SlotArg) -> JsonValue:
        return self._blob(self._hex_digits(slot_digits))

    def _tailed(self, _arg: SlotArg) -> JsonValue:
        return self._blob(self._source.words() + self._hex_digits(None))

    def _hex_digits(self, slot_digits: SlotArg) -> str:
        digits = slot_digits if isinstance(slot_digits, int) else self._source.num()
        return atoms.hex_text(digits, self._source.raw((digits + 1) // 2))

    def _base64(self, slot_size: SlotArg) -> JsonValue:
        size = slot_size if isinstance(slot_size, int) else self._source.num()
        return self._blob(encode_base64(self._source.raw(size)))

    def _blob(self, text: str) -> str:
        self._known.blobs.add(text)
        return text

    def _signature(self, _arg: SlotArg) -> JsonValue:
        head = self._source.raw(atoms.SIGNATURE_HEAD_BYTES)
        counts = self._source.raw(atoms.SIGNATURE_COUNTS)
        if counts[-1] > atoms.SIGNATURE_HINTS_MAX:
            raise BatchRefused(BatchReason.BAD_VALUE, f"{counts[-1]} hints in a signature")
        return atoms.signature_text(head, counts, self._source.raw(counts[-1]))

    def _again(self, _arg: SlotArg) -> JsonValue:
        said = self._known.blobs.at(self._source.num())
        self._source.spend(len(said))
        return said

    def _bytes(self, _arg: SlotArg) -> JsonValue:
        return [_OCTETS[octet] for octet in self._source.raw(self._source.num())]

    def _list(self, arg: SlotArg) -> JsonValue:
        count = self._source.num()
        if count > self._source.operations_left:  # each entry takes one at least
            raise BatchRefused(BatchReason.TRUNCATED, f"{count} entries")
        self._deeper()
        if isinstance(arg, Shape):
            entries: list[JsonValue] = [self._object(arg) for _ in range(count)]
        else:
            entries = [self._value(self._source.op()) for _ in range(count)]
        self._depth -= 1
        return entries

    def _shaped(self, arg: SlotArg) -> JsonValue:
        return self._object(arg if isinstance(arg, Shape) else NO_SHAPE)

    def _const(self, arg: SlotArg) -> JsonValue:
        return arg if isinstance(arg, str | bool | JsonNumber) else None

    def _empty_list(self, _arg: SlotArg) -> JsonValue:
        return []

    # --- filling in ---

    def _fill(self, place: _Open, value: str | None) -> str:
        if value is None:
            raise BatchRefused(BatchReason.NOT_PREDICTABLE, place.slot.name)
        self._source.spend(len(value) + len(place.slot.name) + _MEMBER_CHARS)
        place.members[place.slot.name] = value
        return value

    def _fill_own_id(self, place: _Open, record: _Members) -> None:
        self._known.keys.add(self._fill(place, derive.own_key_id(record, place.name)))

    def _fill_copy(self, place: _Open, record: _Members) -> None:
        self._fill(place, derive.copied(record, str(place.slot.arg)))

    def _fill_mirror(self, place: _Open, record: _Members) -> None:
        mirror = place.slot.arg
        if not isinstance(mirror, Mirror) or mirror.column not in record:
            del place.members[place.slot.name]
            return
        # Not paid for: each column is mirrored once, so a record at most doubles before it is
        # measured.
        place.members[place.slot.name] = derive.mirrored(record, mirror)

    def _fill_own_group(self, place: _Open, record: _Members) -> None:
        group_id = derive.own_group_id(self._kind, record, place.name)
        self._known.keys.add(self._fill(place, group_id))

    def _fill_content_hash(self, place: _Open, record: _Members) -> None:
        self._fill(place, derive.content_hash(record, str(place.slot.arg)))

    def _fill_row_hash(self, place: _Open, record: _Members) -> None:
        self._fill(place, derive.row_hash(self._kind, record))


_OCTETS: Final = tuple(JsonNumber(str(octet)) for octet in range(256))

_READS: Final[dict[int, Callable[[Reader, SlotArg], JsonValue]]] = {
    Op.NULL: Reader._null,
    Op.FALSE: Reader._false,
    Op.TRUE: Reader._true,
    Op.TEXT: Reader._text,
    Op.NUMBER: Reader._number,
    Op.DECIMAL: Reader._decimal,
    Op.UUID: Reader._uuid,
    Op.TIME: Reader._time,
    Op.KEY: Reader._key,
    Op.HEX: Reader._hex,
    Op.TAILED: Reader._tailed,
    Op.BASE64: Reader._base64,
    Op.SIGNATURE: Reader._signature,
    Op.AGAIN: Reader._again,
    Op.BYTES: Reader._bytes,
    Op.LIST: Reader._list,
    Op.OBJECT: Reader._shaped,
    Op.CONST: Reader._const,
    Op.EMPTY_LIST: Reader._empty_list,
}

#: Of these a part is sent.
_NAMED: Final = (Op.OWN_ID, Op.OWN_GROUP)

#: What is filled in after the record was read, in this order.
_FILLS: Final[dict[Op, Callable[[Reader, _Open, _Members], None]]] = {
    Op.OWN_ID: Reader._fill_own_id,
    Op.COPY: Reader._fill_copy,
    Op.MIRROR: Reader._fill_mirror,
    Op.OWN_GROUP: Reader._fill_own_group,
    Op.CONTENT_HASH: Reader._fill_content_hash,
    Op.ROW_HASH: Reader._fill_row_hash,
}
