"""Colour and width are decided in one place."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from ciris_mesh.ui.console import COLUMNS, make_console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def painted(file: io.StringIO) -> str:
    make_console(file).print(Text("down", "bad"))
    return file.getvalue()


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[31m" in painted(Terminal())


def test_no_color_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[31m" not in painted(Terminal())


def test_a_pipe_gets_plain_text_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    file = io.StringIO()
    assert painted(file) == "down\n"
    assert make_console(file).width == COLUMNS


def test_columns_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert make_console(io.StringIO()).width == 120
