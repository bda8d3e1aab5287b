"""A whole federation written at five nodes at once: in the end all hold and answer the same.

    pytest tests/sim/test_sim_federation.py -m slow                       ten histories
    pytest tests/sim/test_sim_federation.py -m soak                       a hundred
    pytest ... --sim-seed=7 [--sim-records=FILE]                          one again

Signing is randomized, and the ids of three kinds cover the signature. So records are signed once
and kept in pytest's cache, under a name that changes with what they say; a seed deals them out. A
failure names the file: seed and file together are one history, on any machine.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.resolve.base import Status
from ciris_mesh.records.resolve.table import QUESTIONS, Answer
from support import answers as say
from support.population import TRUST, Signed, population, questions, read_records, signed_population
from support.records import AT_MS
from support.rulebook import K, Record, key_id, key_record, made, really_signed
from support.sim_federation import (
    INSTANTS_MS,
    NAMES,
    ON_DISK,
    Federation,
    answers,
    ask,
    calm_down,
    held,
    live_through,
    newcomer,
    parsed,
    script,
)
from support.sim_network import PERFECT

SMALL, WHOLE = 250, 2000
#: Says nothing decided about its subject; every question must get others too.
NOTHING = frozenset({Status.UNKNOWN, Status.EMPTY, Status.NOT_REVOKED})


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where signed records are kept from run to run."""
    cached = getattr(request.config, "cache", None)
    return cached.mkdir("federation") if cached else tmp_path_factory.mktemp("federation")


def signed(size: int, folder: Path, request: pytest.FixtureRequest) -> Signed:
    given = request.config.getoption("--sim-records")
    if given is not None:
        return Signed(read_records(Path(given)), Path(given))
    return signed_population(size, folder)


@contextmanager
def replayable(seed: int, of: Signed) -> Iterator[None]:
    """Whatever goes wrong inside says how to see it again."""
    try:
        yield
    except Exception as error:
        error.add_note(f"once more: --sim-seed={seed} --sim-records={of.file}")
        raise


def history(seed: int, of: Signed, folder: Path, steps: int) -> None:
    """Live through it and look at the end, before and after what must change nothing."""
    mesh = Federation(seed=seed, folder=folder)
    try:
        live_through(mesh, script(mesh.rng, of.records), steps=steps)
        calm_down(mesh)
        shelf = assert_same_shelves(mesh)
        asked = questions([parsed(*record) for record in of.records])
        told = assert_same_answers(mesh, asked)
        rolled_back(mesh, of.records)
        mesh.restart(ON_DISK[0])
        fresh = newcomer(mesh, NAMES[-1])
        for directory in (mesh.nodes[NAMES[-1]].directory, mesh.nodes[ON_DISK[0]].directory, fresh):
            assert held(directory) == shelf
            assert answers(directory, asked, INSTANTS_MS[-1:]) == told[-len(asked) :]
        assert_told_much(mesh, of, told)
    finally:
        mesh.close()


def assert_same_shelves(mesh: Federation) -> dict[EnvelopeKind, frozenset[bytes]]:
    first, *others = (node.directory for node in mesh.nodes.values())
    for other in others:
        assert held(other) == held(first)
    return held(first)


def assert_same_answers(mesh: Federation, asked: tuple[tuple[str, str, str], ...]) -> list[Answer]:
    first, *others = mesh.nodes.values()
    told = answers(first.directory, asked, INSTANTS_MS)
    for other in others:
        theirs = answers(other.directory, asked, INSTANTS_MS)
        for mine, their in zip(told, theirs, strict=True):
            assert their == mine, f"{other.name} and {first.name}"
    return told


def rolled_back(mesh: Federation, records: tuple[Record, ...]) -> None:
    """Everything is said again, latest first, to the one on disk and to one in memory."""
    for kind, raw in reversed(records):
        for name in (NAMES[-1], ON_DISK[0]):
            mesh.deliver(name, (kind, raw), "mallory")


def assert_told_much(mesh: Federation, of: Signed, told: list[Answer]) -> None:
    """An agreement about nothing would be worth nothing."""
    shelf = held(mesh.nodes[NAMES[0]].directory)
    assert all(shelf[kind] for kind in EnvelopeKind)
    assert len(of.records) // 2 < sum(map(len, shelf.values())) < len(of.records)
    for question in QUESTIONS:
        said = {answer.status for answer in told if answer.question == question}
        assert said - NOTHING, question
        assert len(said) > 1 or len(of.records) < WHOLE, question
    errors = sum((node.errors for node in mesh.nodes.values()), start=Counter[str]())
    assert errors["timed_out"] > 0
    counted = sum(
        (Counter(node.directory.outcome_counts()) for node in mesh.nodes.values()),
        start=Counter[tuple[str, str, str]](),
    )
    outcomes = {Outcome(outcome) for _, outcome, _ in counted}
    assert {*outcomes} >= {Outcome.ADMITTED, Outcome.DEFERRED, Outcome.REFUSED, Outcome.MALFORMED}
    assert any(reason == "time_ahead" for _, _, reason in counted)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    only = metafunc.config.getoption("--sim-seed")
    for fixture, count in (("slow_seed", 10), ("soak_seed", 100)):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, [only] if only is not None else range(count))


