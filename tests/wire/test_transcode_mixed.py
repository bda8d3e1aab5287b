"""Mixed records: long base64 goes as bytes, all else as it is, and all of it comes out again.

`pytest tests/wire/test_transcode_mixed.py --rewrite -n 0` writes the golden file anew.
"""

from __future__ import annotations

import base64
import json
import string
import zlib
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import BatchRefused, LocalProtocolError
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.wire.transcode import (
    LIMITS,
    BatchLimits,
    BatchReason,
    decode_batch,
    encode_batch,
    mixed,
    mixed_batch,
    plain_batch,
)
from support import crpl, transcode
from support.golden import vectors
from support.transcode import Item, batch, first_operation, inflated, valid_records, varint

FILE = "mesh_mixed.json"
KIND = EnvelopeKind.ATTESTATION
DEFLATED, MIXED = 0x22, 0x62

#: 60 bytes as 80 letters, of which none is padding; one byte more takes four letters more.
SIXTY = bytes(range(0xC0, 0xFC))
LETTERS = b64encode(SIXTY)
ONE_MORE = b64encode(SIXTY + b"\xfc")
TWO_MORE = b64encode(SIXTY + b"\xfc\xfd")


def quoted(*pieces: bytes) -> bytes:
    return b'{"a":[' + b",".join(b'"' + piece + b'"' for piece in pieces) + b"]}"


#: name -> (envelope, its text stream, the runs that go as bytes).
CUT: dict[str, tuple[bytes, bytes, list[bytes]]] = {
    "one run": (quoted(LETTERS), quoted(b"\xff") + b"\xff", [SIXTY]),
    "padded once and twice": (
        quoted(ONE_MORE, b"x", TWO_MORE),
        quoted(b"\xff", b"x", b"\xff") + b"\xff",
        [SIXTY + b"\xfc", SIXTY + b"\xfc\xfd"],
    ),
    "nothing but a run": (LETTERS, b"\xff\xff", [SIXTY]),
    "runs next to each other": (
        LETTERS + b'"' + LETTERS + b'"' + LETTERS,
        b'\xff"\xff"\xff\xff',
        [SIXTY] * 3,
    ),
    "a run at the start and at the end": (
        LETTERS + b'"' + b'"' + LETTERS, b'\xff""\xff\xff', [SIXTY] * 2
    ),
    "the same run twice": (quoted(LETTERS, LETTERS), quoted(b"\xff", b"\xff") + b"\xff",
                           [SIXTY] * 2),
    "a run beside what is none": (
        quoted(LETTERS[:-4], LETTERS), quoted(LETTERS[:-4], b"\xff") + b"\xff", [SIXTY]
    ),
}  # fmt: skip

#: Looks like base64 and is no run: one that is goes beside it, so that the record is mixed.
NEAR_MISSES: dict[str, bytes] = {
    "76 letters": LETTERS[:-4],
    "81 letters": LETTERS + b"A",
    "83 letters": LETTERS + b"AAA",
    "no padding": TWO_MORE.rstrip(b"="),
    "padding too much": LETTERS + b"====",
    "one more sign of padding": LETTERS[:-1] + b"==",
    "padding alone": b"=" * 80,
    "padding behind what is whole": b"A" * 80 + b"=",
    "more padding behind what is whole": b"A" * 80 + b"==",
    "padding inside": LETTERS[:40] + b"AA==" + LETTERS[40:],
    "padding in front": b"====" + LETTERS,
    "unused bits, one byte": ONE_MORE[:-3] + bytes([ONE_MORE[-3] + 1]) + b"==",
    "unused bits, two bytes": TWO_MORE[:-2] + bytes([TWO_MORE[-2] + 1]) + b"=",
    "URL-safe letters": base64.urlsafe_b64encode(b"\xfb\xff" * 30),
    "one URL-safe letter": b"-" + LETTERS[1:],
    "a space": LETTERS[:40] + b" " + LETTERS[41:],
    "a line's end": LETTERS[:40] + b"\n" + LETTERS[41:],
    "a line's end behind": LETTERS + b"\n",
    "a line's end and letters that fit": LETTERS[:79] + b"\n" + b"AAAA",
    "a backslash": LETTERS + b"\\",
    "a zero byte": LETTERS[:-1] + b"\0",
    "a letter beyond ASCII": LETTERS[:-2] + "é".encode(),
}


