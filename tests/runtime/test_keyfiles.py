"""federation.key: copied right or refused, never overwritten, never spoken of."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import KeyFileError
from ciris_mesh.runtime.keyfiles import (
    FederationSeeds,
    create_key_file,
    parse_key_file,
    read_key_file,
    render_key_file,
)

SEEDS = FederationSeeds("field-3", bytes(range(32)), bytes(range(100, 132)))
TEXT = render_key_file(SEEDS)

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
seeds = st.builds(
    FederationSeeds,
    names,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


def spellings(secret: bytes) -> list[str]:
    return [base64.b64encode(secret).decode()[:-2], secret.hex(), repr(secret)[2:-1]]


def assert_silent(text: str) -> None:
    for secret in (SEEDS.ed25519, SEEDS.mldsa65):
        for spelling in spellings(secret):
            assert spelling not in text
            assert spelling[:12] not in text


@given(seeds)
def test_what_is_written_is_what_is_read(value: FederationSeeds) -> None:
    assert parse_key_file(render_key_file(value)) == value


def test_the_file_is_pinned() -> None:
    """Golden text: files like this are on nodes and in people's backups."""
    assert TEXT.decode() == (
        "ciris-mesh federation key 1\n"
        "name = field-3\n"
        "ed25519 = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        "mldsa65 = ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=\n"
        "checksum = f79e970159f69862\n"
    )


def test_two_nodes_never_draw_the_same_seeds() -> None:
    one, two = FederationSeeds.generate("n"), FederationSeeds.generate("n")
    assert len({one.ed25519, one.mldsa65, two.ed25519, two.mldsa65}) == 4


def test_the_seeds_make_the_key_with_that_name() -> None:
    key = SEEDS.key()
    assert key.key_id.startswith("field-3-")
    assert SEEDS.key().public == key.public


@pytest.mark.parametrize("position", range(len(TEXT)))
def test_no_altered_character_goes_unnoticed(position: int) -> None:
    """A change is refused, or it is one of blanks and changes nothing."""
    for other in b"Ax7= \n-":
        if other == TEXT[position]:
            continue
        altered = TEXT[:position] + bytes([other]) + TEXT[position + 1 :]
        try:
            assert parse_key_file(altered) == SEEDS
        except KeyFileError as error:
            assert_silent(str(error))
            continue
        assert bytes([TEXT[position]]).isspace()


@pytest.mark.parametrize("length", range(len(TEXT) - 1))
def test_no_cut_goes_unnoticed(length: int) -> None:
    with pytest.raises(KeyFileError) as caught:
        parse_key_file(TEXT[:length])
    assert_silent(str(caught.value))


def test_a_copy_with_other_line_ends_still_works() -> None:
    assert parse_key_file(TEXT.replace(b"\n", b"\r\n")) == SEEDS
    assert parse_key_file(TEXT + b"\n\n") == SEEDS
    assert parse_key_file(TEXT.rstrip(b"\n")) == SEEDS


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: TEXT[:60] + tail))
def test_hostile_bytes_raise_only_key_file_error(data: bytes) -> None:
    with pytest.raises(KeyFileError) as caught:
        parse_key_file(data)
    assert "\n" not in str(caught.value)


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(KeyFileError, match=r"format '2'.*upgrade"):
        parse_key_file(TEXT.replace(b"key 1", b"key 2", 1))


@pytest.mark.parametrize("name", ["", "Field", "a b", "-a", "x" * 33, "a\n", "\u00fc"])
def test_a_bad_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(KeyFileError, match="1 to 32 of a-z") as caught:
        FederationSeeds.generate(name)
    assert "\n" not in str(caught.value)


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(KeyFileError, match="32 bytes"):
        FederationSeeds("n", b"short", bytes(32))


def test_no_text_shows_a_seed() -> None:
    assert repr(SEEDS) == "FederationSeeds(name='field-3')"
    assert_silent(repr(SEEDS) + str(SEEDS) + f"{SEEDS}")


def test_a_new_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "federation.key"
    create_key_file(path, SEEDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == SEEDS
    assert os.listdir(tmp_path) == ["federation.key"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "federation.key"
    create_key_file(path, SEEDS)
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key_file(path, FederationSeeds.generate("other"))
    assert read_key_file(path) == SEEDS


def test_a_full_disk_leaves_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        create_key_file(tmp_path / "federation.key", SEEDS)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_lies_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "federation.key"
    link = os.link

    def rot(source: Path, target: Path) -> None:
        Path(source).write_bytes(TEXT.replace(b"field-3", b"field-4"))
        link(source, target)

    monkeypatch.setattr(os, "link", rot)
    with pytest.raises(KeyFileError, match="altered"):
        create_key_file(path, SEEDS)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_others_can_read_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "federation.key"
    create_key_file(path, SEEDS)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod go= {path}"):
        read_key_file(path)


def test_missing_oversized_and_unreadable_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="is missing; restore it"):
        read_key_file(tmp_path / "none")
    big = tmp_path / "big"
    big.write_bytes(TEXT * 100)
    big.chmod(0o600)
    with pytest.raises(KeyFileError, match="longer than"):
        read_key_file(big)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="cannot read"):
        read_key_file(folder)
