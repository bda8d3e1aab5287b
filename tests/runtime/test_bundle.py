"""Bundles on disk: out whole or not at all, in through admission, whatever the file looks like."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import OWN, ReplicationDirectory, Shelf
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import DecodeError, DirectoryError, OperatorError
from ciris_mesh.records.authoring import author
from ciris_mesh.records.bundle import MAGIC, BundleWriter
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.runtime import bundle
from ciris_mesh.runtime.bundle import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    PAGE_ROWS,
    Answer,
    ImportReport,
    Offered,
    admit_mixed,
    bundled_rows,
    export_bundle,
    import_bundle,
    page_of,
    write_bundle,
)
from support.keys import alice, bob, carol
from support.records import AT_MS, sample

ALL = list(EnvelopeKind)
NOW_MS = AT_MS + 60_000


def attestation(n: int, by: Any = None) -> bytes:
    """Alice (or another) scores herself, for the n-th time."""
    signer = by or alice()
    columns = {
        "attested_key_id": signer.key_id,
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": "identity:continuity:v1", "n": n},
    }
    return author(EnvelopeKind.ATTESTATION, columns, signer, at_ms=AT_MS)


def key_of(signer: Any) -> Offered:
    return EnvelopeKind.KEY, sample(EnvelopeKind.KEY, signer)


SIGNED: list[Offered] = [(EnvelopeKind.ATTESTATION, attestation(n)) for n in range(6)]
BOBS: Offered = EnvelopeKind.ATTESTATION, attestation(0, bob())


def quiet(_records: int, _bytes: int) -> None:
    pass


def bundled(offered: Sequence[Offered]) -> bytes:
    sink = io.BytesIO()
    write_bundle(sink, iter(offered), quiet)
    return sink.getvalue()


def take(
    directory: ReplicationDirectory, data: bytes, source: BinaryIO | None = None
) -> ImportReport:
    return import_bundle(
        source or io.BytesIO(data),
        lambda offered: admit_mixed(directory, offered, now_ms=NOW_MS),
        quiet,
    )


def rows(directory: ReplicationDirectory, kinds: Sequence[EnvelopeKind] = ALL) -> list[Offered]:
    return list(bundled_rows(lambda kind, after: page_of(directory, kind, after), kinds))


def held(directory: ReplicationDirectory) -> set[bytes]:
    return {row.envelope for _, row in directory.rows(limit=10_000)}


def outcomes(report: ImportReport) -> dict[Answer, int]:
    return dict(report.outcomes)


@pytest.fixture
def directory() -> Iterator[MemoryDirectory]:
    made = MemoryDirectory()
    yield made
    made.close()


@pytest.fixture
def full() -> Iterator[MemoryDirectory]:
    """A node with two keys, more attestations than a page has rows, and one local row."""
    made = MemoryDirectory()
    made.admit(*key_of(alice()), OWN, now_ms=NOW_MS)
    many = [attestation(n) for n in range(PAGE_ROWS + 3)]
    made.admit_many(EnvelopeKind.ATTESTATION, many, OWN, now_ms=NOW_MS)
    made.admit(*key_of(bob()), OWN, now_ms=NOW_MS)
    local = {
        "attested_key_id": alice().key_id,
        "attestation_type": "scores",
        "tier": "local",
        "attestation_envelope": {"dimension": "identity:continuity:v1"},
    }
    made.admit(
        EnvelopeKind.ATTESTATION,
        author(EnvelopeKind.ATTESTATION, local, alice(), at_ms=AT_MS),
        OWN,
        now_ms=NOW_MS,
    )
    yield made
    made.close()


# -- out -----------------------------------------------------------------------------------------


def test_keys_come_first_and_local_rows_not_at_all(full: MemoryDirectory) -> None:
    assert full.counts()[EnvelopeKind.ATTESTATION, Shelf.LOCAL] == 1
    found = rows(full)
    assert [kind for kind, _ in found[:2]] == [EnvelopeKind.KEY] * 2
    assert len(found) == PAGE_ROWS + 5
    assert all(kind is EnvelopeKind.ATTESTATION for kind, _ in found[2:])


@pytest.mark.parametrize(
    ("kinds", "count"),
    [
        ([EnvelopeKind.KEY], 2),
        ([EnvelopeKind.ATTESTATION], PAGE_ROWS + 3),
        ([EnvelopeKind.KEY, EnvelopeKind.FAMILY], 2),
        ([EnvelopeKind.FAMILY], 0),
    ],
)
def test_kinds_choose(full: MemoryDirectory, kinds: list[EnvelopeKind], count: int) -> None:
    assert len(rows(full, kinds)) == count


def test_a_key_that_comes_during_the_export_is_not_left_out(directory: MemoryDirectory) -> None:
    directory.admit(*key_of(alice()), OWN, now_ms=NOW_MS)
    found: list[Offered] = []
    for one in bundled_rows(lambda kind, after: page_of(directory, kind, after), ALL):
        found.append(one)
        directory.admit(*key_of(bob()), OWN, now_ms=NOW_MS)
    assert found == [key_of(alice()), key_of(bob())]


def test_the_file_is_private_and_holds_what_was_there(
    full: MemoryDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "all.bundle"
    seen: list[tuple[int, int]] = []
    count = export_bundle(path, iter(rows(full)), lambda *done: seen.append(done))
    assert count == PAGE_ROWS + 5
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == bundled(rows(full))
    assert [records for records, _ in seen] == list(range(1, count + 1))
    assert os.listdir(tmp_path) == ["all.bundle"]


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("precious")
    with pytest.raises(OperatorError, match="--force"):
        export_bundle(path, iter(SIGNED), quiet)
    assert path.read_text() == "precious"
    assert export_bundle(path, iter(SIGNED), quiet, replace=True) == len(SIGNED)
    assert path.read_bytes() == bundled(SIGNED)


def test_a_file_that_appears_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def appear() -> Iterator[Offered]:
        yield SIGNED[0]
        path.write_text("precious")

    with pytest.raises(OperatorError, match="--force"):
        export_bundle(path, appear(), quiet)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Iterator[Offered]:
        yield SIGNED[0]
        raise DirectoryError("the disk is gone")

    with pytest.raises(DirectoryError):
        export_bundle(tmp_path / "x", fail(), quiet)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_writes_other_bytes_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lossy(BundleWriter):
        def record(self, kind: EnvelopeKind, envelope: bytes) -> bytes:
            return super().record(kind, envelope).replace(b"scores", b"sc0res")

    monkeypatch.setattr(bundle, "BundleWriter", Lossy)
    with pytest.raises(OperatorError, match="read back"):
        export_bundle(tmp_path / "x", iter(SIGNED), quiet)
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert export_bundle(tmp_path / "x", iter(SIGNED), quiet) == len(SIGNED)
    assert os.listdir(tmp_path) == ["x"]


# -- in ------------------------------------------------------------------------------------------


def test_a_fresh_node_admits_an_export_in_one_pass(
    full: MemoryDirectory, directory: MemoryDirectory
) -> None:
    report = take(directory, bundled(rows(full)))
    assert report.is_clean
    assert outcomes(report) == {(Outcome.ADMITTED, Reason.NONE): PAGE_ROWS + 5}
    assert report.read == PAGE_ROWS + 5
    assert held(directory) == {envelope for _, envelope in rows(full)}
    assert not any(outcome == "deferred" for _, outcome, _ in directory.outcome_counts())


def test_a_second_import_finds_duplicates(directory: MemoryDirectory) -> None:
    data = bundled([key_of(alice()), *SIGNED])
    take(directory, data)
    report = take(directory, data)
    assert report.is_clean
    assert outcomes(report) == {(Outcome.DUPLICATE, Reason.NONE): 7}


def test_order_does_not_matter(directory: MemoryDirectory) -> None:
    report = take(directory, bundled([*SIGNED, key_of(alice())]))
    assert report.is_clean
    assert outcomes(report) == {(Outcome.ADMITTED, Reason.NONE): 7}
    assert directory.pools().deferred == 0


@settings(max_examples=20)
@given(st.permutations([key_of(alice()), key_of(bob()), *SIGNED, BOBS]))
def test_every_order_ends_the_same(offered: list[Offered]) -> None:
    directory = MemoryDirectory()
    report = take(directory, bundled(offered))
    assert outcomes(report) == {(Outcome.ADMITTED, Reason.NONE): len(offered)}
    assert held(directory) == {envelope for _, envelope in offered}
    directory.close()


def test_what_falls_out_of_the_waiting_room_is_asked_again() -> None:
    directory = MemoryDirectory(limits=PoolLimits(deferred_per_source=2))
    filler = [(EnvelopeKind.ATTESTATION, attestation(100 + n)) for n in range(BATCH_RECORDS_MAX)]
    report = take(directory, bundled([*SIGNED, *filler, key_of(alice())]))
    assert outcomes(report) == {(Outcome.ADMITTED, Reason.NONE): len(filler) + 7}
    directory.close()


def test_what_lacks_its_key_for_good_is_told(directory: MemoryDirectory) -> None:
    report = take(directory, bundled([key_of(alice()), *SIGNED, BOBS]))
    assert outcomes(report) == {
        (Outcome.ADMITTED, Reason.NONE): 7,
        (Outcome.DEFERRED, Reason.SIGNER_UNKNOWN): 1,
    }
    assert report.is_clean, "waiting is no fault"
    assert report.of(Outcome.DEFERRED) == 1


class Pipe(io.BytesIO):
    """Standard input: read once, from start to end."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise AssertionError("a pipe cannot seek")


