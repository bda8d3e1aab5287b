"""Connections that read: reused, replaced when broken, refused when none comes free."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from ciris_mesh.directory import readerpool
from ciris_mesh.directory.readerpool import READERS_MAX, ReaderPool
from ciris_mesh.errors import DirectoryError, LifecycleError


class Line:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Exchange:
    """Counts the lines it opened."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.pool = ReaderPool(
            self._connect, too_slow="look at the exchange", is_broken=lambda line: line.is_closed
        )

    def _connect(self) -> Line:
        self.lines.append(Line())
        return self.lines[-1]


def test_an_idle_line_is_used_again() -> None:
    exchange = Exchange()
    for _ in range(3):
        with exchange.pool.borrow() as line:
            assert not line.is_closed
    assert len(exchange.lines) == 1


def test_a_broken_line_is_replaced() -> None:
    exchange = Exchange()
    with exchange.pool.borrow() as first:
        first.close()
    with exchange.pool.borrow() as second:
        assert second is not first


def test_a_line_whose_reader_failed_is_given_back() -> None:
    exchange = Exchange()
    for _ in range(2 * READERS_MAX):
        with pytest.raises(ZeroDivisionError), exchange.pool.borrow():
            raise ZeroDivisionError
    assert len(exchange.lines) == 1


def test_who_finds_all_busy_is_told_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readerpool, "READER_WAIT_S", 0.0)
    exchange = Exchange()
    with ExitStack() as stack:
        for _ in range(READERS_MAX):
            stack.enter_context(exchange.pool.borrow())
        with (
            pytest.raises(DirectoryError, match="look at the exchange"),
            exchange.pool.borrow(),
        ):
            pass
    assert len(exchange.lines) == READERS_MAX


def test_closing_closes_every_line_and_lends_no_more() -> None:
    exchange = Exchange()
    with exchange.pool.borrow(), exchange.pool.borrow():
        pass
    exchange.pool.close()
    assert [line.is_closed for line in exchange.lines] == [True, True]
    with pytest.raises(LifecycleError), exchange.pool.borrow():
        pass