def streams(item: Item, coded: bytes) -> tuple[bytes, list[int], bytes, bytes]:
    """First operation, numbers, text and raw stream of a batch of this one, mixed record."""
    low, raw = inflated(coded)
    ops, nums = low[0], low[1]
    assert ops == 1, "one operation, and few numbers"
    numbers, value, shift = [], 0, 0
    for byte in low[3 : 3 + nums]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    assert decode_batch(coded) == (item,)
    return low[2:3], numbers, low[3 + nums :], raw


# --- the cut ---


@pytest.mark.parametrize("name", CUT)
def test_long_base64_goes_as_the_bytes_it_spells(name: str) -> None:
    envelope, text, runs = CUT[name]
    coded = mixed_batch([(KIND, envelope)])
    numbers = [len(runs), *map(len, runs)]
    assert streams((KIND, envelope), coded) == (bytes([MIXED]), numbers, text, b"".join(runs))


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_only_looks_like_it_stays_text(name: str) -> None:
    miss = NEAR_MISSES[name]
    alone, beside = quoted(miss), quoted(LETTERS, miss, LETTERS)
    coded = mixed_batch([(KIND, alone)])
    assert decode_batch(coded) == ((KIND, alone),)
    assert first_operation(coded) == DEFLATED
    _, numbers, text, raw = streams((KIND, beside), mixed_batch([(KIND, beside)]))
    assert numbers == [2, 60, 60]
    assert text == quoted(b"\xff", miss, b"\xff") + b"\xff"
    assert raw == SIXTY * 2


def test_every_spelling_of_the_last_letters_comes_out_as_it_went_in() -> None:
    """Of 4,096 endings with padding one in 16, or one in 4, is what an encoder writes."""
    letters = (string.ascii_letters + string.digits + "+/").encode()
    runs = {1: 0, 2: 0}
    for last in letters:
        for padding, other in ((1, b"AA"), (2, b"A")):
            envelope = LETTERS + other + bytes([last]) + b"=" * padding
            runs[padding] += len(mixed.cut(envelope)[1])
            assert decode_batch(mixed_batch([(KIND, envelope)])) == ((KIND, envelope),)
    assert runs == {1: 16, 2: 4}


def test_an_envelope_with_the_mark_in_it_goes_whole() -> None:
    for envelope in (quoted(LETTERS, b"\xff"), b"\xff" + LETTERS, LETTERS + b"\xff", b"\xff" * 99):
        coded = mixed_batch([(KIND, envelope)])
        assert first_operation(coded) == DEFLATED
        assert decode_batch(coded) == ((KIND, envelope),)


def test_more_runs_than_a_record_may_have_stay_text() -> None:
    envelope = quoted(*[LETTERS] * 65)
    _, numbers, text, raw = streams((KIND, envelope), mixed_batch([(KIND, envelope)]))
    assert numbers == [64] + [60] * 64
    assert text == quoted(*[b"\xff"] * 64, LETTERS) + b"\xff"
    assert raw == SIXTY * 64


def test_all_of_a_signed_record_but_its_words_goes_raw() -> None:
    for kind, envelope in valid_records():
        (coded, plain) = (code([(kind, envelope)]) for code in (mixed_batch, plain_batch))
        _, runs = mixed.cut(envelope)
        assert {64, 3309} <= set(map(len, runs)), f"the two signatures of a {kind}"
        assert first_operation(coded) == KINDS[kind].number + 0x60
        assert len(coded) < 0.95 * len(plain)


# --- the law ---

