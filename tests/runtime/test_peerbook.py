"""The peer book: what was added is there after a crash, and no name leads to two keys."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import peerbook
from ciris_mesh.runtime.direction import Direction
from ciris_mesh.runtime.keyids import suffix
from ciris_mesh.runtime.peerbook import Peer, PeerBook


def peer(name: str, number: int, **more: Any) -> Peer:
    fingerprint = bytes([number]) * 32
    return Peer(f"{name}-{suffix(fingerprint)}", fingerprint, bytes([number]) * 16, **more)


ALICE = peer("alice", 1, alias="home", added_at_ms=17)
BOB = peer("bob", 2, kinds=frozenset({EnvelopeKind.KEY, EnvelopeKind.REVOCATION}))
REGISTRY = Peer("registry-eu", bytes(32), bytes(16))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peers"


def full(path: Path) -> PeerBook:
    book = PeerBook.load(path)
    for each in (ALICE, BOB, REGISTRY):
        book.add(each)
    return book


def test_no_file_is_an_empty_book_and_reading_makes_none(path: Path) -> None:
    assert PeerBook.load(path).peers() == ()
    assert not path.exists()


def test_peers_survive_a_restart_in_order(path: Path) -> None:
    full(path)
    assert PeerBook.load(path).peers() == (ALICE, BOB, REGISTRY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


peers = st.builds(
    lambda name, fingerprint, address, *more: Peer(
        f"{name}-{suffix(fingerprint)}", fingerprint, address, *more
    ),
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.text(st.characters(categories=("L", "N")), max_size=64),
    st.frozensets(st.sampled_from(EnvelopeKind)),
    st.integers(0, 2**53),
    st.sampled_from(Direction),
    st.text(st.characters(categories=("L", "N", "P")), max_size=500),
    st.booleans(),
)


@given(st.lists(peers, max_size=5, unique_by=(lambda p: p.key_id, lambda p: p.address)))
def test_every_book_round_trips(tmp_path_factory: pytest.TempPathFactory, rows: list[Peer]) -> None:
    path = tmp_path_factory.mktemp("book") / "peers"
    book = PeerBook.load(path)
    for row in rows:
        try:
            book.add(row)
        except OperatorError:
            assert len({other.alias for other in rows}) < len(rows)  # only an alias can clash
    assert PeerBook.load(path).peers() == book.peers()


def test_adding_the_same_peer_again_changes_nothing(path: Path) -> None:
    book = full(path)
    before = path.stat().st_ino
    assert book.add(ALICE) == ALICE
    assert path.stat().st_ino == before


def test_a_known_peer_may_move_and_keeps_its_alias_and_kinds(path: Path) -> None:
    book = full(path)
    moved = Peer(ALICE.key_id, ALICE.fingerprint, b"\x99" * 16)
    assert book.add(moved).address == b"\x99" * 16
    found = PeerBook.load(path).get(ALICE.key_id)
    assert found is not None
    assert (found.alias, found.added_at_ms, found.address) == ("home", 17, b"\x99" * 16)
    renamed = Peer(BOB.key_id, BOB.fingerprint, BOB.address, alias="ship")
    assert book.add(renamed).kinds == BOB.kinds


def test_another_key_for_a_known_id_is_refused(path: Path) -> None:
    book = full(path)
    with pytest.raises(OperatorError, match="another key; compare the words"):
        book.add(Peer("registry-eu", b"\x07" * 32, REGISTRY.address))
    assert PeerBook.load(path).get("registry-eu") == REGISTRY


def test_two_peers_never_share_an_address(path: Path) -> None:
    book = full(path)
    with pytest.raises(OperatorError, match="address belongs to the peer home"):
        book.add(Peer("registry-us", b"\x08" * 32, ALICE.address))
    with pytest.raises(OperatorError, match="address belongs"):
        book.add(Peer(BOB.key_id, BOB.fingerprint, ALICE.address))
    assert book.peers() == (ALICE, BOB, REGISTRY)


@pytest.mark.parametrize("alias", ["home", ALICE.key_id])
def test_no_name_leads_to_two_peers(path: Path, alias: str) -> None:
    book = full(path)
    with pytest.raises(OperatorError, match="belongs to the peer"):
        book.change(BOB.key_id, alias=alias)
    with pytest.raises(OperatorError, match="belongs to the peer"):
        book.add(peer("carol", 3, alias=alias))
    assert book.get(BOB.key_id) == BOB


def test_an_id_that_is_an_alias_here_is_refused(path: Path) -> None:
    book = full(path)
    with pytest.raises(OperatorError, match="'home' belongs"):
        book.add(Peer("home", b"\x08" * 32, b"\x08" * 16))


def test_aliases_can_be_set_and_taken_away(path: Path) -> None:
    book = full(path)
    assert book.change(BOB.key_id, alias="ship").name == "ship"
    assert book.find("ship").key_id == BOB.key_id
    assert PeerBook.load(path).find("ship").key_id == BOB.key_id
    assert book.change(BOB.key_id, alias="").name == BOB.key_id
    with pytest.raises(OperatorError, match="no peer has"):
        book.change("nobody", alias="x")


def test_what_is_decided_about_a_peer_is_kept_apart_from_who_it_is(path: Path) -> None:
    book = full(path)
    changed = book.change(BOB.key_id, direction=Direction.SEND, note="on the roof", bootstrap=True)
    assert PeerBook.load(path).get(BOB.key_id) == changed
    assert (changed.key_id, changed.fingerprint) == (BOB.key_id, BOB.fingerprint)
    again = book.add(Peer(BOB.key_id, BOB.fingerprint, b"\x55" * 16))
    assert again == replace(changed, address=b"\x55" * 16)
    with pytest.raises(AssertionError, match="from invites alone"):
        book.change(BOB.key_id, address=bytes(16))


def test_a_bootstrap_peer_is_not_removed_by_accident(path: Path) -> None:
    book = full(path)
    book.change(ALICE.key_id, bootstrap=True)
    with pytest.raises(OperatorError, match=r"home is a bootstrap peer.*--even-bootstrap"):
        book.remove(ALICE.key_id)
    assert book.get(ALICE.key_id) is not None
    assert book.remove(ALICE.key_id, even_bootstrap=True).key_id == ALICE.key_id


def test_a_book_of_the_first_schema_is_read_and_written_anew(path: Path) -> None:
    row = {
        "key_id": ALICE.key_id,
        "fingerprint": ALICE.fingerprint.hex(),
        "address": ALICE.address.hex(),
        "alias": "home",
        "kinds": "all",
        "added_at_ms": 17,
    }
    path.write_text(json.dumps({"schema": 1, "peers": [row]}))
    path.chmod(0o600)
    book = PeerBook.load(path)
    assert book.peers() == (ALICE,)
    book.add(BOB)
    assert json.loads(path.read_text())["schema"] == 2
    assert PeerBook.load(path).peers() == (ALICE, BOB)


def test_removed_peers_are_gone(path: Path) -> None:
    book = full(path)
    assert book.remove(ALICE.key_id) == ALICE
    assert PeerBook.load(path).peers() == (BOB, REGISTRY)
    with pytest.raises(OperatorError, match="no peer has"):
        book.remove(ALICE.key_id)


def test_a_peer_is_found_as_a_person_names_it(path: Path) -> None:
    book = full(path)
    for text in ("home", ALICE.key_id, "alice", "ali", "01" * 16, "0101", "ALICE"):
        assert book.find(text) == ALICE
    assert book.by_address(BOB.address) == BOB
    assert book.by_address(b"\xee" * 16) is None
    for text in ("", "zed", "home "):
        with pytest.raises(OperatorError, match="no peer is called"):
            book.find(text)


def test_a_name_for_several_peers_lists_them(path: Path) -> None:
    book = full(path)
    book.add(peer("bobby", 5))
    with pytest.raises(OperatorError, match=r"could be bob-.*, bobby-.*write more"):
        book.find("bob")
    assert book.find(BOB.key_id) == BOB


def test_the_book_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = full(path)
    monkeypatch.setattr(peerbook, "PEERS_MAX", 3)
    with pytest.raises(OperatorError, match="3 peers already"):
        book.add(peer("carol", 3))
    assert book.add(ALICE) == ALICE  # a known one needs no room
    monkeypatch.setattr(peerbook, "PEERS_MAX", 2)
    with pytest.raises(ConfigError, match="damaged"):
        PeerBook.load(path)


@pytest.mark.parametrize(
    ("key_id", "fingerprint", "address", "alias"),
    [
        ("", bytes(32), bytes(16), ""),
        ("a b", bytes(32), bytes(16), ""),
        ("r", bytes(31), bytes(16), ""),
        ("r", bytes(32), bytes(15), ""),
        ("r", bytes(32), bytes(16), "x" * 65),
        ("r", bytes(32), bytes(16), "two\nlines"),
        ("r", bytes(32), bytes(16), "\x1b[31m"),
        ("r", bytes(32), bytes(16), " x"),
        (ALICE.key_id, bytes(32), bytes(16), ""),
    ],
)
def test_what_no_peer_can_be_is_refused(
    key_id: str, fingerprint: bytes, address: bytes, alias: str
) -> None:
    with pytest.raises(OperatorError) as caught:
        Peer(key_id, fingerprint, address, alias)
    assert "\n" not in str(caught.value)


def damaged_books() -> list[bytes]:
    good = {
        "key_id": "r",
        "fingerprint": "00" * 32,
        "address": "00" * 16,
        "alias": "",
        "kinds": "all",
        "added_at_ms": 0,
    }
    newer = {**good, "direction": "both", "note": "", "bootstrap": False}
    new_rows: list[Any] = [
        good,
        {**newer, "direction": "up"},
        {**newer, "direction": None},
        {**newer, "note": 5},
        {**newer, "note": "two\nlines"},
        {**newer, "bootstrap": "no"},
        {**newer, "bootstrap": 1},
        {**newer, "more": 1},
    ]
    rows: list[Any] = [
        newer,
        {**good, "fingerprint": "00"},
        {**good, "address": "zz" * 16},
        {**good, "kinds": ["no_kind"]},
        {**good, "kinds": "some"},
        {**good, "kinds": [[]]},
        {**good, "alias": ["x"]},
        {**good, "alias": 5},
        {**good, "key_id": None},
        {**good, "added_at_ms": "0"},
        {**good, "more": 1},
        {key: good[key] for key in good if key != "alias"},
        [],
        5,
    ]
    books: list[Any] = [{"schema": 1, "peers": [row]} for row in rows]
    books += [{"schema": 2, "peers": [row]} for row in new_rows]
    books += [{"schema": 1, "peers": [good, good]}, {"schema": 1}, {"schema": 1, "peers": {}}]
    books += [{"peers": []}, [], 5, None, {"schema": "1", "peers": []}, {"schema": 0, "peers": []}]
    return [json.dumps(book).encode() for book in books] + [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"schema": 1, "peers": [good]}).encode()[:-2],
    ]


@pytest.mark.parametrize("data", damaged_books())
def test_a_damaged_book_is_an_error_and_never_an_empty_book(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"is damaged; restore it") as caught:
        PeerBook.load(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == data


def test_a_newer_book_asks_for_an_upgrade(path: Path) -> None:
    path.write_text('{"schema": 3, "people": []}')
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="newer ciris-mesh"):
        PeerBook.load(path)


def test_a_book_others_can_change_is_refused(path: Path) -> None:
    full(path)
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        PeerBook.load(path)


def test_an_oversized_or_unreadable_book_is_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(path)
    monkeypatch.setattr(peerbook, "BOOK_BYTES_MAX", 10)
    with pytest.raises(ConfigError, match="longer than 10"):
        PeerBook.load(path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="cannot read"):
        PeerBook.load(path)


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_failed_write_changes_neither_file_nor_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    book = full(path)
    before = path.read_bytes()

    def full_disk(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(ConfigError, match=r"cannot write .*No space left"):
        book.remove(ALICE.key_id)
    monkeypatch.undo()
    assert book.get(ALICE.key_id) == ALICE
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["peers"]


def test_changes_from_many_threads_are_all_kept(path: Path) -> None:
    book = PeerBook.load(path)
    each = [peer(f"n{number}", number) for number in range(40)]
    threads = [
        threading.Thread(target=lambda part=part: [book.add(one) for one in part])
        for part in (each[:10], each[10:20], each[20:30], each[30:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert set(PeerBook.load(path).peers()) == set(each)
