"""What `--json` prints is the dataclass, and reading it back is strict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.cli.plain import dump, from_hex, load


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    name: str
    raw: bytes


@dataclass(frozen=True)
class Outer:
    colour: Colour
    count: int
    ok: bool
    inner: tuple[Inner, ...]
    hashes: tuple[bytes, ...]


outers = st.builds(
    Outer,
    colour=st.sampled_from(Colour),
    count=st.integers(),
    ok=st.booleans(),
    inner=st.lists(st.builds(Inner, name=st.text(), raw=st.binary()), max_size=3).map(tuple),
    hashes=st.lists(st.binary(max_size=8), max_size=3).map(tuple),
)


@given(outers)
def test_load_undoes_dump(value: Outer) -> None:
    assert load(Outer, dump(value)) == value


def test_the_shape_is_pinned() -> None:
    value = Outer(Colour.BLUE, 3, True, (Inner("a", b"\x01\xff"),), (b"",))
    assert dump(value) == {
        "colour": "blue",
        "count": 3,
        "ok": True,
        "inner": [{"name": "a", "raw": "01ff"}],
        "hashes": [""],
    }
    assert dump({Colour.RED: None}) == {"red": None}


GOOD = {"colour": "red", "count": 1, "ok": False, "inner": [], "hashes": []}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"colour": "green"}, "unknown colour 'green'"),
        ({"colour": ["red"]}, "unknown colour"),
        ({"count": True}, "count is not of type int"),
        ({"count": 1.0}, "count is not of type int"),
        ({"ok": 0}, "ok is not of type bool"),
        ({"inner": {}}, "inner is not an array"),
        ({"inner": [1]}, "inner is not an object"),
        ({"inner": [{"name": "a"}]}, "member 'raw' is missing"),
        ({"hashes": ["0"]}, "hashes is not hex"),
        ({"hashes": [7]}, "hashes is not a string of hex digits"),
        ({"extra": 1}, "unknown member 'extra'"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load(Outer, {**GOOD, **change})


def test_only_objects_load() -> None:
    with pytest.raises(ValueError, match="not an object"):
        load(Outer, [])


@pytest.mark.parametrize("text", ["0", "0g", "0x00", "00 11", " 00", "é0"])
def test_hex_is_digit_pairs_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="the line is not hex"):
        from_hex(text, "the line")


@given(st.binary())
def test_hex_of_either_case_is_read(raw: bytes) -> None:
    assert from_hex(raw.hex().upper(), "x") == from_hex(raw.hex(), "x") == raw


@dataclass(frozen=True)
class Loose:
    age_s: float | None
    counts: dict[str, int]
    inner: Inner


LOOSE = {"age_s": None, "counts": {"a": 1}, "inner": {"name": "x", "raw": "00"}}


def test_optional_numbers_and_mappings_load() -> None:
    assert load(Loose, LOOSE) == Loose(None, {"a": 1}, Inner("x", b"\x00"))
    assert load(Loose, {**LOOSE, "age_s": 3}).age_s == 3.0
    assert isinstance(load(Loose, {**LOOSE, "age_s": 3}).age_s, float)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"age_s": "3"}, "age_s is not of type float"),
        ({"age_s": True}, "age_s is not of type float"),
        ({"counts": []}, "counts is not an object"),
        ({"counts": {"a": 1.5}}, "counts is not of type int"),
        ({"inner": None}, "inner is not an object"),
    ],
)
def test_what_is_wrong_in_them_is_named_too(change: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load(Loose, {**LOOSE, **change}, strict=False)


def test_members_of_a_newer_version_are_passed_over_at_every_depth() -> None:
    newer = {**LOOSE, "more": 1, "inner": {"name": "x", "raw": "00", "more": 2}}
    assert load(Loose, newer, strict=False) == load(Loose, LOOSE)
    with pytest.raises(ValueError, match="unknown member 'more'"):
        load(Loose, newer)
