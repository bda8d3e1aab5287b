"""The five words: a fixed list, far apart by ear, and one answer for one node for ever."""

from __future__ import annotations

import hashlib
import itertools

from ciris_mesh.runtime.words import WORD_LIST, words

FINGERPRINT = bytes(range(32))
ADDRESS = bytes(range(16))


def distance(one: str, two: str) -> int:
    """Letters to add, drop or change to get from one to the other."""
    row = list(range(len(two) + 1))
    for i, left in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, right in enumerate(two, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (left != right))
    return row[-1]


def test_the_list_is_pinned() -> None:
    """A changed word would make two people disagree about a node that is the right one."""
    digest = hashlib.sha256(" ".join(WORD_LIST).encode()).hexdigest()
    assert digest[:16] == "849d6d7d22c498c4"


def test_one_word_for_each_byte() -> None:
    assert len(WORD_LIST) == len(set(WORD_LIST)) == 256
    assert list(WORD_LIST) == sorted(WORD_LIST)


def test_words_are_short_and_lowercase() -> None:
    for word in WORD_LIST:
        assert word.isascii()
        assert word.isalpha()
        assert word.islower()
        assert 4 <= len(word) <= 7


def test_no_two_words_are_mistaken_for_each_other() -> None:
    assert len({word[:4] for word in WORD_LIST}) == 256
    close = [
        (one, two) for one, two in itertools.combinations(WORD_LIST, 2) if distance(one, two) < 3
    ]
    assert close == []


def test_the_words_of_a_node_are_pinned() -> None:
    """Golden value: two versions of this program must say the same words."""
    assert words(FINGERPRINT, ADDRESS) == ("tulip", "ivory", "vacuum", "cinema", "drawer")


def test_another_key_or_address_has_other_words() -> None:
    mine = words(FINGERPRINT, ADDRESS)
    assert words(FINGERPRINT[:-1] + b"\xff", ADDRESS) != mine
    assert words(FINGERPRINT, ADDRESS[:-1] + b"\xff") != mine
    assert words(FINGERPRINT, ADDRESS) == mine
