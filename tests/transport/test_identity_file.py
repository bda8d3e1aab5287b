"""The identity file: made once, kept, and refused with a line that says what to do."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from ciris_mesh.errors import KeyFileError
from ciris_mesh.transport.identity import (
    IDENTITY_FILE_BYTES,
    load_identity,
    load_or_create_identity,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity"


def test_an_identity_is_made_once_and_kept(path: Path) -> None:
    made = load_or_create_identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == IDENTITY_FILE_BYTES
    assert load_or_create_identity(path).hash == made.hash
    assert load_identity(path).get_public_key() == made.get_public_key()


def test_nothing_else_is_left_in_the_directory(path: Path) -> None:
    load_or_create_identity(path)
    assert [each.name for each in path.parent.iterdir()] == ["identity"]


def test_two_at_once_agree_on_one_identity(path: Path) -> None:
    start = threading.Barrier(4)
    hashes: list[bytes] = []

    def load() -> None:
        start.wait(240)
        hashes.append(load_or_create_identity(path).hash)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert len(hashes) == 4
    assert set(hashes) == {load_identity(path).hash}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_others_can_read_is_refused(path: Path, mode: int) -> None:
    load_or_create_identity(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"chmod 600"):
        load_or_create_identity(path)


@pytest.mark.parametrize("size", [0, 32, 63, 65, 4096])
def test_a_damaged_file_is_refused_and_left_alone(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="damaged"):
        load_or_create_identity(path)
    assert path.stat().st_size == size


def test_a_missing_file_is_an_error_when_none_may_be_made(path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot read"):
        load_identity(path)


def test_a_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(KeyFileError):
        load_or_create_identity(path)


def test_a_missing_directory_is_refused_with_its_name(path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot write"):
        load_or_create_identity(path / "deeper" / "identity")


def test_messages_are_one_line_and_hold_no_key(path: Path) -> None:
    identity = load_or_create_identity(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError) as caught:
        load_identity(path)
    assert "\n" not in str(caught.value)
    assert identity.get_private_key().hex() not in str(caught.value)
