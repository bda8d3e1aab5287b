"""Who may knock: two lists that people and commands write."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.runtime import door as door_module
from ciris_mesh.runtime.door import ALLOWED, IGNORED, Door

EVE, MAL = bytes.fromhex("e" * 32), bytes.fromhex("a" * 32)
KEY_ID = "eve-abcdefghijklmnop"


def test_without_lists_everybody_may_knock(tmp_path: Path) -> None:
    door = Door.load(tmp_path)
    assert door.refuses(EVE) == door.refuses(None) == door.refuses(EVE, KEY_ID) == ""
    assert list(tmp_path.iterdir()) == []


def test_the_ignored_are_refused_by_address_and_by_key() -> None:
    door = Door(ignored=[EVE.hex(), KEY_ID])
    assert door.refuses(EVE) == "ignored"
    assert door.refuses(MAL) == ""
    assert door.refuses(MAL, KEY_ID) == "ignored"


def test_who_is_not_among_the_allowed_is_refused_once_it_is_known() -> None:
    door = Door(allowed=[EVE.hex()])
    assert (door.refuses(EVE), door.refuses(MAL)) == ("", "not_allowed")
    assert door.refuses(EVE, KEY_ID) == ""
    by_key = Door(allowed=[KEY_ID])
    assert by_key.refuses(MAL) == "", "it may still turn out to be the one"
    assert by_key.refuses(MAL, KEY_ID) == ""
    assert by_key.refuses(MAL, "mal-abcdefghijklmnop") == "not_allowed"
    assert Door(allowed=[KEY_ID], ignored=[KEY_ID]).refuses(EVE, KEY_ID) == "ignored"


def test_changes_are_on_disk_and_read_again(tmp_path: Path) -> None:
    door = Door.load(tmp_path)
    door.put(IGNORED, EVE.hex().upper())
    door.put(IGNORED, KEY_ID)
    door.put(ALLOWED, MAL.hex())
    assert stat.S_IMODE((tmp_path / IGNORED).stat().st_mode) == 0o600
    again = Door.load(tmp_path)
    assert again.names(IGNORED) == (EVE.hex(), KEY_ID)
    again.take(IGNORED, EVE.hex())
    assert Door.load(tmp_path).names(IGNORED) == (KEY_ID,)
    assert Door.load(tmp_path).names(ALLOWED) == (MAL.hex(),)


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / IGNORED).write_text(f"# neighbours\n\n  {EVE.hex()}  # the loud one\n")
    (tmp_path / IGNORED).chmod(0o600)
    assert Door.load(tmp_path).names(IGNORED) == (EVE.hex(),)


@pytest.mark.parametrize("name", ["", "two words", "x" * 200, "\u00e9"])
def test_what_names_nobody_is_refused(tmp_path: Path, name: str) -> None:
    door = Door.load(tmp_path)
    with pytest.raises(OperatorError, match="neither an address nor a key id"):
        door.put(IGNORED, name)
    with pytest.raises(OperatorError, match="not on the list"):
        door.take(IGNORED, name)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"one two\n", "line 1"), (b"\xff\n", "no text"), (b"# fine\nx y z\n", "line 2")],
)
def test_a_damaged_list_is_an_error_and_never_an_empty_one(
    tmp_path: Path, data: bytes, says: str
) -> None:
    (tmp_path / ALLOWED).write_bytes(data)
    (tmp_path / ALLOWED).chmod(0o600)
    with pytest.raises(ConfigError, match=says):
        Door.load(tmp_path)


def test_a_list_others_can_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / ALLOWED).write_text("")
    (tmp_path / ALLOWED).chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        Door.load(tmp_path)


def test_lists_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "NAMES_MAX", 2)
    door = Door.load(tmp_path)
    for name in ("a", "b"):
        door.put(IGNORED, name)
    with pytest.raises(OperatorError, match="2 names already"):
        door.put(IGNORED, "c")
    (tmp_path / IGNORED).write_text("a\nb\nc\n")
    with pytest.raises(ConfigError, match="3 names"):
        Door.load(tmp_path)


def test_a_failed_write_leaves_the_list_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door.load(tmp_path)

    def full_disk(*_args: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(door_module, "write_atomic", full_disk)
    with pytest.raises(ConfigError, match="No space left"):
        door.put(IGNORED, "a")
    assert door.names(IGNORED) == ()