_base64ish = st.one_of(
    st.binary(min_size=54, max_size=100).map(b64encode),
    st.text("AQgw+/=", min_size=75, max_size=90).map(str.encode),
    st.builds(
        lambda data, ending: b64encode(data)[: -len(ending)] + ending,
        st.binary(min_size=58, max_size=64),
        st.text("AQgw+/=_-\n\xff", min_size=1, max_size=5).map(lambda text: text.encode("latin-1")),
    ),
    st.binary(min_size=60, max_size=70).map(base64.urlsafe_b64encode),
    st.sampled_from([b"", b"\xff", b"\\", *NEAR_MISSES.values()]),
)
_pieces = st.lists(_base64ish, max_size=8).map(b'"'.join)


@given(st.lists(transcode.items | st.tuples(st.just(KIND), _pieces), max_size=8))
@example([(KIND, b"")])
@example([(KIND, b'"' * 300)])
def test_any_mixed_batch_comes_out_byte_for_byte(items: list[Item]) -> None:
    coded = mixed_batch(items)
    assert decode_batch(coded) == tuple(items)
    assert len(coded) <= sum(len(raw) for _, raw in items) + 5 * len(items) + 16


@pytest.mark.slow
@given(st.lists(transcode.items | st.tuples(st.just(KIND), _pieces), max_size=8))
@settings(max_examples=3000, suppress_health_check=list(HealthCheck))
def test_thousands_of_mixed_batches_come_out_byte_for_byte(items: list[Item]) -> None:
    assert decode_batch(mixed_batch(items)) == tuple(items)


@given(_base64ish)
@settings(max_examples=500)
def test_a_run_is_what_encoding_its_decoding_gives_again(piece: bytes) -> None:
    """Said the long way: the last letters alone are compared, after a strict decoding."""
    try:
        same = b64encode(b64decode(piece, validate=True)) == piece
    except ValueError:
        same = False
    _, runs = mixed.cut(piece)
    assert bool(runs) is (same and len(piece) >= 80)


@given(st.one_of(_pieces, transcode.items.map(lambda item: item[1])))
@example(b"")
@example(b'"')
@example(LETTERS[:-1])
@example(b'"' + LETTERS[:-1] + b'"')
@example(LETTERS + b'"')
@example(b'"' + LETTERS)
@example(LETTERS[:-1] + b'"' + LETTERS)
@example(b'""' * 40 + LETTERS + b'""')
@settings(max_examples=500)
def test_the_cut_is_made_where_splitting_at_quotation_marks_would_make_it(raw: bytes) -> None:
    pieces, runs = raw.split(b'"'), []
    for at, piece in enumerate(pieces):
        if len(piece) >= 80 and mixed.cut(piece)[1]:
            pieces[at] = b"\xff"
            runs.append(b64decode(piece))
    if b"\xff" in raw:
        assert mixed.cut(raw) == (raw, [])
    else:
        assert mixed.cut(raw) == (b'"'.join(pieces) + b"\xff", runs)


def test_forms_may_be_mixed_in_one_batch() -> None:
    items = ((KIND, b"raw"), (KIND, b"deflated"), (KIND, b"a" + b64encode(b"bytes") + b"z"))
    written = batch(
        [0x42, DEFLATED, MIXED], [3, 8, 1, 5], b"deflated" + b"a\xffz\xff", b"raw" + b"bytes"
    )
    assert decode_batch(written) == items


def test_a_run_may_be_short_or_empty() -> None:
    """Where an encoder draws the line is its own affair."""
    assert decode_batch(batch([MIXED], [2, 0, 1], b"a\xffb\xffc\xff", b"\0")) == (
        (KIND, b"abAA==c"),
    )


# --- limits ---


@pytest.mark.parametrize(("size", "room"), [(1, 65_533), (49_153, 0), (65_536, 0)])
def test_a_run_is_paid_for_before_it_is_spelled(
    monkeypatch: pytest.MonkeyPatch, size: int, room: int
) -> None:
    hostile = batch([MIXED], [1, *varint(size)], b"a" * room + b"\xff\xff", bytes(size))
    monkeypatch.setattr(mixed, "letters_of", lambda *_args, **_more: pytest.fail("spelled"))
    with pytest.raises(BatchRefused) as caught:
        decode_batch(hostile)
    assert caught.value.reason == BatchReason.RECORD_TOO_LARGE


