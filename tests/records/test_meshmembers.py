"""What registry nodes are sent is the same record, without what only this mesh adds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.meshmembers import for_registries
from support.keys import alice
from support.records import sample

COSIGNED = [kind for kind in EnvelopeKind if KINDS[kind].style is SignatureStyle.AUTHORITY]
OTHERS = [kind for kind in EnvelopeKind if kind not in COSIGNED]
FAMILY = EnvelopeKind.FAMILY


@pytest.mark.parametrize("kind", COSIGNED)
def test_the_signatures_go_and_the_id_stays(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice(), 1)
    cut = for_registries(kind, raw)
    assert set(json.loads(cut)) == {KINDS[kind].wrapper_field}
    assert raw.startswith(cut[:-1]), "no other byte moves"
    assert parse_envelope(kind, cut).envelope_id == parse_envelope(kind, raw).envelope_id


@pytest.mark.parametrize("kind", OTHERS)
def test_kinds_that_registries_know_whole_are_not_touched(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice(), 1)
    assert for_registries(kind, raw) == raw


@pytest.mark.parametrize(
    ("raw", "cut"),
    [
        ('{"family":1}', '{"family":1}'),
        ('{"family":{"authority":[1]},"authority":[{"a":"]}"}]}', '{"family":{"authority":[1]}}'),
        ('{"authority":[],"family":1.50}', '{"family":1.50}'),
        ('{"a":1e400, "authority" : [[]] , "family":2}', '{"a":1e400 , "family":2}'),
        (' { "family" : "é\\"," , "authority":null } ', ' { "family" : "é\\"," } '),
        ('{"\\u0061uthority":[],"family":1}', '{"family":1}'),
        ('{"authority":[]}', "{}"),
        ('{"family":' + "9" * 5000 + ',"authority":[]}', '{"family":' + "9" * 5000 + "}"),
    ],
)
def test_exactly_the_member_and_one_comma_go(raw: str, cut: str) -> None:
    assert for_registries(FAMILY, raw.encode()) == cut.encode()


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.lists(st.text(max_size=3))),
    st.integers(0, 5),
    st.sampled_from([None, 1]),
)
def test_it_stays_json_with_all_else_in_place(
    members: dict[str, object], place: int, indent: int | None
) -> None:
    members.pop("authority", None)
    entries = list(members.items())
    entries.insert(place, ("authority", [{"authority": 1}]))
    raw = json.dumps(dict(entries), indent=indent).encode()
    assert list(json.loads(for_registries(FAMILY, raw)).items()) == list(members.items())
