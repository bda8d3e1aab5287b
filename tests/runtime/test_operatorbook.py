"""The book of people: kept, bounded, private, and never a reason to start with nobody in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.runtime.operatorbook import OPERATORS_MAX, PENDING_MAX, OperatorBook
from ciris_mesh.runtime.operatorops import address_of, message_address, operator_table

KEY = "cd" * 64


def address(n: int) -> str:
    return f"{n:032x}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "operators"


def test_who_knocks_waits_and_who_is_accepted_stays(path: Path) -> None:
    book = OperatorBook(path)
    assert not book.knock(address(1), KEY, now_s=100.0).accepted
    book.accept(address(1), name="Ana")
    book.change(address(1), muted_until_s=5.0)
    again = OperatorBook(path)
    (known,) = again.people()
    assert (known.name, known.accepted, known.may_act) == ("Ana", True, False)
    assert (known.public_key, known.seen_s, known.muted_until_s) == (KEY, 100.0, 5.0)
    assert (path.stat().st_mode & 0o777) == 0o600


def test_strangers_make_room_for_each_other_and_never_for_operators(path: Path) -> None:
    book = OperatorBook(path)
    book.accept(address(9999), name="Ana")
    for n in range(PENDING_MAX + 20):
        book.knock(address(n), KEY, now_s=float(n))
    people = book.people()
    assert people[0].name == "Ana"
    assert len(people) == PENDING_MAX + 1
    assert book.get(address(0)) is None
    assert book.get(address(PENDING_MAX + 19)) is not None


def test_operators_have_a_limit(path: Path) -> None:
    book = OperatorBook(path)
    for n in range(OPERATORS_MAX):
        book.accept(address(n))
    with pytest.raises(OperatorError, match="operators already"):
        book.accept(address(OPERATORS_MAX))
    assert book.accept(address(0), may_act=True).may_act


def test_people_are_found_by_what_a_person_types(path: Path) -> None:
    book = OperatorBook(path)
    book.accept("ab" * 16, name="Ana")
    book.accept("ac" * 16, name="Ben")
    assert book.find("Ana").address == "ab" * 16
    assert book.find("acac acac").name == "Ben"
    assert book.find("<ACAC>").name == "Ben"
    with pytest.raises(OperatorError, match="could be several"):
        book.find("a")
    with pytest.raises(OperatorError, match="operator list"):
        book.find("ff")
    with pytest.raises(OperatorError):
        book.find("")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "operators": [{"address": "zz"}]}',
             '{"schema": 1, "operators": [{"address": "00", "x": 1}]}'],
)  # fmt: skip
def test_a_damaged_book_is_an_error_and_not_an_empty_book(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="damaged"):
        OperatorBook(path)
    assert path.read_text() == text


def test_a_book_others_can_read_or_of_a_newer_program(path: Path) -> None:
    path.write_text('{"schema": 2, "operators": []}')
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod"):
        OperatorBook(path)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="newer"):
        OperatorBook(path)


def test_removed_is_gone(path: Path) -> None:
    book = OperatorBook(path)
    book.accept(address(1))
    book.remove(address(1))
    assert OperatorBook(path).people() == ()
    with pytest.raises(OperatorError):
        book.remove(address(1))
    with pytest.raises(OperatorError):
        book.change(address(1), may_act=True)


@pytest.mark.parametrize(
    "text", ["ab" * 16, "<" + "AB" * 16 + ">", "abab abab " * 4, f"lxma://{'ab' * 16}:{KEY}"]
)
def test_an_address_as_apps_show_it(text: str) -> None:
    assert address_of(text) == "ab" * 16


def test_what_is_no_address() -> None:
    for text in ("", "ab", "zz" * 16, "ab" * 17):
        with pytest.raises(OperatorError, match="32 hex digits"):
            address_of(text)


def test_the_operations_never_tell_keys(path: Path) -> None:
    book = OperatorBook(path)
    book.knock(address(5), KEY, now_s=1.0)
    table = operator_table(book)
    row = table["operator_accept"]({"address": address(5)[:32], "name": "Ana"})
    assert isinstance(row, dict)
    assert row["accepted"] is True
    assert KEY not in str(table["operators"]({}))
    assert table["operator_remove"]({"address": "Ana"}) == {"removed": address(5)}


def test_an_address_follows_from_the_identity() -> None:
    """The value is what `RNS.Destination.hash` of rns 1.5.7 gives for this public key."""
    assert message_address(bytes(64)).hex() == "372a5ea07c8ca16b03103af96f267bc0"


def test_an_address_is_the_same_however_it_was_pasted() -> None:
    plain = "aa" * 16
    spaced = " ".join(plain[at : at + 4] for at in range(0, 32, 4))
    for text in (
        plain,
        plain.upper(),
        spaced,
        f"<{plain}>",
        f"{plain}\n",
        f"\t{plain[:16]}\n{plain[16:]}",
    ):
        assert address_of(text) == plain
    for text in ("", "aa", plain + "a", plain + "aa", "zz" * 16):
        with pytest.raises(OperatorError, match="no address"):
            address_of(text)
