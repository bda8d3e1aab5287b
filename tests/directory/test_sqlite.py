"""What only the store on disk can do or suffer."""

from __future__ import annotations

import gc
import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory import core
from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.dbfile import connect
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from support.copies import copies_held
from support.keys import alice, bob
from support.records import AT_MS, sample

K = EnvelopeKind
PEER = Source("peer", "hub")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


def fill(directory: DirectoryCore, records: int = 5) -> None:
    directory.admit(K.KEY, sample(K.KEY, alice()), OWN, now_ms=AT_MS)
    raws = [sample(K.FAMILY, alice(), n) for n in range(records)]
    directory.admit_many(K.FAMILY, raws, PEER, now_ms=AT_MS)


def filled(path: Path) -> None:
    directory = SqliteDirectory(path)
    fill(directory)
    directory.close()


# -- opening -------------------------------------------------------------------------------------


def test_everything_is_there_after_reopening(path: Path) -> None:
    directory = SqliteDirectory(path)
    fill(directory)
    directory.admit(K.COMMUNITY, sample(K.COMMUNITY, bob()), PEER, now_ms=AT_MS)
    directory.admit(K.KEY, sample(K.KEY, bob()), Source("unattributed"), now_ms=AT_MS)
    before = (directory.counts(), list(directory.rows(limit=99)), directory.digest(K.FAMILY))
    directory.close()
    again = SqliteDirectory(path)
    try:
        after = (again.counts(), list(again.rows(limit=99)), again.digest(K.FAMILY))
        assert after == before
        assert (again.pools().deferred, again.pools().first_contact) == (1, 1)
        assert again.public_key(bob().key_id) == bob().public
        assert again.promote_first_contact(bob().key_id, now_ms=AT_MS) is not None
        assert again.pools().deferred == 0
        assert len(again.holdings(K.COMMUNITY)) == 1
    finally:
        again.close()


def test_only_the_owner_may_read_any_of_its_files(path: Path) -> None:
    path.touch(mode=0o644)
    directory = SqliteDirectory(path)
    try:
        fill(directory)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        directory.close()
    assert set(modes.values()) == {0o600}
    assert {"records.db", "records.db-wal", "records.db.lock"} <= set(modes)


def test_a_second_process_is_told_who_is_in_the_way(path: Path) -> None:
    first = SqliteDirectory(path)
    try:
        with pytest.raises(DirectoryError, match="in use by another process; stop that node"):
            SqliteDirectory(path)
    finally:
        first.close()
    SqliteDirectory(path).close()


