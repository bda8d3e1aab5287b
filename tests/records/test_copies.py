"""Names of copies: who signed is in them, and nothing else is."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.directory.buckets import bucket_of
from ciris_mesh.records.cosigning import copy_id, is_cosigned
from ciris_mesh.records.kinds import EnvelopeKind
from support.golden import vectors

K = EnvelopeKind
_names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=5)
_ids = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("row", vectors("mesh_copies")["copies"])
def test_copy_ids_equal_the_vectors(row: dict[str, Any]) -> None:
    envelope_id = bytes.fromhex(row["envelope_id"])
    assert copy_id(K(row["kind"]), envelope_id, row["signers"]).hex() == row["copy_id"]


@given(st.sampled_from(K), _ids, _names, st.randoms(use_true_random=False))
def test_order_and_repetition_of_signers_name_no_other_copy(
    kind: EnvelopeKind, envelope_id: bytes, names: list[str], rng: Random
) -> None:
    shuffled = rng.sample(names, len(names)) + names[:1]
    assert copy_id(kind, envelope_id, names) == copy_id(kind, envelope_id, shuffled)


@given(st.sampled_from(K), _ids, _names, _names)
def test_other_signers_are_another_copy_where_the_id_does_not_name_them(
    kind: EnvelopeKind, envelope_id: bytes, one: list[str], two: list[str]
) -> None:
    same = copy_id(kind, envelope_id, one) == copy_id(kind, envelope_id, two)
    assert same is (set(one) == set(two) or not is_cosigned(kind))


@given(st.sampled_from(K), _ids, _names)
def test_a_copy_is_found_where_its_record_is(
    kind: EnvelopeKind, envelope_id: bytes, names: list[str]
) -> None:
    named = copy_id(kind, envelope_id, names)
    assert (len(named), named[:8]) == (32, envelope_id[:8])
    assert bucket_of(named) == bucket_of(envelope_id)


def test_a_copy_id_is_made_as_written_down() -> None:
    envelope_id = bytes(range(32))
    text = b"ciris-mesh/copy/v1\0" + envelope_id + b"\0\1a\0\2zz"
    expected = envelope_id[:8] + hashlib.sha256(text).digest()[8:]
    assert copy_id(K.FAMILY, envelope_id, ("zz", "a")) == expected
