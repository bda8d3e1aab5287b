"""Nine lines on paper: read back whatever they look like, and wrong nowhere unnoticed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import BackupError, KeyFileError
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.paper import LINES, PaperKey, paper_key, paper_lines, read_line

PAPER = PaperKey(FederationSeeds("field-3", bytes(range(32)), bytes(range(100, 132))), bytes(64))
KEY_ID = PAPER.seeds.key().key_id


def decoded(lines: tuple[str, ...]) -> list[bytes]:
    return [read_line(number, line) for number, line in enumerate(lines, 1)]


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64))
def test_what_is_written_down_comes_back(identity: bytes, seeds: bytes) -> None:
    paper = PaperKey(FederationSeeds("a", seeds[:32], seeds[32:]), identity)
    lines = paper_lines(paper)
    assert len(lines) == LINES == 9
    assert all(len(line) <= 31 for line in lines)
    assert b"".join(decoded(lines)) == identity + seeds


def test_the_lines_are_as_they_were() -> None:
    """Papers are read in ten years."""
    assert paper_lines(PAPER)[0] == "000000 000000 000000 000000 T0"
    assert paper_lines(PAPER)[4] == "000000 000410 61050R 3GG28A DZ"
    assert paper_lines(PAPER)[8] == "FHYQWZ W0G618 6 24"
    assert paper_key("field-3", decoded(paper_lines(PAPER)), KEY_ID) == PAPER


def test_how_a_person_writes_does_not_matter() -> None:
    line = paper_lines(PAPER)[4]
    sloppy = f"  {line.lower().replace(' ', '-').replace('0', 'o').replace('1', 'l')} "
    assert read_line(5, sloppy) == read_line(5, line)


def wrong_letters(number: int, line: str) -> Iterator[str]:
    for place, letter in enumerate(line):
        if letter != " ":
            yield line[:place] + ("2" if letter != "2" else "3") + line[place + 1 :]


def is_found(number: int, line: str) -> bool:
    try:
        read_line(number, line)
    except BackupError as error:
        return f"line {number} has a wrong letter" in str(error)
    return False


def test_one_wrong_letter_is_found_in_its_line() -> None:
    tried = [
        is_found(number, wrong)
        for number, line in enumerate(paper_lines(PAPER), 1)
        for wrong in wrong_letters(number, line)
    ]
    assert len(tried) == 8 * 26 + 15
    # Two letters of a checksum let one slip in a thousand through; the key id finds it then.
    assert tried.count(False) <= 1


def test_lines_in_another_order_are_found() -> None:
    lines = paper_lines(PAPER)
    with pytest.raises(BackupError, match="line 5 has a wrong letter"):
        read_line(5, lines[5])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 letters, not 26"),
        ("000000 000000", "has 12 letters, not 26"),
        ("U" * 26, "'U', which is never written"),
        ("é", "never written"),
    ],
)
def test_what_is_no_line_says_why(text: str, words: str) -> None:
    with pytest.raises(BackupError, match=words):
        read_line(1, text)


def test_a_line_with_spare_bits_set_is_refused() -> None:
    with pytest.raises(BackupError, match="wrong letter"):
        read_line(9, "FHYQWZ W0G618 7 24")


def test_lines_of_two_papers_are_found_by_the_key_id() -> None:
    other = PaperKey(FederationSeeds("field-3", bytes(32), bytes(range(100, 132))), bytes(64))
    mixed = decoded((*paper_lines(other)[:6], *paper_lines(PAPER)[6:]))
    with pytest.raises(BackupError, match="together they are not the key"):
        paper_key("field-3", mixed, KEY_ID)


def test_too_few_lines_and_no_name() -> None:
    lines = decoded(paper_lines(PAPER))
    with pytest.raises(BackupError, match="9 lines are needed, 8 are here"):
        paper_key("field-3", lines[:8], KEY_ID)
    with pytest.raises(KeyFileError):
        paper_key("no name", lines, KEY_ID)


def test_no_secret_shows_in_a_repr() -> None:
    assert "\\x" not in repr(PAPER)
    assert repr(PAPER).count("=") == 2