def test_more_than_a_batch_holds_is_our_own_mistake() -> None:
    limits = BatchLimits(records=1, record_bytes=10, decoded_bytes=10)
    assert decode_batch(mixed_batch([(KIND, b"x" * 10)], limits=limits), limits=limits)
    for items in ([(KIND, b"x" * 11)], [(KIND, b"")] * 2):
        with pytest.raises(LocalProtocolError):
            mixed_batch(items, limits=limits)


@pytest.mark.parametrize(
    "envelope",
    [
        b'"'.join([LETTERS] * 809),
        b64encode(bytes(range(256)) * 192),
        b'"' * 65_536,
        b"\xff" * 65_536,
        b"=" * 65_536,
    ],
)
def test_the_most_that_a_batch_may_hold_is_taken(envelope: bytes) -> None:
    items = ((KIND, envelope),) * (LIMITS.decoded_bytes // len(envelope))
    coded = mixed_batch(items)
    assert len(coded) <= LIMITS.coded_bytes
    assert decode_batch(coded) == items


# --- golden bytes ---


def envelopes() -> dict[str, bytes]:
    """By name; "a signed attestation" is a record of `mesh_transcode.json`."""
    made = {name: envelope for name, (envelope, _, _) in CUT.items()}
    near = {name: quoted(LETTERS, miss, LETTERS) for name, miss in NEAR_MISSES.items()}
    signed = vectors("mesh_transcode")["records"][1]["envelope"].encode()
    return {**made, **near, "a signed attestation": signed}


def golden_file() -> dict[str, Any]:
    cases = []
    for name, envelope in envelopes().items():
        coded = mixed_batch([(KIND, envelope)])
        low, raw = inflated(coded)
        cases.append(
            {
                "name": name,
                "envelope": envelope.decode("utf-8"),
                "low_base64": b64encode(low).decode(),
                "raw_base64": b64encode(raw).decode(),
                "batch_base64": b64encode(coded).decode(),
            }
        )
    return {
        "provenance": "Made by ciris_mesh (tests/wire/test_transcode_mixed.py --rewrite). Batches"
        " of one attestation each, mixed: the envelope as UTF-8, what deflate is given, the raw"
        " stream, the whole batch. Deflate has many spellings: a decoder must take these bytes, an"
        " encoder may write others that a decoder takes.",
        "batches": cases,
    }


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Any:
    path = crpl.VECTORS / FILE
    if request.config.getoption("--rewrite"):
        path.write_text(json.dumps(golden_file(), indent=1, ensure_ascii=False) + "\n")
    return json.loads(path.read_bytes())


def test_the_golden_batches_are_read_and_written(golden: Any) -> None:
    assert [case["name"] for case in golden["batches"]] == list(envelopes())
    for case in golden["batches"]:
        item = (KIND, case["envelope"].encode())
        pinned = b64decode(case["batch_base64"])
        assert decode_batch(pinned) == (item,), case["name"]
        written = mixed_batch([item])
        assert inflated(written) == (b64decode(case["low_base64"]), b64decode(case["raw_base64"]))
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng deflates otherwise
            assert written == pinned, case["name"]


def test_a_mixed_record_spelt_by_hand() -> None:
    """The layout byte by byte, so that it does not rest on the encoder's word alone."""
    envelope = b'{"a":"' + LETTERS + b'","b":"' + TWO_MORE + b'"}'
    low = bytes([1, 3, 0x62, 2, 60, 62]) + b'{"a":"\xff","b":"\xff"}\xff'
    assert inflated(mixed_batch([(KIND, envelope)])) == (low, SIXTY + SIXTY + b"\xfc\xfd")


def test_other_batches_are_what_they_were() -> None:
    """Whoever does not know mixed records is not sent any."""
    items = valid_records()[:20]
    for code in (encode_batch, plain_batch):
        for item in items:
            assert first_operation(code([item])) < 0x40
    text = b"".join(raw for _, raw in items)
    low, raw = inflated(plain_batch(items))
    assert (low[-len(text) :], raw) == (text, b"")
    assert varint(len(items)) == low[:1]
