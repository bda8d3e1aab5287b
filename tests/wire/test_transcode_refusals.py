"""Hostile batches: each is refused by its name, before it has cost more than it may."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import BatchRefused, DecodeError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.transcode import (
    LIMITS,
    BatchLimits,
    BatchReason,
    decode_batch,
    encode_batch,
    mixed_batch,
)
from ciris_mesh.wire.transcode.grammar import Op
from ciris_mesh.wire.transcode.shapes import KIND_NUMBERS, WRAPPERS
from support.transcode import Item, batch, deflated, hold, inflated, valid_records, varint

R = BatchReason
KEY, ATTESTATION, FAMILY, LOCATION = (
    KIND_NUMBERS[kind]
    for kind in (
        EnvelopeKind.KEY,
        EnvelopeKind.ATTESTATION,
        EnvelopeKind.FAMILY,
        EnvelopeKind.LOCATION_PROOF,
    )
)
DEFLATED, RAW, MIXED = 0x20, 0x40, 0x60
REST, PREDICTED, ABSENT, OTHER, JUMP = 0, 1, 2, 3, 4


#: A wrapper whose first member, the record, is as the next operations say.
def family(*ops: int) -> bytes:
    return bytes([FAMILY, PREDICTED, *ops])


def value(*ops: int) -> bytes:
    """A location proof's wrapper whose record is one value."""
    return bytes([LOCATION, *ops, ABSENT, REST])


def bomb(size: int) -> bytes:
    return b"\x01" + deflated(bytes(size))


