"""Batches by hand, and envelopes of every sort to make some of."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cache

from hypothesis import strategies as st

from ciris_mesh.errors import BatchRefused
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, parse_json
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.transcode import (
    LIMITS,
    TABLE_VERSION,
    BatchReason,
    decode_batch,
    encode_batch,
    mixed_batch,
)
from ciris_mesh.wire.transcode.grammar import Shape
from ciris_mesh.wire.transcode.shapes import WRAPPERS
from ciris_mesh.wire.transcode.words import DICTIONARY
from support import json_values
from support.keys import alice, bob, carol
from support.records import sample
from support.strategies import kinds

Item = tuple[EnvelopeKind, bytes]


def varint(number: int) -> bytes:
    """Our own, so that tests do not rest on the code they test."""
    low, rest = number % 128, number // 128
    return bytes([low]) if not rest else bytes([low + 128]) + varint(rest)


def deflated(low: bytes) -> bytes:
    """What stands between the table version and the raw stream."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    return press.compress(low) + press.flush()


def inflated(batch: bytes) -> tuple[bytes, bytes]:
    """The low part and the raw part of a batch."""
    press = zlib.decompressobj(-15, DICTIONARY)
    return press.decompress(batch[1:]), press.unused_data


def first_operation(batch: bytes) -> int:
    """The first byte of the operations."""
    low, _ = inflated(batch)
    numbers = [at for at, byte in enumerate(low) if byte < 0x80]  # ends of varints, at first
    return low[numbers[1] + 1]


def batch(
    ops: bytes | Iterable[int] = b"",
    nums: bytes | Iterable[int] = b"",
    text: bytes = b"",
    raw: bytes = b"",
    *,
    version: int = TABLE_VERSION,
) -> bytes:
    """A batch of these four streams, whatever sense they make."""
    ops, nums = bytes(ops), bytes(nums)
    low = varint(len(ops)) + varint(len(nums)) + ops + nums + text
    return bytes([version]) + deflated(low) + raw


def hold(data: bytes) -> None:
    """Any bytes are refused by name, or taken within limits and then a batch like any other."""
    try:
        items = decode_batch(data)
    except BatchRefused as refused:
        BatchReason(refused.reason)
        return
    assert len(items) <= LIMITS.records
    assert all(len(raw) <= LIMITS.record_bytes for _, raw in items)
    assert decode_batch(encode_batch(items)) == decode_batch(mixed_batch(items)) == items


@cache
def valid_records() -> tuple[Item, ...]:
    """Two signed records of each kind by each of three signers."""
    signers = (alice(), bob(), carol())
    return tuple(
        (kind, sample(kind, signer, n))
        for kind in EnvelopeKind
        for signer in signers
        for n in range(2)
    )


# --- strategies ---

_hex = st.binary(min_size=0, max_size=40).map(bytes.hex)
_key_ids = st.builds(
    "{}-{}".format,
    st.text("abcz-09", max_size=8),
    st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=16, max_size=16),
)
_base64 = st.text("ABCXYZabcxyz019+/", min_size=20, max_size=100).flatmap(
    lambda text: st.sampled_from([text, text + "=", text + "==", text[: len(text) // 4 * 4]])
)
times = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.integers(0, 9999),
    st.integers(0, 13),
    st.integers(0, 31),
    st.sampled_from("TTTt "),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 61),
    st.text("0123456789", max_size=10).map(lambda digits: f".{digits}" if digits else ""),
    st.sampled_from(["Z", "Z", "z", "+00:00", "-00:00", "+0530", "-11:59", "+23:59", "+24:00"]),
)
#: Texts of every class an operation has, and their near misses.
texts = st.one_of(
    json_values.texts,
    _hex,
    _hex.map(str.upper),
    st.uuids().map(str),
    st.uuids().map(lambda one: str(one).upper()),
    st.uuids().map(lambda one: one.hex),
    _key_ids,
    _base64,
    times,
    st.builds(str.__add__, json_values.texts, _hex),
    st.sampled_from(["hybrid", "scores", "active", "sha256:" + "ab" * 32]),
    st.sampled_from(['\x7f\x00\n"\\', "é\U0001f510"]),
)
_numbers = st.one_of(
    json_values.numbers,
    st.sampled_from(["1.0", "7", "0.50", "-0", "-0.0", "1e5", "9" * 30, "0." + "0" * 20]).map(
        JsonNumber
    ),
    st.integers(0, 256).map(lambda n: JsonNumber(str(n))),
)
values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | texts | _numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def _names(shape: Shape) -> list[str]:
    names = [slot.name for slot in shape.slots]
    for slot in shape.slots:
        if isinstance(slot.arg, Shape):
            names += _names(slot.arg)
    return names


@st.composite
def near_records(draw: st.DrawFn) -> Item:
    """A wrapper that looks like one of its kind at first sight, in any order and with any value."""
    kind = draw(kinds)
    names = st.sampled_from([*_names(WRAPPERS[kind]), "dimension", "score"])
    members = st.dictionaries(names, values, max_size=12)
    record = draw(members)
    if draw(st.booleans()):
        record[draw(names)] = dict(draw(members))
    wrapper: dict[str, JsonValue] = {WRAPPERS[kind].slots[0].name: record}
    wrapper.update(draw(st.dictionaries(names, values, max_size=2)))
    return kind, compact(wrapper)


@st.composite
def edited_records(draw: st.DrawFn) -> Item:
    """A valid record with one thing about it changed."""
    kind, raw = draw(st.sampled_from(valid_records()))
    wrapper = parse_json(raw)
    assert isinstance(wrapper, dict)
    members = wrapper
    while draw(st.booleans()):
        inner = [value for value in members.values() if isinstance(value, dict)]
        if not inner:
            break
        members = draw(st.sampled_from(inner))
    name = draw(st.sampled_from(sorted(members)))
    edit = draw(st.sampled_from(["drop", "set", "add", "sort", "reverse", "move", "copy"]))
    if edit == "drop":
        del members[name]
    elif edit == "set":
        members[name] = draw(values)
    elif edit == "add":
        members[draw(texts)] = draw(values)
    elif edit == "copy":
        members[name] = draw(st.sampled_from(list(members.values())))
    else:
        order = {"sort": sorted(members), "reverse": list(members)[::-1]}.get(edit)
        for each in order or [name]:
            members[each] = members.pop(each)
    return kind, compact(wrapper)


@st.composite
def damaged_records(draw: st.DrawFn) -> Item:
    """A valid record with some of its bytes replaced, put in or taken out."""
    kind, raw = draw(st.sampled_from(valid_records()))
    start = draw(st.integers(0, len(raw)))
    end = draw(st.integers(start, min(len(raw), start + 20)))
    return kind, raw[:start] + draw(st.binary(max_size=20)) + raw[end:]


garbage = st.tuples(kinds, st.binary(max_size=300))
wrappers = st.tuples(kinds, json_values.objects.map(compact))
items: st.SearchStrategy[Item] = st.one_of(
    garbage, wrappers, near_records(), edited_records(), damaged_records()
)
