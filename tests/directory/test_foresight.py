"""Batches read ahead: the same answers as without, given from what was checked meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory import foresight as foresight_module
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.foresight import EACH_MAX, FORESEEN_MAX, Place
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.verifying import Signed
from ciris_mesh.records.hybrid import verify_hybrid
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from support.keys import alice, bob, carol, key
from support.records import AT_MS, sample

K = EnvelopeKind
PEER = Source("peer", "hub")


class Checked:
    """One batch: checks what it is handed at once, and keeps what it was asked about."""

    def __init__(self) -> None:
        self.said: dict[Signed, Reason] = {}
        self.asked: list[Signed] = []
        self.is_closed = False

    def hand(self, asked: Iterable[Signed]) -> None:
        self.said.update((one, verify_hybrid(*one)) for one in asked)

    def reason(self, one: Signed) -> Reason | None:
        assert not self.is_closed
        self.asked.append(one)
        return self.said.get(one)

    def close(self) -> None:
        self.is_closed = True


class Verifiers:
    """Opens batches without end."""

    def __init__(self) -> None:
        self.batches: list[Checked] = []
        self.expected: list[int] = []

    def expect(self, count: int) -> None:
        self.expected.append(count)

    def is_of_use(self) -> bool:
        return True

    def open(self, count: int) -> Checked:
        self.batches.append(Checked())
        return self.batches[-1]

    def reap(self) -> None:
        """Nothing ends."""


@pytest.fixture
def verifiers(directory: DirectoryCore) -> Verifiers:
    made = Verifiers()
    know(directory, alice(), bob())
    directory.employ(made)
    return made


def know(directory: DirectoryCore, *keys: object) -> None:
    for one in keys:
        directory.admit(K.KEY, sample(K.KEY, one), PEER, now_ms=AT_MS)


def families(count: int = 4) -> tuple[bytes, ...]:
    return tuple(sample(K.FAMILY, alice(), number) for number in range(count))


def forged(raw: bytes) -> bytes:
    """The same with a post-quantum half that doesn't stand."""
    at = raw.rindex(b'"mldsa65_signature_base64":"') + 40
    return raw[:at] + (b"BBBB" if raw[at : at + 4] == b"AAAA" else b"AAAA") + raw[at + 4 :]


def look_ahead(
    directory: DirectoryCore, raws: Sequence[bytes], source: Source = PEER
) -> Place | None:
    place = directory.foresight.place(source)
    if place is not None:
        directory.foresight.read(place, K.FAMILY, raws, AT_MS)
    return place


def give_back(directory: DirectoryCore, place: Place | None) -> None:
    assert place is not None
    directory.foresight.give_back(place)


def admitted(
    directory: DirectoryCore, raws: Sequence[bytes], source: Source = PEER
) -> list[Verdict]:
    return directory.admit_many(K.FAMILY, raws, source, now_ms=AT_MS)


def outcomes(verdicts: Iterable[Verdict]) -> list[Outcome]:
    return [one.outcome for one in verdicts]


