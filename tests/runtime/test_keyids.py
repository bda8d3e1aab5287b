"""Checking a key id against a fingerprint gives what the records layer says of the whole key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records import hybrid
from ciris_mesh.runtime.keyids import (
    contradicts,
    is_key_id,
    is_name,
    self_certifying_name,
    suffix,
)
from support import keys


@pytest.mark.parametrize("name", keys.NAMES)
def test_both_layers_spell_a_key_id_alike(name: str) -> None:
    key = keys.key(name)
    assert key.key_id == f"{name}-{suffix(key.public.fingerprint)}"
    assert self_certifying_name(key.key_id, key.public.fingerprint) == name
    assert not contradicts(key.key_id, key.public.fingerprint)


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9][a-z0-9-]{0,33}", fullmatch=True))
def test_both_layers_allow_the_same_names(text: str) -> None:
    assert is_name(text) == hybrid.is_name(text)


def test_an_id_that_certifies_another_key_contradicts_this_one() -> None:
    alice, bob = keys.alice(), keys.bob()
    assert contradicts(alice.key_id, bob.public.fingerprint)
    assert self_certifying_name(alice.key_id, bob.public.fingerprint) is None


@pytest.mark.parametrize("key_id", ["registry-eu", "ciris-steward-production", "x", "A-Key_1"])
def test_an_id_of_another_form_certifies_and_contradicts_nothing(key_id: str) -> None:
    fingerprint = keys.alice().public.fingerprint
    assert is_key_id(key_id)
    assert self_certifying_name(key_id, fingerprint) is None
    assert not contradicts(key_id, fingerprint)


@pytest.mark.parametrize("text", ["", "two words", "line\n", "\u00e9", "x" * 129, "tab\t"])
def test_what_could_confuse_a_person_is_no_key_id(text: str) -> None:
    assert not is_key_id(text)