def foreign_database(path: Path, application_id: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {application_id}")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("application_id", [0, 1234])
def test_another_programs_database_is_not_touched(path: Path, application_id: int) -> None:
    foreign_database(path, application_id)
    before = path.read_bytes()
    with pytest.raises(DirectoryError, match="another program's database; choose another path"):
        SqliteDirectory(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["records.db"], "nothing left behind"


def test_a_text_file_is_not_touched(path: Path) -> None:
    path.write_text("Dear diary, today I ran a node.\n" * 40)
    before = path.read_bytes()
    with pytest.raises(DirectoryError, match="no record store"):
        SqliteDirectory(path)
    assert path.read_bytes() == before


def test_a_folder_is_no_record_store(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DirectoryError, match="is a folder; name a file"):
        SqliteDirectory(path)


def test_a_pipe_is_no_record_store(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(DirectoryError, match="device or pipe; name a file"):
        SqliteDirectory(path)


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="does not exist; create it"):
        SqliteDirectory(tmp_path / "nowhere" / "records.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_to_be(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who may write anywhere, so the system's answer is made up."""

    def refuse(*arguments: Any, **options: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ciris_mesh.directory.dbfile.os.open", refuse)
    with pytest.raises(DirectoryError, match="Permission denied; make its folder writable"):
        SqliteDirectory(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "tables gone", "start gone"])
def test_a_damaged_file_is_said_to_be_damaged(path: Path, damage: str) -> None:
    filled(path)
    whole = path.read_bytes()
    match damage:
        case "cut short":
            path.write_bytes(whole[: 4096 * 2 + 100])
        case "overwritten":
            path.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))
        case "tables gone":
            connection = sqlite3.connect(path)
            connection.execute("DROP TABLE record")
            connection.commit()
            connection.close()
        case _:
            path.write_bytes(bytes(100) + whole[100:])
    before = path.read_bytes()
    with pytest.raises(DirectoryError, match=r"damaged.*backup-\*") as caught:
        SqliteDirectory(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    path.write_bytes(whole)
    SqliteDirectory(path).close()


# -- writing -------------------------------------------------------------------------------------


def test_a_full_disk_is_said_to_be_full_and_nothing_is_half_written(path: Path) -> None:
    directory = SqliteDirectory(path)
    try:
        fill(directory)
        before = (directory.digest(K.FAMILY), directory.counts(), directory.pools())
        writer = directory._store._writer  # type: ignore[attr-defined]
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
        batch = [sample(K.FAMILY, bob(), n) for n in range(20)]
        batch += [sample(K.FAMILY, alice(), n) for n in range(20, 40)]
        with pytest.raises(DirectoryError, match=r"no room left .* free some space"):
            directory.admit_many(K.FAMILY, batch, PEER, now_ms=AT_MS)
        assert (directory.digest(K.FAMILY), directory.counts(), directory.pools()) == before
        writer.execute(f"PRAGMA max_page_count = {10 * pages + 1000}")
        verdicts = directory.admit_many(K.FAMILY, batch, PEER, now_ms=AT_MS)
        assert [v.outcome for v in verdicts] == [Outcome.DEFERRED] * 20 + [Outcome.ADMITTED] * 20
        assert directory.digest(K.FAMILY) == digest_of(copies_held(directory, K.FAMILY))
    finally:
        directory.close()


def test_many_threads_admit_at_once(path: Path) -> None:
    """Each brings its own records, one all share, and some that wait for a key one brings."""
    directory = SqliteDirectory(path)
    directory.admit(K.KEY, sample(K.KEY, alice()), OWN, now_ms=AT_MS)
    failures: list[BaseException] = []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        try:
            start.wait(240)
            for n in range(6):
                own = sample(K.FAMILY, alice(), 100 * number + n)
                directory.admit(K.FAMILY, own, OWN, now_ms=AT_MS)
                shared = sample(K.COMMUNITY, alice(), n)
                directory.admit(K.COMMUNITY, shared, PEER, now_ms=AT_MS)
                waiting = sample(K.COMMUNITY, bob(), 100 * number + n)
                directory.admit(K.COMMUNITY, waiting, PEER, now_ms=AT_MS)
                if (number, n) == (3, 3):
                    directory.admit(K.KEY, sample(K.KEY, bob()), PEER, now_ms=AT_MS)
                directory.digest(K.COMMUNITY)
        except BaseException as error:  # noqa: BLE001 (shown by the thread that asserts)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive()
    try:
        assert failures == []
        assert len(directory.holdings(K.FAMILY)) == 36
        assert len(directory.holdings(K.COMMUNITY)) == 6 + 36
        assert directory.pools().deferred == 0
        for kind in (K.FAMILY, K.COMMUNITY):
            assert directory.digest(kind) == digest_of(copies_held(directory, kind))
        counts = directory.outcome_counts()
        assert counts["peer", "admitted", ""] == 6 + 36 + 1
        assert counts["peer", "duplicate", ""] == 5 * 6
    finally:
        directory.close()


def test_own_records_are_forced_to_disk_and_others_are_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SqliteDirectory(path)
    asked: list[bool] = []
    transaction = directory._store.transaction

    def noting(*, durable: bool) -> Any:
        asked.append(durable)
        return transaction(durable=durable)

    monkeypatch.setattr(directory._store, "transaction", noting)
    writer = directory._store._writer  # type: ignore[attr-defined]

    def level() -> int:
        return int(writer.execute("PRAGMA synchronous").fetchone()[0])

    try:
        directory.admit(K.KEY, sample(K.KEY, alice()), OWN, now_ms=AT_MS)
        assert level() == 2
        directory.admit(K.FAMILY, sample(K.FAMILY, alice()), PEER, now_ms=AT_MS)
        assert level() == 1
        directory.admit(K.KEY, sample(K.KEY, bob()), Source("unattributed"), now_ms=AT_MS)
        directory.promote_first_contact(bob().key_id, now_ms=AT_MS)
        assert level() == 2, "whom to trust is never forgotten"
        directory.admit(K.KEY, b"{}", PEER, now_ms=AT_MS)
        assert asked == [True, False, False, True], "a refusal alone writes nothing"
    finally:
        directory.close()


def test_what_a_key_releases_is_released_even_if_the_process_died_in_between(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SqliteDirectory(path)
    directory.admit(K.FAMILY, sample(K.FAMILY, bob()), PEER, now_ms=AT_MS)
    with monkeypatch.context() as patch:
        patch.setattr(core.DirectoryCore, "_released", lambda self, placed, room: [])
        directory.admit(K.KEY, sample(K.KEY, bob()), PEER, now_ms=AT_MS)
    assert directory.holdings(K.FAMILY) == []
    directory.close()
    again = SqliteDirectory(path)
    try:
        assert [v.outcome for v in again.retry_due(AT_MS)] == [Outcome.ADMITTED]
        assert len(again.holdings(K.FAMILY)) == 1
    finally:
        again.close()


# -- reading as little as possible -----------------------------------------------------------------


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement SQLite runs on connections opened from now on."""
    seen: list[str] = []

    def traced(path: Path, *, read_only: bool) -> sqlite3.Connection:
        connection = connect(path, read_only=read_only)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr("ciris_mesh.directory.sqlite.connect", traced)
    return seen


def test_an_unchanged_digest_reads_no_table(path: Path, statements: list[str]) -> None:
    directory = SqliteDirectory(path)
    try:
        fill(directory)
        first = directory.digest(K.FAMILY)
        statements.clear()
        assert directory.digest(K.FAMILY) == first
        assert directory.generation(K.FAMILY) > 0
        assert statements == []
        raw = sample(K.FAMILY, alice(), 50)
        directory.admit(K.FAMILY, raw, PEER, now_ms=AT_MS)
        statements.clear()
        assert directory.digest(K.FAMILY).count == first.count + 1
        reads = [one for one in statements if one.startswith(("SELECT", "WITH"))]
        assert len(reads) == 1, "one row came, one bucket is read"
    finally:
        directory.close()


@pytest.mark.parametrize("ending", ["closed", "killed"])
def test_opening_takes_over_the_digests_kept(
    path: Path, statements: list[str], ending: str, tmp_path: Path
) -> None:
    directory = SqliteDirectory(path)
    fill(directory, records=40)
    whole = directory.digest(K.FAMILY)
    used = {ref.envelope_hash[0] for ref in directory.holdings(K.FAMILY)}
    more = (sample(K.FAMILY, alice(), n) for n in range(50, 500))
    last = next(raw for raw in more if parse_envelope(K.FAMILY, raw).envelope_id[0] in used)
    if ending == "killed":  # after one more record, in a bucket that nobody hashed again
        directory.admit(K.FAMILY, last, PEER, now_ms=AT_MS)
        whole = digest_of(copies_held(directory, K.FAMILY))
        copy = tmp_path / "copy.db"
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(
                path.with_name(path.name + suffix).read_bytes()
            )
        directory.close()
        path = copy
    else:
        directory.close()
    directory = SqliteDirectory(path)
    try:
        statements.clear()
        assert directory.digest(K.FAMILY) == whole
        assert len(statements) == (0 if ending == "closed" else 1)
    finally:
        directory.close()


def test_a_duplicate_is_recognised_by_point_reads_alone(path: Path, statements: list[str]) -> None:
    directory = SqliteDirectory(path)
    try:
        fill(directory)
        statements.clear()
        again = directory.admit(K.FAMILY, sample(K.FAMILY, alice()), PEER, now_ms=AT_MS)
        assert again.outcome is Outcome.DUPLICATE
        shelf, signers = statements
        assert "envelope_id IN" in shelf
        assert "envelope_id = " in signers
    finally:
        directory.close()


def test_readers_do_not_wait_for_the_writer(path: Path) -> None:
    """A long transaction elsewhere must not keep a peer from being served."""
    directory = SqliteDirectory(path)
    try:
        fill(directory)
        envelope_id = parse_envelope(K.FAMILY, sample(K.FAMILY, alice())).envelope_id
        answers: list[object] = []
        with directory._store.transaction(durable=False):
            reader = threading.Thread(
                target=lambda: answers.append(directory.get(K.FAMILY, envelope_id))
            )
            reader.start()
            reader.join(240)
            assert not reader.is_alive()
        assert answers[0] is not None
    finally:
        directory.close()


def test_file_descriptors_are_given_back(path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    filled(path)
    gc.collect()  # what another test left
    before = descriptors()
    for _ in range(3):
        filled(path)
    assert descriptors() == before