def test_a_batch_is_admitted_by_what_was_checked_ahead(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    raws = families()
    place = look_ahead(directory, raws)
    (ahead,) = verifiers.batches
    assert set(ahead.said.values()) == {Reason.NONE}
    assert outcomes(admitted(directory, raws)) == [Outcome.ADMITTED] * 4
    assert verifiers.batches == [ahead], "it was not read again"
    assert set(ahead.asked) == set(ahead.said)
    assert ahead.is_closed
    give_back(directory, place)


def test_what_does_not_stand_is_refused(directory: DirectoryCore, verifiers: Verifiers) -> None:
    raws = families()
    raws = (raws[0], forged(raws[1]), raws[2])
    look_ahead(directory, raws)
    found = admitted(directory, raws)
    assert outcomes(found) == [Outcome.ADMITTED, Outcome.REFUSED, Outcome.ADMITTED]
    assert found[1].reason is Reason.PQC_SIGNATURE_INVALID
    assert len(verifiers.batches) == 1


def test_an_answer_stands_for_these_bytes_alone(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    """An equal batch in another object, or of another source, is read for itself."""
    raws = families()
    look_ahead(directory, raws)
    assert outcomes(admitted(directory, (*raws,))) == [Outcome.ADMITTED] * 4
    assert verifiers.batches[0].asked == []
    elsewhere = families(6)
    look_ahead(directory, elsewhere)
    assert outcomes(admitted(directory, elsewhere, Source("peer", "other")))[4:] == [
        Outcome.ADMITTED,
        Outcome.ADMITTED,
    ]
    assert verifiers.batches[2].asked == []


def test_what_is_not_asked_is_forgotten(directory: DirectoryCore, verifiers: Verifiers) -> None:
    raws = families()
    place = look_ahead(directory, raws)
    give_back(directory, place)
    give_back(directory, place)
    assert verifiers.batches[0].is_closed
    assert outcomes(admitted(directory, raws)) == [Outcome.ADMITTED] * 4
    assert verifiers.batches[0].asked == []


def test_no_more_is_read_ahead_than_there_is_room_for(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    """Of one source two, so that nobody has all of it; of all of them eight."""
    peers = [Source("peer", f"peer-{n}") for n in range(FORESEEN_MAX)]
    first = [directory.foresight.place(peers[0]) for _ in range(EACH_MAX + 1)]
    assert [one is not None for one in first] == [True, True, False]
    others = [directory.foresight.place(one) for one in peers[1:]]
    assert [one is not None for one in others] == [True] * 6 + [False]
    give_back(directory, first[0])
    assert directory.foresight.place(peers[-1]) is not None
    assert directory.foresight.place(peers[-1]) is None


def test_what_is_read_when_its_place_is_given_back_is_closed(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    place = directory.foresight.place(PEER)
    assert place is not None
    give_back(directory, place)
    directory.foresight.read(place, K.FAMILY, families(), AT_MS)
    assert verifiers.batches[0].is_closed
    assert place.foreseen == []


def test_an_answer_stands_for_its_kind_alone(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    raws = families()
    look_ahead(directory, raws)
    found = directory.admit_many(K.COMMUNITY, raws, PEER, now_ms=AT_MS)
    assert {one.outcome for one in found} == {Outcome.MALFORMED}


def test_what_breaks_while_reading_takes_no_room(
    directory: DirectoryCore, verifiers: Verifiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(foresight_module, "parse_envelope", breaks)
        place = directory.foresight.place(PEER)
        assert place is not None
        with pytest.raises(RuntimeError, match="on purpose"):
            directory.foresight.read(place, K.FAMILY, families(), AT_MS)
    assert verifiers.batches[0].is_closed
    assert place.foreseen == []


def test_what_is_expected_is_said_to_who_checks(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    directory.foresight.expect(500)
    assert verifiers.expected == [500]
    assert verifiers.batches == []


def test_without_verifiers_nothing_is_read(directory: DirectoryCore) -> None:
    know(directory, alice())
    raws = families()
    directory.foresight.expect(500)
    assert look_ahead(directory, raws) is None, "and nothing is unpacked for it"
    assert outcomes(admitted(directory, raws)) == [Outcome.ADMITTED] * 4


def test_what_came_in_meanwhile_is_a_duplicate(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    raws = families()
    look_ahead(directory, raws)
    admitted(directory, raws[1:2])
    assert outcomes(admitted(directory, raws)) == [
        Outcome.ADMITTED,
        Outcome.DUPLICATE,
        Outcome.ADMITTED,
        Outcome.ADMITTED,
    ]


def test_a_key_that_came_in_meanwhile_counts(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    raws = (sample(K.FAMILY, carol()),)
    look_ahead(directory, raws)
    assert verifiers.batches[0].said == {}, "whose key is not here can't be checked ahead"
    know(directory, carol())
    assert outcomes(admitted(directory, raws)) == [Outcome.ADMITTED]
    assert len(verifiers.batches[0].said) == 1, "it was handed over when it was judged"


def test_what_is_here_or_was_refused_is_not_checked_again(
    directory: DirectoryCore, verifiers: Verifiers
) -> None:
    """Or bringing it again would cost the helpers what it does not cost the node."""
    raws = families(2)
    raws = (raws[0], forged(raws[1]), b"{}")
    before = admitted(directory, raws)
    look_ahead(directory, raws)
    assert verifiers.batches[-1].said == {}
    after = admitted(directory, raws)
    assert outcomes(after) == [Outcome.DUPLICATE, *outcomes(before)[1:]]


def test_reading_ahead_notes_nothing(directory: DirectoryCore, verifiers: Verifiers) -> None:
    before = directory.outcome_counts(), directory.pools(), directory.generation(K.FAMILY)
    look_ahead(directory, (*families(2), forged(families(3)[2]), b"{}", b"\xff"))
    assert (directory.outcome_counts(), directory.pools(), directory.generation(K.FAMILY)) == before


# -- whatever comes, and in whatever order ---------------------------------------------------------

_ODD: tuple[Callable[[bytes], bytes], ...] = (
    lambda raw: raw,
    forged,
    lambda raw: raw.replace(b'"founded_at"', b'"founded_at" '),
    lambda raw: raw[:-1],
    lambda raw: raw.replace(b"founder", b"f\\u006funder"),
)


def _made(choice: tuple[int, int, int]) -> bytes:
    signer, number, odd = choice
    return _ODD[odd](sample(K.FAMILY, key(("alice", "bob", "carol")[signer]), number))


_CHOICE = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, len(_ODD) - 1))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(_CHOICE, max_size=6), min_size=1, max_size=4))
def test_answers_are_the_same_as_without(batches: list[list[tuple[int, int, int]]]) -> None:
    """Each batch is read before the one in front of it is judged, as on a link."""
    made = [tuple(map(_made, batch)) for batch in batches]
    plain, ahead = MemoryDirectory(), MemoryDirectory()
    ahead.employ(Verifiers())
    for directory in (plain, ahead):
        know(directory, alice(), bob())
    expected = [admitted(plain, raws) for raws in made]
    said: list[list[Verdict]] = []
    place: Place | None = None
    for raws, following in zip(made, [*made[1:], ()], strict=True):
        coming = look_ahead(ahead, following)
        said.append(admitted(ahead, raws))
        if place is not None:
            give_back(ahead, place)
        place = coming
    assert said == expected
    assert ahead.outcome_counts() == plain.outcome_counts()
    assert ahead.holdings(K.FAMILY) == plain.holdings(K.FAMILY)