def test_a_small_federation_ends_in_agreement(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    of = signed(SMALL, folder, request)
    seed = request.config.getoption("--sim-seed") or 0
    with replayable(seed, of):
        history(seed, of, tmp_path, steps=8)


@pytest.mark.slow
def test_ten_histories_of_two_thousand_records_end_in_agreement(
    slow_seed: int, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    of = signed(WHOLE, folder, request)
    with replayable(slow_seed, of):
        history(slow_seed, of, tmp_path, steps=16)


@pytest.mark.soak
def test_a_hundred_histories_end_in_agreement(
    soak_seed: int, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    of = signed(WHOLE, folder, request)
    with replayable(soak_seed, of):
        history(soak_seed, of, tmp_path, steps=16)


def test_one_seed_and_one_file_are_one_history(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    of = signed(SMALL, folder, request)

    def lived(place: str) -> list[object]:
        (tmp_path / place).mkdir()
        mesh = Federation(seed=5, folder=tmp_path / place)
        try:
            live_through(mesh, script(mesh.rng, of.records[:150]), steps=4)
            nodes = mesh.nodes.values()
            return [(held(it.directory), it.errors, it.directory.outcome_counts()) for it in nodes]
        finally:
            mesh.close()

    assert lived("one") == lived("two")


def test_a_population_is_the_same_every_time_and_of_every_kind() -> None:
    drafts = population(SMALL)
    assert [draft.raw for draft in drafts] == [draft.raw for draft in population(SMALL)]
    assert len({(draft.kind, draft.envelope_id) for draft in drafts}) == len(drafts) == SMALL
    assert {draft.kind for draft in drafts} == set(EnvelopeKind)


def test_kept_records_are_used_again(tmp_path: Path) -> None:
    first = signed_population(60, tmp_path)
    assert signed_population(60, tmp_path) == first
    assert [file.name for file in tmp_path.iterdir()] == [first.file.name]
    assert read_records(first.file) == first.records
    directory = MemoryDirectory(trust=TRUST)
    keys = [raw for kind, raw in first.records if kind is EnvelopeKind.KEY]
    verdicts = directory.admit_many(EnvelopeKind.KEY, keys, Source("own"), now_ms=2**41)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.ADMITTED}


# -- what was found --------------------------------------------------------------------------------


@cache
def _vouched_twice() -> tuple[Record, ...]:
    """A device that person0 vouches for, and another device of person0 as well."""
    first = say.occurrence("person0", "device0", "person0", -9)
    second = say.occurrence("person0", "device1", "person0", -5)
    given = {
        name: second.record[name]
        for name in ("identity_key_id", "occurrence_key_id", "device_class")
    }
    both = made(K.IDENTITY_OCCURRENCE, given, "person0", "device0", at_ms=AT_MS)
    revoked = say.revocation("person0", "person0", 10, effective_ms=-7)
    return tuple((it.kind, really_signed(it)) for it in (first, both, revoked))


def _key(name: str) -> Record:
    record = key_record(name, by="root", ref="vouched", at_ms=AT_MS - 60_000)
    return record.kind, really_signed(record)


def test_signatures_reach_everybody_whoever_knew_the_signers_first(tmp_path: Path) -> None:
    """A record's id does not cover who signed it, so equal ids do not mean equal signers.

    One node takes the record while it knows one of two signers, and passes on what it could
    verify. When it learns the other key it completes its own copy, and nobody's else.
    """
    mesh = Federation(seed=1, folder=tmp_path, faults=PERFECT)
    first, both, revoked = _vouched_twice()
    root = key_record("root", "steward", at_ms=AT_MS - 60_000)
    try:
        mesh.author(NAMES[0], (root.kind, really_signed(root)))
        for record in (_key("person0"), _key("device1"), both):
            mesh.author(NAMES[0], record)
        mesh.run_ms(300_000)
        for record in (_key("device0"), first, revoked):
            mesh.author(NAMES[0], record)
        calm_down(mesh)
        assert_same_shelves(mesh)
        question = "occurrences", key_id("person0"), ""
        told = [ask(node.directory, question, 60_000) for node in mesh.nodes.values()]
        assert told[1:] == told[:-1]
    finally:
        mesh.close()


def test_the_script_deals_every_record_out() -> None:
    records = tuple((it.kind, really_signed(it)) for it in population(60))
    said = script(random.Random(1), records)
    dealt = {record for _, record in said.authored} | {record for _, _, record in said.told}
    assert dealt == set(records)
    assert {record for _, record in said.attacks}.isdisjoint(records)
