"""Payment processor ids anywhere in a record are found and never repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.jsontext import JsonValue, from_plain, parse_json
from ciris_mesh.records.payment import PAYMENT_PREFIXES, find_payment_id, is_payment_id
from support.json_values import objects, values


@pytest.mark.parametrize("prefix", PAYMENT_PREFIXES)
def test_an_id_is_found_and_its_bare_prefix_is_a_word(prefix: str) -> None:
    assert is_payment_id(prefix + "1")
    assert not is_payment_id(prefix)
    assert not is_payment_id(prefix[:-1])
    assert find_payment_id({"note": prefix + "12345"}) == "note"
    assert find_payment_id({"note": prefix}) is None
    assert find_payment_id({prefix + "12345": "note"}) == "(a member name)"
    assert find_payment_id({prefix: "note"}) is None


def test_there_are_seventeen_prefixes_and_none_is_part_of_another() -> None:
    assert len(PAYMENT_PREFIXES) == len(set(PAYMENT_PREFIXES)) == 17
    assert all(prefix.endswith("_") for prefix in PAYMENT_PREFIXES)
    assert not [p for p in PAYMENT_PREFIXES for q in PAYMENT_PREFIXES if p != q and p.startswith(q)]


@pytest.mark.parametrize(
    "text",
    ["", "_", "x_1", "Cus_1", "CUS_1", " cus_1", "acus_1", "customer_1", "my cus_1", "cus-1"],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert not is_payment_id(text)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("cus_1", "(the whole value)"),
        (["a", "cus_1"], "[1]"),
        ({"a": {"b": ["x", {"c": "tok_9"}]}}, "a.b[1].c"),
        ({"a": {"sub_7": 1}}, "a.(a member name)"),
        ([{"ch_1": "pi_1"}], "[0].(a member name)"),
        ({"a": "ok", "b": "pm_1", "c": "pm_2"}, "b"),
    ],
)
def test_it_is_told_where(value: object, where: str) -> None:
    assert find_payment_id(from_plain(value)) == where


def test_the_place_can_be_named_by_the_caller() -> None:
    assert find_payment_id({"x": "in_1"}, where="signed_envelope") == "signed_envelope.x"


@pytest.mark.parametrize(
    "value", [None, True, 12345, 1.5, [], {}, "", {"a": [1, None, False]}, ["cus_", {"sub_": ""}]]
)
def test_what_holds_none(value: object) -> None:
    assert find_payment_id(from_plain(value)) is None


def test_the_deepest_record_there_can_be_is_searched() -> None:
    deep = parse_json(b"[" * 63 + b'{"a":"txn_1"}' + b"]" * 63)
    found = find_payment_id(deep)
    assert found is not None
    assert found.endswith(".a")


@given(values, st.sampled_from(PAYMENT_PREFIXES), st.text(min_size=1, max_size=9))
def test_the_id_is_never_in_the_answer(value: JsonValue, prefix: str, rest: str) -> None:
    secret = f"{prefix}{rest}-secret"
    for holder in ({"k": value, "z": secret}, {"k": value, secret: None}, [value, [secret]]):
        found = find_payment_id(from_plain(holder))
        assert found is not None
        assert "-secret" not in found


#: Values in which ids are likely.
suspects = st.recursive(
    st.sampled_from(["cus_1", "cus_", "sub_x", "sub", "plain", "re_", "re_1"]) | values,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "in_9"]), inner)
    ),
    max_leaves=8,
)


@given(suspects | objects)
def test_found_exactly_when_some_text_is_one(value: JsonValue) -> None:
    assert (find_payment_id(value) is not None) == any(map(is_payment_id, texts(value)))


def texts(value: JsonValue) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [*value, *(text for item in value.values() for text in texts(item))]
        case list():
            return [text for item in value for text in texts(item)]
        case _:
            return []
