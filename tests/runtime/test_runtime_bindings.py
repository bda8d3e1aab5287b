"""Verified bindings outlive the process; an epoch once seen is not forgotten for a flood."""

from __future__ import annotations

import hashlib
import logging
from itertools import permutations
from pathlib import Path

import pytest

from ciris_mesh.records.binding import Binding, sign_binding
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.runtime import bindings
from ciris_mesh.runtime.bindings import BindingStore, address_of
from ciris_mesh.transport.base import Address
from support.keys import alice, bob, carol, steward

EXPIRY_S = 2_000_000_000


def public_key(n: int) -> bytes:
    return bytes([n]) * 64


def bound(key: FederationKey, n: int = 1, epoch: int = 1) -> tuple[Address, Binding]:
    return address_of(public_key(n)), sign_binding(key, public_key(n), epoch, EXPIRY_S)


def test_an_address_is_reticulums_identity_hash() -> None:
    assert address_of(public_key(7)) == hashlib.sha256(public_key(7)).digest()[:16]


def test_what_was_put_is_found_and_nothing_else() -> None:
    store = BindingStore()
    address, binding = bound(alice(), epoch=5)
    store.put(address, binding)
    assert store.get(address) == binding
    assert store.get(address_of(public_key(2))) is None
    assert (store.epoch(alice().key_id), store.epoch(bob().key_id)) == (5, -1)


def test_a_newer_binding_of_a_key_replaces_the_one_at_its_old_address(tmp_path: Path) -> None:
    store = BindingStore(tmp_path)
    old, new = bound(alice(), 1, epoch=1), bound(alice(), 2, epoch=2)
    store.put(*old)
    store.put(*new)
    assert store.get(old[0]) is None
    assert store.get(new[0]) == new[1]
    assert store.epoch(alice().key_id) == 2
    assert [path.name for path in tmp_path.iterdir()] == [new[0].hex()]


def test_another_key_at_the_same_address_replaces_the_first() -> None:
    store = BindingStore()
    store.put(*bound(alice(), 1, epoch=9))
    address, binding = bound(bob(), 1)
    store.put(address, binding)
    assert store.get(address) == binding
    assert store.epoch(alice().key_id) == -1


def test_bindings_and_epochs_survive_a_restart(tmp_path: Path) -> None:
    store = BindingStore(tmp_path / "bindings")
    both = [bound(alice(), 1, epoch=3), bound(bob(), 2, epoch=4)]
    for address, binding in both:
        store.put(address, binding)
    again = BindingStore(tmp_path / "bindings")
    for address, binding in both:
        assert again.get(address) == binding
        assert again.epoch(binding.key_id) == binding.epoch


@pytest.mark.parametrize("epochs", list(permutations((7, 8, 9))))
def test_the_higher_epoch_wins_when_a_crash_left_two(
    tmp_path: Path, epochs: tuple[int, ...]
) -> None:
    """Whatever the files' names are; the others leave the disk, so no later start finds them."""
    for n, epoch in enumerate(epochs, start=1):
        address, binding = bound(alice(), n, epoch)
        (tmp_path / address.hex()).write_bytes(binding.encode())
    newest = address_of(public_key(epochs.index(9) + 1))
    for _ in range(2):
        store = BindingStore(tmp_path)
        assert store.epoch(alice().key_id) == 9
        assert [path.name for path in tmp_path.iterdir()] == [newest.hex()]
        assert [store.get(address_of(public_key(n))) is None for n in (1, 2, 3)].count(False) == 1
        assert store.get(newest) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, data: path.write_bytes(data[:-1]),
        lambda path, data: path.write_bytes(b""),
        lambda path, data: path.write_bytes(data + bytes(8000)),
        lambda path, data: path.rename(path.with_name("00" * 16)),
        lambda path, data: path.rename(path.with_name("notes.txt")),
        lambda path, data: path.chmod(0o666),
    ],
    ids=["cut", "empty", "too long", "of another address", "no address", "others can write"],
)
def test_a_damaged_file_is_left_out_and_the_others_count(
    tmp_path: Path, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    store = BindingStore(tmp_path)
    store.put(*bound(alice(), 1))
    store.put(*bound(bob(), 2))
    path = tmp_path / address_of(public_key(1)).hex()
    assert callable(spoil)
    spoil(path, path.read_bytes())
    with caplog.at_level(logging.WARNING):
        again = BindingStore(tmp_path)
    assert again.epoch(alice().key_id) == -1
    assert again.epoch(bob().key_id) == 1
    assert "binding.damaged" in caplog.text


def test_a_disk_that_says_no_costs_a_fetch_and_not_the_peer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "bindings"
    store = BindingStore(folder)
    folder.rmdir()
    address, binding = bound(alice())
    store.put(address, binding)
    assert store.get(address) == binding
    assert "binding.not_kept" in caplog.text


def test_strangers_make_room_first_and_a_peers_epoch_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a flood of strangers would let an old binding of a peer come back."""
    monkeypatch.setattr(bindings, "BINDINGS_MAX", 2)
    store = BindingStore(tmp_path)
    keep = frozenset({alice().key_id})
    store.put(*bound(alice(), 1, epoch=7), keep=keep)
    for n, stranger in enumerate((bob(), carol(), steward()), 2):
        store.put(*bound(stranger, n), keep=keep)
        assert store.epoch(alice().key_id) == 7
        assert len(list(tmp_path.iterdir())) == 2
    assert store.epoch(steward().key_id) == 1
    assert store.epoch(carol().key_id) == -1


def test_when_all_are_peers_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "BINDINGS_MAX", 1)
    store = BindingStore()
    keep = frozenset({alice().key_id, bob().key_id})
    store.put(*bound(alice(), 1), keep=keep)
    store.put(*bound(bob(), 2), keep=keep)
    assert (store.epoch(alice().key_id), store.epoch(bob().key_id)) == (-1, 1)


def test_renewing_a_binding_makes_nobody_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "BINDINGS_MAX", 2)
    store = BindingStore()
    store.put(*bound(alice(), 1))
    store.put(*bound(bob(), 2))
    store.put(*bound(bob(), 2, epoch=2))
    store.put(*bound(bob(), 3, epoch=3))
    assert (store.epoch(alice().key_id), store.epoch(bob().key_id)) == (1, 3)