def test_a_pipe_will_do(directory: MemoryDirectory) -> None:
    data = bundled([*SIGNED, key_of(alice())])
    report = take(directory, data, Pipe(data))
    assert report.read == 7
    assert directory.pools().deferred == 0, "released, though not counted so"
    assert len(held(directory)) == 7


def test_forged_records_are_refused_and_the_rest_admitted(directory: MemoryDirectory) -> None:
    forged = SIGNED[1][1].replace(b'"n":1', b'"n":9')
    assert forged != SIGNED[1][1]
    offered = [
        key_of(alice()),
        SIGNED[0],
        (EnvelopeKind.ATTESTATION, forged),
        (EnvelopeKind.FAMILY, SIGNED[2][1]),
        (EnvelopeKind.ATTESTATION, b"[" * 60_000),
        SIGNED[3],
    ]
    report = take(directory, bundled(offered))
    assert not report.is_clean
    assert report.of(Outcome.ADMITTED) == 3
    assert report.of(Outcome.REFUSED) + report.of(Outcome.MALFORMED) == 3
    assert held(directory) == {key_of(alice())[1], SIGNED[0][1], SIGNED[3][1]}


def test_damage_costs_what_it_hits(directory: MemoryDirectory) -> None:
    data = bytearray(bundled([key_of(alice()), *SIGNED]))
    data[data.index(SIGNED[2][1]) + 100] ^= 4
    report = take(directory, bytes(data))
    assert not report.is_clean
    assert (report.read, report.damaged) == (6, 1)
    assert [one.reason for one in report.damage] == ["checksum"]
    assert SIGNED[2][1] not in held(directory)
    assert len(held(directory)) == 6


