"""Hypothesis strategies for JSON values that keep their number tokens."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from ciris_mesh.records.jsontext import JsonNumber, JsonValue

#: Any JSON number, spelled in all the ways the grammar has.
number_tokens = st.from_regex(
    re.compile(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", re.ASCII),
    fullmatch=True,
)
numbers = number_tokens.map(JsonNumber)

#: Text without lone surrogates: what UTF-8 can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | texts | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=16,
)
objects: st.SearchStrategy[dict[str, JsonValue]] = st.dictionaries(texts, values, max_size=5)
