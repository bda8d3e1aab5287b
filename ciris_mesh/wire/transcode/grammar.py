"""The operations a coded record is made of, and why one can be refused.

Numbers are wire format: they never change within one table version (`shapes.TABLE_VERSION`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias

from ciris_mesh.records.jsontext import JsonValue


class Op(IntEnum):
    """One byte of the operation stream, or what a slot does when it is as predicted.

    The first four act on an object. Up to `PLAIN_LAST` an operation codes a value and may be
    written anywhere; the rest exist only as a slot's prediction and are never written.
    """

    REST = 0  # every slot not yet said is as predicted; the object ends
    PREDICTED = 1  # the next slot is as predicted
    ABSENT = 2  # the next slot is not there
    OTHER = 3  # a member no slot knows: text name, then its value
    JUMP = 4  # num slot out of order, then PREDICTED or its value

    NULL = 5
    FALSE = 6
    TRUE = 7
    TEXT = 8  # text
    NUMBER = 9  # text: the token
    DECIMAL = 10  # num 2 x fraction digits + minus, raw varint of all digits
    UUID = 11  # raw 16
    TIME = 12  # num form, num offset for forms with one; raw zigzag of units since the last time
    KEY = 13  # num 0: text name, raw 10; num 1: text; num n: the (n-2)th such id of this batch
    HEX = 14  # num digits, raw half as many bytes
    TAILED = 15  # text prefix, num digits, raw half as many bytes
    BASE64 = 16  # num bytes, raw
    SIGNATURE = 17  # ML-DSA-65: raw 3248, 6 counters, then as many hints as the last one says
    AGAIN = 18  # num n: the nth UUID, HEX, TAILED or BASE64 text of this batch
    BYTES = 19  # num count, raw: an array of integers 0..255
    LIST = 20  # num count, then each value
    OBJECT = 21  # members as OTHER, then REST

    CONST = 32  # this text, number or boolean
    EMPTY_LIST = 33
    COPY = 34  # the text of another column
    MIRROR = 35  # what a column looks like in a signed envelope; absent with it
    OWN_ID = 36  # text name: the key id made of it and the public keys of this record
    CONTENT_HASH = 37  # over the named signed envelope, JCS
    ROW_HASH = 38
    OWN_GROUP = 39  # text name: the group id made of it and all else in this record


#: The last operation that may be written for a value.
PLAIN_LAST: Final = Op.OBJECT

#: The first operation of a record is its kind's number, plus one of these.
SHAPED_RECORD: Final = 0x00
DEFLATED_RECORD: Final = 0x20  # num bytes, which lie in the text stream
RAW_RECORD: Final = 0x40  # num bytes, which lie in the raw stream
MIXED_RECORD: Final = 0x60  # num runs, num bytes of each; the rest is `mixed`
RECORD_FORMS: Final = 0x60


class BatchReason(StrEnum):
    """Why a batch is refused. Stable: counted and shown."""

    UNKNOWN_TABLE = "unknown_table"
    TOO_LARGE = "too_large"
    NOT_DEFLATED = "not_deflated"
    INFLATES_TOO_FAR = "inflates_too_far"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    TOO_MANY_RECORDS = "too_many_records"
    TOO_MANY_OPERATIONS = "too_many_operations"
    TOO_MANY_RUNS = "too_many_runs"
    RECORD_TOO_LARGE = "record_too_large"
    TOO_DEEP = "too_deep"
    UNKNOWN_OPERATION = "unknown_operation"
    UNKNOWN_KIND = "unknown_kind"
    BAD_REFERENCE = "bad_reference"
    BAD_VALUE = "bad_value"
    DUPLICATE_MEMBER = "duplicate_member"
    NOT_PREDICTABLE = "not_predictable"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Argument of `Op.MIRROR`: the column, and whether a signed envelope spells it otherwise."""

    column: str
    is_time: bool = False
    is_float: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """One expected member. `arg` is what its operation needs to know; see `shapes`."""

    name: str
    op: Op
    arg: SlotArg = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The members an object is expected to have, in order."""

    slots: tuple[Slot, ...]
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = {slot.name: place for place, slot in enumerate(self.slots)}
        object.__setattr__(self, "index", places)


#: BASE64: bytes. HEX: digits. TIME: form. COPY and CONTENT_HASH: column. CONST: the value.
#: OBJECT: its shape. LIST: the shape of each entry. KEY: true, any text will do.
SlotArg: TypeAlias = "int | str | JsonValue | Shape | Mirror"

#: What an object with no expected members looks like.
NO_SHAPE: Final = Shape(())
