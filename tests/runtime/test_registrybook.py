"""Registry nodes pinned by command: what is kept, what is refused, what a damaged file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.runtime.config import parse_config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.httpsettings import registry_settings
from ciris_mesh.runtime.registrybook import PinnedRegistry, RegistryBook, all_pins
from ciris_mesh.runtime.registrypins import REGISTRIES_MAX, RegistryPin

EU, US = RegistryPin("registry-eu", b"\x11" * 32, "row"), RegistryPin("registry-us", b"\x22" * 32)
OTHER = RegistryPin("registry-eu", b"\x33" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registries"


def book(path: Path, *pins: RegistryPin) -> RegistryBook:
    made = RegistryBook.load(path)
    for pin in pins:
        made.add(PinnedRegistry(pin, added_at_ms=7))
    return made


def test_what_is_pinned_is_read_again(path: Path) -> None:
    assert RegistryBook.load(path).pinned() == ()
    book(path, US, EU)
    assert [each.pin for each in RegistryBook.load(path).pinned()] == [EU, US]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_again_takes_over_the_basis_and_stays_what_it_was(path: Path) -> None:
    made = book(path)
    made.add(PinnedRegistry(RegistryPin(EU.key_id, EU.ed25519), bootstrap=True, added_at_ms=7))
    assert made.add(PinnedRegistry(EU, added_at_ms=9)) == PinnedRegistry(EU, True, 7)


def test_another_key_takes_no_place_silently(path: Path) -> None:
    made = book(path, EU)
    with pytest.raises(OperatorError, match="with another key"):
        made.add(PinnedRegistry(OTHER))
    assert [each.pin for each in RegistryBook.load(path).pinned()] == [EU]


def test_a_bootstrap_registry_is_not_removed_by_accident(path: Path) -> None:
    made = book(path, US)
    made.add(PinnedRegistry(EU, bootstrap=True))
    with pytest.raises(OperatorError, match="--even-bootstrap"):
        made.remove(EU.key_id)
    assert made.remove(EU.key_id, even_bootstrap=True).pin == EU
    assert made.remove(US.key_id).pin == US
    with pytest.raises(OperatorError, match="no registry"):
        made.remove(US.key_id)
    assert RegistryBook.load(path).pinned() == ()


def test_configuration_and_book_go_together(path: Path) -> None:
    book(path, US)
    assert all_pins((EU,), path) == (EU, US)
    assert all_pins((EU, US), path) == (EU, US)
    configured = RegistryBook.load(path, (EU,))
    with pytest.raises(ConfigError, match="different keys for registry-eu"):
        configured.add(PinnedRegistry(OTHER))
    assert [each.pin for each in RegistryBook.load(path).pinned()] == [US]
    book(path, OTHER)
    with pytest.raises(ConfigError, match="different keys for registry-eu"):
        all_pins((EU,), path)


def test_there_are_no_more_than_a_node_has_links_for(path: Path) -> None:
    pins = [RegistryPin(f"registry-{n}", bytes([n]) * 32) for n in range(REGISTRIES_MAX)]
    made = RegistryBook.load(path, pins[:1])
    for pin in pins[1:]:
        made.add(PinnedRegistry(pin))
    with pytest.raises(ConfigError, match=f"{REGISTRIES_MAX} are allowed"):
        made.add(PinnedRegistry(EU))


GOOD = {"key_id": "r", "ed25519": "11" * 32, "basis": "", "bootstrap": False, "added_at_ms": 0}


NO_ROWS: tuple[object, ...] = (
    {}, [1], [{}], [GOOD | {"more": 1}], [GOOD | {"ed25519": "11"}],
    [GOOD | {"ed25519": "zz" * 32}], [GOOD | {"basis": "both"}], [GOOD | {"key_id": "a b"}],
    [GOOD | {"bootstrap": 1}], [GOOD | {"added_at_ms": True}], [GOOD, GOOD],
    [GOOD] * (REGISTRIES_MAX + 1),
)  # fmt: skip
NO_BOOKS = (
    "", "{", "[]", '{"schema": 1}', '{"schema": 0, "registries": []}',
    *(json.dumps({"schema": 1, "registries": rows}) for rows in NO_ROWS),
)  # fmt: skip


@pytest.mark.parametrize("text", NO_BOOKS)
def test_a_damaged_book_is_an_error_and_never_an_empty_one(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is damaged"):
        RegistryBook.load(path)


def test_a_sound_one_is_read_and_a_newer_one_says_so(path: Path) -> None:
    books: list[tuple[int, list[object]]] = [(1, [GOOD]), (2, [])]
    for schema, rows in books:
        path.write_text(json.dumps({"schema": schema, "registries": rows}))
        path.chmod(0o600)
        if schema == 1:
            assert RegistryBook.load(path).pinned()[0].pin.key_id == "r"
        else:
            with pytest.raises(ConfigError, match="newer ciris-mesh"):
                RegistryBook.load(path)


def test_a_book_that_others_can_change_is_refused(path: Path) -> None:
    book(path, EU)
    path.chmod(0o666)
    with pytest.raises(ConfigError):
        RegistryBook.load(path)


def test_the_node_is_told_of_both(tmp_path: Path) -> None:
    home = Home(tmp_path)
    RegistryBook.load(home.registries).add(PinnedRegistry(US))
    config = parse_config(f"[trust]\nregistries = registry-eu {'11' * 32} row".encode())
    peers = registry_settings(config, home).peers
    assert {each.key_id: each.ed25519 for each in peers} == {
        "registry-eu": b"\x11" * 32,
        "registry-us": b"\x22" * 32,
    }
