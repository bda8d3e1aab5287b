"""A frozen dataclass that is made faster is the same in all that can be seen of it."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import dataclass, field, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.checks import Verification
from ciris_mesh.records.envelope import Claim, Envelope, parse_envelope
from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature
from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rules.base import Counted, Finding
from support.keys import alice, bob
from support.records import sample


@dataclass(frozen=True, slots=True)
class Usual:
    name: str
    number: int = field(default=7, repr=False)
    hint: str = field(default="x", compare=False)
    parts: tuple[str, ...] = field(default_factory=tuple)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.name))


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    number: int = field(default=7, repr=False)
    hint: str = field(default="x", compare=False)
    parts: tuple[str, ...] = field(default_factory=tuple)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.name))


@given(st.text(), st.integers(), st.text(), st.lists(st.text()).map(tuple))
def test_a_quick_one_holds_what_a_usual_one_holds(
    name: str, number: int, hint: str, parts: tuple[str, ...]
) -> None:
    usual, quick = Usual(name, number, hint, parts), Quick(name, number, hint, parts)
    for it in fields(Usual):
        assert getattr(quick, it.name) == getattr(usual, it.name)
    assert repr(quick) == repr(usual).replace("Usual", "Quick", 1)
    assert hash(quick) == hash(usual)
    assert quick == Quick(name, number, hint + "y", parts)
    assert quick != Quick(name, number + 1, hint, parts)
    assert replace(quick, name=name + "z").length == len(name) + 1
    assert pickle.loads(pickle.dumps(quick)) == copy.copy(quick) == quick


def test_it_is_called_and_matched_alike() -> None:
    usual, quick = inspect.signature(Usual), inspect.signature(Quick)
    assert list(usual.parameters) == list(quick.parameters)
    assert Quick("n").parts == ()
    assert Quick("n").number == 7
    assert Quick.__match_args__ == Usual.__match_args__
    assert not hasattr(Quick("n"), "__dict__")
    with pytest.raises(TypeError):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Quick("n", length=1)  # type: ignore[call-arg]


def test_who_signed_follows_the_claims() -> None:
    """What is worked out at the beginning is worked out again for a changed copy."""
    envelope = parse_envelope(EnvelopeKind.FAMILY, sample(EnvelopeKind.FAMILY, alice()))
    other = Claim(bob().key_id, envelope.claims[0].signature)
    assert envelope.signers == (alice().key_id,)
    assert replace(envelope, claims=(other,)).signers == (bob().key_id,)
    assert replace(envelope, claims=()).signers == ()
    assert replace(envelope, claims=envelope.claims) == envelope


def test_values_that_stand_for_records_keep_their_checks() -> None:
    signature = HybridSignature(bytes(64), None)
    values = (
        *(JsonNumber("1"), signature, Claim("a", signature), Finding(), Counted(frozenset())),
        *(Verdict(Outcome.ADMITTED), Verification(Verdict(Outcome.ADMITTED), (), ())),
    )
    for value in values:
        assert value == copy.copy(value)
        assert hash(value) == hash(copy.copy(value))
    assert Verdict(Outcome.REFUSED).reason is Reason.NONE
    with pytest.raises(Exception, match="32 and 1952"):
        HybridPublicKey(b"", b"")
    with pytest.raises(TypeError):
        Envelope()  # type: ignore[call-arg]