def unended(low: bytes) -> bytes:
    """All of it can be inflated, but no block says that it is the last."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    return press.compress(low) + press.flush(zlib.Z_SYNC_FLUSH)


NAMES = b"".join(b"%d\xff" % n for n in range(100))

#: name -> (batch, why it is refused).
REFUSED: dict[str, tuple[bytes, BatchReason]] = {
    "nothing": (b"", R.TRUNCATED),
    "table 0": (b"\0" + batch()[1:], R.UNKNOWN_TABLE),
    "table 2": (batch(version=2), R.UNKNOWN_TABLE),
    "JSON": (b'{"record":{}}', R.UNKNOWN_TABLE),
    "a version alone": (b"\x01", R.TRUNCATED),
    "no deflate": (b"\x01\xff\xff\xff", R.NOT_DEFLATED),
    "a deflate that reaches before its dictionary": (
        b"\x01" + zlib.compress(NAMES * 10, 9)[2:-4], R.TRUNCATED
    ),
    "a deflate without an end": (b"\x01" + unended(b"\0\0"), R.TRUNCATED),
    "an empty low part": (b"\x01" + deflated(b""), R.TRUNCATED),
    "ten megabytes of zeros": (bomb(10_000_000), R.INFLATES_TOO_FAR),
    "one byte too far": (bomb(LIMITS.low_bytes + 1), R.INFLATES_TOO_FAR),
    "more than a batch may measure": (
        b"\x01" + bytes(LIMITS.coded_bytes), R.TOO_LARGE
    ),
    "16,385 operations": (b"\x01" + deflated(varint(16_385) + b"\0" + bytes(16_385)),
                          R.TOO_MANY_OPERATIONS),
    "operations that are not there": (b"\x01" + deflated(b"\x05\0\0"), R.TRUNCATED),
    "numbers that are not there": (b"\x01" + deflated(b"\0\x05\0"), R.TRUNCATED),
    "a length of five bytes": (b"\x01" + deflated(b"\x80\x80\x80\x80\x01\0"), R.BAD_VALUE),
    "a text left over": (batch(text=b"a\xff"), R.TRAILING_BYTES),
    "a number left over": (batch(nums=[1]), R.TRAILING_BYTES),
    "raw bytes left over": (batch(raw=b"a"), R.TRAILING_BYTES),
    "kind 0": (batch([0]), R.UNKNOWN_KIND),
    "kind 14": (batch([14]), R.UNKNOWN_KIND),
    "kind 31, deflated": (batch([DEFLATED + 31]), R.UNKNOWN_KIND),
    "kind 31, mixed": (batch([MIXED + 31], [0], b"\xff"), R.UNKNOWN_KIND),
    "a mixed record without numbers": (batch([MIXED + KEY]), R.TRUNCATED),
    "a mixed record without a text": (batch([MIXED + KEY], [0]), R.TRUNCATED),
    "a mixed record that lacks its last text": (
        batch([MIXED + KEY], [1, 1], b"a\xff", b"r"), R.TRUNCATED
    ),
    "a mixed record that lacks a size": (
        batch([MIXED + KEY], [2, 1], b"\xff\xff", b"r"), R.TRUNCATED
    ),
    "a mixed record whose run ends early": (
        batch([MIXED + KEY], [1, 9], b"\xff\xff", bytes(8)), R.TRUNCATED
    ),
    "65 runs in a record": (
        batch([MIXED + KEY], [65, *[1] * 65], b"\xff" * 66, bytes(65)), R.TOO_MANY_RUNS
    ),
    "100 million runs": (batch([MIXED + KEY], varint(2**27)), R.TOO_MANY_RUNS),
    "a run of 200 megabytes": (
        batch([MIXED + KEY], [1, *varint(2**28 - 1)], b"\xff\xff"), R.RECORD_TOO_LARGE
    ),
    "a run that is too long when spelled": (
        batch([MIXED + KEY], [1, *varint(49_153)], b"\xff\xff", bytes(49_153)), R.RECORD_TOO_LARGE
    ),
    "runs that are too long together": (
        batch([MIXED + KEY], [2, *varint(24_576), *varint(24_577)], b"\xff" * 3, bytes(49_153)),
        R.RECORD_TOO_LARGE,
    ),
    "text that is too long beside a run": (
        batch([MIXED + KEY], [1, 1], b"a" * 65_533 + b"\xff\xff", b"r"), R.RECORD_TOO_LARGE
    ),
    "text that is too long behind a run": (
        batch([MIXED + KEY], [1, 1], b"\xff" + b"a" * 65_533 + b"\xff", b"r"), R.RECORD_TOO_LARGE
    ),
    "a text nothing asks for behind a mixed record": (
        batch([MIXED + KEY], [0], b"a\xff\xff"), R.TRAILING_BYTES
    ),
    "257 mixed records": (batch([MIXED + KEY] * 257, [0] * 257, b"\xff" * 257), R.TOO_MANY_RECORDS),
    "33 mixed records of 64 KiB": (
        batch([MIXED + KEY] * 33, [1, *varint(49_152)] * 33, b"\xff\xff" * 33, bytes(49_152 * 33)),
        R.TOO_LARGE,
    ),
    "a high bit": (batch([0x80 + KEY]), R.UNKNOWN_KIND),
    "257 records": (batch([RAW + KEY] * 257, [0] * 257), R.TOO_MANY_RECORDS),
    "a record of 64 KiB and one": (
        batch([DEFLATED + KEY], varint(65_537), bytes(65_537)), R.RECORD_TOO_LARGE
    ),
    "a raw record of 64 KiB and one": (
        batch([RAW + KEY], varint(65_537), raw=bytes(65_537)), R.RECORD_TOO_LARGE
    ),
    "a raw record that ends early": (batch([RAW + KEY], [9], raw=bytes(8)), R.TRUNCATED),
    "a deflated record that ends early": (batch([DEFLATED + KEY], [9], bytes(8)), R.TRUNCATED),
    "33 records of 64 KiB": (
        batch([DEFLATED + KEY] * 32 + [RAW + KEY], varint(65_536) * 33, bytes(65_536 * 32),
              bytes(65_536)),
        R.TOO_LARGE,
    ),
    "a record without operations": (batch([KEY]), R.TRUNCATED),
    "a wrapper that does not end": (batch([KEY, ABSENT]), R.TRUNCATED),
    "an operation behind the last slot": (batch([KEY, ABSENT, ABSENT]), R.UNKNOWN_OPERATION),
    "65 objects in each other": (
        batch(value(*[Op.OBJECT, OTHER] * 64, Op.OBJECT, *[REST] * 65), text=b"\xff" * 64),
        R.TOO_DEEP,
    ),
    "65 lists in each other": (
        batch(value(*[Op.LIST] * 65), [1] * 64 + [0]), R.TOO_DEEP
    ),
    "16,000 lists in each other": (batch(value(*[Op.LIST] * 16_000), [1] * 16_000), R.TOO_DEEP),
    "a jump back": (batch([KEY, JUMP, ABSENT, JUMP], [0, 0]), R.BAD_REFERENCE),
    "a jump too far": (batch([KEY, JUMP, ABSENT], [1]), R.BAD_REFERENCE),
    "a jump in an object without slots": (
        batch(value(Op.OBJECT, JUMP), [0]), R.BAD_REFERENCE
    ),
    "a slot in an object without slots": (
        batch(value(Op.OBJECT, Op.NULL)), R.UNKNOWN_OPERATION
    ),
    "a predicted value in a list": (batch(value(Op.LIST, PREDICTED), [1]), R.UNKNOWN_OPERATION),
    "a member twice": (
        batch(value(Op.OBJECT, OTHER, Op.NULL, OTHER, Op.NULL, REST), text=b"a\xffa\xff"),
        R.DUPLICATE_MEMBER,
    ),
    "a slot's member as another": (
        batch([KEY, OTHER, Op.NULL, REST], text=b"record\xff"), R.DUPLICATE_MEMBER
    ),
    "an id that was not said": (batch(value(Op.KEY), [2]), R.BAD_REFERENCE),
    "an id after the last": (
        batch(value(Op.LIST, Op.KEY, Op.KEY), [2, 1, 3], b"a\xff"), R.BAD_REFERENCE
    ),
    "an id said twice counts once": (
        batch(value(Op.LIST, Op.KEY, Op.KEY, Op.KEY), [3, 1, 1, 3], b"a\xffa\xff"),
        R.BAD_REFERENCE,
    ),
    "a text that was not said": (batch(value(Op.AGAIN), [0]), R.BAD_REFERENCE),
    "words are not said by number": (
        batch(value(Op.LIST, Op.TEXT, Op.AGAIN), [2, 0], b"a\xff"), R.BAD_REFERENCE
    ),
    "a text that does not end": (batch(value(Op.TEXT), text=b"abc"), R.TRUNCATED),
    "a text that is no UTF-8": (batch(value(Op.TEXT), text=b"\xc3\x28\xff"), R.BAD_VALUE),
    "half a surrogate pair": (batch(value(Op.TEXT), text=b"\xed\xa0\x80\xff"), R.BAD_VALUE),
    "a name that is no UTF-8": (batch([KEY, OTHER], text=b"\x80\xff"), R.BAD_VALUE),
    "a number that is none": (batch(value(Op.NUMBER), text=b"1e\xff"), R.BAD_VALUE),
    "NaN": (batch(value(Op.NUMBER), text=b"NaN\xff"), R.BAD_VALUE),
    "a number of 65 digits": (batch(value(Op.NUMBER), text=b"1" * 65 + b"\xff"), R.BAD_VALUE),
    "a decimal of 19 digits": (
        batch(value(Op.DECIMAL), [0], raw=varint(10**18)), R.BAD_VALUE
    ),
    "a decimal with the point 100 million places left": (
        batch(value(Op.DECIMAL), varint(2**27), raw=b"\0"), R.BAD_VALUE
    ),
    "a decimal of eleven bytes": (
        batch(value(Op.DECIMAL), [0], raw=b"\x80" * 10 + b"\0"), R.BAD_VALUE
    ),
    "a form of a time that is none": (batch(value(Op.TIME), [123], raw=b"\0"), R.BAD_VALUE),
    "a time after the year 9999": (
        batch(value(Op.TIME), [0], raw=varint(2**50)), R.BAD_VALUE
    ),
    "a time before the year 0": (
        batch(value(Op.TIME), [0], raw=varint(2**50 + 1)), R.BAD_VALUE
    ),
    "an offset of a day": (
        batch(value(Op.TIME), [63, *varint(2 * 1440)], raw=b"\0"), R.BAD_VALUE
    ),
    "an offset that leaves the years": (
        batch(value(Op.TIME), [93, 2], raw=varint(2 * 251_635_248_000 - 1)), R.BAD_VALUE
    ),
    "a time that ends early": (batch(value(Op.TIME), [0], raw=b"\x80"), R.TRUNCATED),
    "half a UUID": (batch(value(Op.UUID), raw=bytes(8)), R.TRUNCATED),
    "56 hints": (
        batch(value(Op.SIGNATURE), raw=bytes(3253) + b"\x38" + bytes(56)), R.BAD_VALUE
    ),
    "hints that are not there": (
        batch(value(Op.SIGNATURE), raw=bytes(3253) + b"\x02" + bytes(1)), R.TRUNCATED
    ),
    "base64 of 200 megabytes": (batch(value(Op.BASE64), varint(2**27)), R.RECORD_TOO_LARGE),
    "hex of 100 million digits": (batch(value(Op.HEX), varint(2**27)), R.RECORD_TOO_LARGE),
    "100 million integers": (batch(value(Op.BYTES), varint(2**27)), R.RECORD_TOO_LARGE),
    "a list of 100 million": (batch(value(Op.LIST), varint(2**27)), R.TRUNCATED),
    "100 million members": (batch(family(ABSENT, ABSENT, PREDICTED), varint(2**27)), R.TRUNCATED),
    "a reserved operation": (batch(value(22)), R.UNKNOWN_OPERATION),
    "a constant said aloud": (batch(value(Op.CONST)), R.UNKNOWN_OPERATION),
    "a copy said aloud": (batch(value(Op.COPY)), R.UNKNOWN_OPERATION),
    "a row hash said aloud": (batch(value(Op.ROW_HASH)), R.UNKNOWN_OPERATION),
    "operation 255": (batch(value(255)), R.UNKNOWN_OPERATION),
    "a key id without keys": (
        batch([KEY, PREDICTED, PREDICTED, *[ABSENT] * 17, REST, REST], text=b"alice\xff"),
        R.NOT_PREDICTABLE,
    ),
    "a copy of what is not there": (
        batch([KEY, PREDICTED, *[ABSENT] * 12, PREDICTED, *[ABSENT] * 5, REST, REST]),
        R.NOT_PREDICTABLE,
    ),
    "a copy of a number": (
        batch([FAMILY, PREDICTED, ABSENT, ABSENT, PREDICTED, REST, Op.NULL, *[ABSENT] * 3,
               REST, ABSENT, REST], [1, 1], b"a\xff"),
        R.NOT_PREDICTABLE,
    ),
    "a hash of an envelope that is not there": (
        batch([KEY, PREDICTED, *[ABSENT] * 9, PREDICTED, *[ABSENT] * 8, REST, REST]),
        R.NOT_PREDICTABLE,
    ),
    "a hash of a number no double holds": (
        batch([KEY, PREDICTED, *[ABSENT] * 8, Op.NUMBER, PREDICTED, *[ABSENT] * 8, REST, REST],
              text=b"1e999\xff"),
        R.NOT_PREDICTABLE,
    ),
    "a long text said often": (
        batch(value(Op.LIST, Op.KEY, *[Op.KEY] * 3000), [*varint(3001), 1, *[2] * 3000],
              b"a" * 30_000 + b"\xff"),
        R.RECORD_TOO_LARGE,
    ),
    "a long time copied often": (
        batch(family(ABSENT, ABSENT, PREDICTED, *[REST] * 1000, Op.TEXT, *[ABSENT] * 3, REST,
                     ABSENT, REST),
              [*varint(1000), 1, *[2] * 999], b"a\xff" + b"t" * 40_000 + b"\xff"),
        R.RECORD_TOO_LARGE,
    ),
    "16,000 members of nothing": (
        batch(family(ABSENT, ABSENT, PREDICTED, *[REST] * 16_000), [*varint(16_000), 1,
              *[2] * 15_999], b"\xff"),
        R.RECORD_TOO_LARGE,
    ),
    "a column that doubles by being mirrored": (
        batch([ATTESTATION, PREDICTED, *[ABSENT] * 3, Op.TEXT, *[ABSENT] * 3, PREDICTED, REST,
               *[ABSENT] * 12, REST, REST], text=b"a" * 40_000 + b"\xff"),
        R.RECORD_TOO_LARGE,
    ),
    "control characters, six for one": (
        batch(value(Op.TEXT), text=b"\x01" * 60_000 + b"\xff"), R.RECORD_TOO_LARGE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    hostile, reason = REFUSED[name]
    tracemalloc.start()
    try:
        with pytest.raises(BatchRefused) as caught:
            decode_batch(hostile)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == reason
    assert isinstance(caught.value, DecodeError)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()
    assert peak < 12_000_000, "twice what the largest batch inflates to, and some"


def test_every_reason_is_shown_here() -> None:
    assert {reason for _, reason in REFUSED.values()} == set(BatchReason)


def test_what_is_just_allowed_is_taken() -> None:
    """The twins of the refusals above: one less, and it passes."""
    assert len(decode_batch(batch([RAW + KEY] * 256, [0] * 256))) == 256
    whole = batch([DEFLATED + KEY] * 32, varint(65_536) * 32, bytes(65_536 * 32))
    assert sum(len(raw) for _, raw in decode_batch(whole)) == 2 * 1024 * 1024
    nested = value(*[Op.OBJECT, OTHER] * 62, Op.OBJECT, *[REST] * 63)
    assert decode_batch(batch(nested, text=b"\xff" * 62))
    assert decode_batch(batch(value(Op.NUMBER), text=b"1" * 64 + b"\xff"))
    assert decode_batch(batch(value(Op.SIGNATURE), raw=bytes(3253) + b"\x37" + bytes(55)))
    full = batch(
        [MIXED + KEY] * 32, [1, *varint(49_152)] * 32, b"\xff\xff" * 32, bytes(49_152 * 32)
    )
    assert sum(len(raw) for _, raw in decode_batch(full)) == 2 * 1024 * 1024
    runs = batch([MIXED + KEY] * 256, [64, *[1] * 64] * 256, b"\xff" * (65 * 256), bytes(64 * 256))
    assert decode_batch(runs) == ((EnvelopeKind.KEY, b"AA==" * 64),) * 256
    assert decode_batch(batch([MIXED + KEY], [1, 1], b"a" * 65_532 + b"\xff\xff", b"r"))
    assert decode_batch(batch([MIXED + KEY], [0], b"\xff")) == ((EnvelopeKind.KEY, b""),)


def test_limits_are_the_callers() -> None:
    limits = BatchLimits(records=1, record_bytes=4, decoded_bytes=4)
    kind = EnvelopeKind.KEY
    assert decode_batch(batch([RAW + KEY], [4], raw=b"abcd"), limits=limits) == ((kind, b"abcd"),)
    for hostile, reason in (
        (batch([RAW + KEY] * 2, [1, 1], raw=b"ab"), R.TOO_MANY_RECORDS),
        (batch([RAW + KEY], [5], raw=b"abcde"), R.RECORD_TOO_LARGE),
    ):
        with pytest.raises(BatchRefused) as caught:
            decode_batch(hostile, limits=limits)
        assert caught.value.reason == reason


@pytest.mark.parametrize("code", [encode_batch, mixed_batch])
def test_a_batch_cut_anywhere_is_refused(code: Callable[[Sequence[Item]], bytes]) -> None:
    whole = code(valid_records()[20:23])
    for length in range(0, len(whole), 7):
        with pytest.raises(BatchRefused) as caught:
            decode_batch(whole[:length])
        assert caught.value.reason == R.TRUNCATED
    with pytest.raises(BatchRefused) as caught:
        decode_batch(whole + b"\0")
    assert caught.value.reason == R.TRAILING_BYTES


def test_an_own_id_counts_from_the_end_of_its_record() -> None:
    """Within it nothing may refer to it: the keys it follows from may not be read yet."""
    keys = bytes(32 + 1952)
    said = [KEY, PREDICTED, PREDICTED, PREDICTED, PREDICTED, *[ABSENT] * 15, REST]
    within = batch([*said[:-1], OTHER, Op.KEY, REST, REST], [2], b"a\xffx\xff", keys)
    with pytest.raises(BatchRefused) as caught:
        decode_batch(within)
    assert caught.value.reason == R.BAD_REFERENCE
    after = batch([*said, REST, *value(Op.KEY)], [2], b"a\xff", keys)
    (_, key), (_, other) = decode_batch(after)
    key_id = key.split(b'"')[5]
    assert key_id.startswith(b"a-")
    assert other == b'{"location_proof":"' + key_id + b'"}'


# --- anything at all ---


@given(st.binary(max_size=200))
@example(b"\x01\x03\x00")
def test_no_bytes_do_more_than_be_refused(hostile: bytes) -> None:
    hold(hostile)
    hold(b"\x01" + hostile)


_ops = st.lists(
    st.sampled_from([*range(23), 32, DEFLATED + KEY, RAW + KEY, MIXED + KEY]), max_size=60
).map(bytes)
_nums = st.lists(st.integers(0, 20) | st.just(0x80), max_size=30).map(bytes)
_text = st.lists(st.sampled_from([b"", b"a", b"1", "é".encode(), b"\xc3"]), max_size=20).map(
    lambda texts: b"".join(text + b"\xff" for text in texts)
)


@given(st.sampled_from(list(KIND_NUMBERS.values())), _ops, _nums, _text, st.binary(max_size=100))
@settings(max_examples=300)
def test_no_streams_do_more_than_be_refused(
    kind: int, ops: bytes, nums: bytes, text: bytes, raw: bytes
) -> None:
    hold(batch(bytes([kind]) + ops, nums, text, raw + bytes(200)))
    hold(batch(bytes([kind, PREDICTED]) + ops, nums, text, raw))


@given(st.sampled_from(valid_records()), st.data())
@settings(max_examples=300)
def test_no_damage_to_a_real_batch_does_more_than_be_refused(
    item: tuple[EnvelopeKind, bytes], data: st.DataObject
) -> None:
    """Damage inside the deflated part, where bits outside it would seldom reach."""
    low, raw = inflated(data.draw(st.sampled_from([encode_batch, mixed_batch]))([item]))
    at = data.draw(st.integers(0, len(low) - 1))
    count = data.draw(st.integers(0, 3))
    low = low[:at] + data.draw(st.binary(max_size=3)) + low[at + count :]
    hold(b"\x01" + deflated(low) + raw)


def test_every_kind_has_a_shape_whose_first_member_is_the_record() -> None:
    for kind, shape in WRAPPERS.items():
        with pytest.raises(BatchRefused) as caught:
            decode_batch(batch([KIND_NUMBERS[kind], JUMP, Op.NULL, JUMP], [0, 0]))
        assert caught.value.reason == R.BAD_REFERENCE, shape.slots[0].name