@settings(max_examples=25)
@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=50))
def test_garbage_anywhere_stores_nothing_unsigned(at: int, junk: bytes) -> None:
    valid = [key_of(alice()), *SIGNED]
    data = bundled(valid)
    at = len(MAGIC) + at % (len(data) - len(MAGIC))
    directory = MemoryDirectory()
    take(directory, data[:at] + junk + data[at + len(junk) :])
    assert held(directory) <= {envelope for _, envelope in valid}
    directory.close()


def test_only_the_first_damaged_places_are_listed(directory: MemoryDirectory) -> None:
    good = bundled(SIGNED).splitlines(keepends=True)
    lines = [good[0]]
    for _ in range(bundle.DAMAGE_LISTED_MAX + 5):
        lines += [b"junk\n", good[1], good[2]]
    report = take(directory, b"".join(lines))
    assert len(report.damage) == bundle.DAMAGE_LISTED_MAX
    assert report.damaged == bundle.DAMAGE_LISTED_MAX + 6  # the end is missing, too


def test_a_kind_of_the_future_is_refused_by_name(
    directory: MemoryDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ciris_mesh.records import bundle as form

    data = bundled([key_of(alice())])
    monkeypatch.setattr(form, "_KIND_OF", {})
    report = take(directory, data)
    assert outcomes(report) == {(Outcome.REFUSED, Reason.UNKNOWN_KIND): 1}
    assert not report.is_clean
    assert held(directory) == set()


def test_another_file_is_refused_before_anything_else(directory: MemoryDirectory) -> None:
    with pytest.raises(DecodeError, match="no ciris-mesh bundle"):
        take(directory, b"PK\x03\x04" + bytes(100))
    assert directory.outcome_counts() == {}


def test_a_file_beyond_repair_is_given_up_and_what_came_before_kept(
    directory: MemoryDirectory,
) -> None:
    start = bundled([key_of(alice())]).rpartition(b"end ")[0]
    report = take(directory, start + (b"key 70 " + b"0" * 64 + b"\n") * 10_100)
    assert "beyond repair" in report.gave_up
    assert not report.is_clean
    assert held(directory) == {key_of(alice())[1]}


def test_batches_are_bounded(directory: MemoryDirectory) -> None:
    small = [(EnvelopeKind.FAMILY, b"{}")] * (BATCH_RECORDS_MAX + 1)
    large = [(EnvelopeKind.FAMILY, b"x" * 60_000)] * 20
    sizes: list[tuple[int, int]] = []

    def admit(offered: Sequence[Offered]) -> list[Answer]:
        sizes.append((len(offered), sum(len(envelope) for _, envelope in offered)))
        return [(Outcome.MALFORMED, Reason.NOT_JSON)] * len(offered)

    report = import_bundle(io.BytesIO(bundled([*small, *large])), admit, quiet)
    assert report.read == len(small) + len(large)
    assert max(records for records, _ in sizes) <= BATCH_RECORDS_MAX
    assert max(size for _, size in sizes) <= BATCH_BYTES_MAX
    assert len(sizes) > 3


def test_an_interrupted_import_is_simply_run_again(tmp_path: Path) -> None:
    offered = [key_of(alice()), *SIGNED, key_of(bob()), BOBS, key_of(carol())]
    data = bundled(offered)
    path = tmp_path / "records.db"

    class Interrupted(Exception):
        pass

    def stop(_records: int, _bytes: int) -> None:
        raise Interrupted

    store = SqliteDirectory(path)
    half = io.BytesIO(data[: len(data) // 2])
    with pytest.raises(Interrupted):
        import_bundle(half, lambda some: admit_mixed(store, some, now_ms=NOW_MS), stop)
    store.close()

    store = SqliteDirectory(path)
    report = take(store, data)
    store.close()
    assert report.is_clean
    assert report.of(Outcome.DUPLICATE) > 0
    assert report.of(Outcome.ADMITTED) > 0
    assert sum(report.outcomes.values()) == len(offered)

    store = SqliteDirectory(path)
    assert held(store) == {envelope for _, envelope in offered}
    store.close()


def test_answers_come_in_the_order_asked(directory: MemoryDirectory) -> None:
    offered = [SIGNED[0], (EnvelopeKind.FAMILY, b"{}"), key_of(alice()), BOBS]
    answers = admit_mixed(directory, offered, now_ms=NOW_MS)
    assert [outcome for outcome, _ in answers] == [
        Outcome.ADMITTED,
        Outcome.MALFORMED,
        Outcome.ADMITTED,
        Outcome.DEFERRED,
    ]
    paths = {path for path, _, _ in directory.outcome_counts()}
    assert paths == {"import"}
