"""A bar appears when work takes long, on a terminal, and leaves nothing behind."""

from __future__ import annotations

import io

from rich.console import Console

from ciris_mesh.ui.progress import APPEARS_AFTER_S, bar


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def drawn(*, terminal: bool, waited_s: float, quiet: bool = False, total: int | None = 10) -> str:
    """All that is written while two of ten pieces are done, the second after a wait."""
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=terminal, width=100, quiet=quiet)
    clock = Clock()
    with bar(console, "import", total, clock=clock) as report:
        report(1, "1 record")
        clock.now_s += waited_s
        report(2, "2 records")
    return sink.getvalue()


def test_work_that_takes_long_gets_a_bar() -> None:
    text = drawn(terminal=True, waited_s=APPEARS_AFTER_S)
    assert "import" in text
    assert "2 records" in text
    assert "20%" in text


def test_quick_work_shows_nothing() -> None:
    assert drawn(terminal=True, waited_s=APPEARS_AFTER_S - 0.1) == ""


def test_away_from_a_terminal_nothing_is_shown() -> None:
    assert drawn(terminal=False, waited_s=60) == ""


def test_quiet_means_quiet() -> None:
    assert drawn(terminal=True, waited_s=60, quiet=True) == ""


def test_the_end_need_not_be_known() -> None:
    assert "2 records" in drawn(terminal=True, waited_s=60, total=None)


def test_a_failure_ends_the_bar() -> None:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=True, width=100)
    clock = Clock()
    try:
        with bar(console, "import", 10, clock=clock) as report:
            clock.now_s += 60
            report(2, "2 records")
            raise ValueError
    except ValueError:
        pass
    assert sink.getvalue().endswith("\x1b[2K"), "the line is wiped"
