"""Calling commands as a person does, with a home of one's own and a node that is a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ciris_mesh.cli.commands import cli
from ciris_mesh.runtime.control import ControlServer
from ciris_mesh.runtime.home import Home, HomeLock
from ciris_mesh.runtime.setup import new_node


@dataclass(frozen=True)
class Shell:
    """Runs commands against one home."""

    home: Home

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """Run a command and return its result, whatever it is."""
        full = ["--config", str(self.home.path), *arguments]
        return CliRunner().invoke(cli, full, input=input)

    def ok(self, *arguments: str, input: str | None = None) -> str:
        """Run a command that must succeed and return its standard output."""
        result = self.run(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, input: str | None = None) -> Any:
        """Run a command with --json: exactly one line of JSON on standard output."""
        text = self.ok(*arguments, "--json", input=input)
        assert text.count("\n") == 1, text
        return json.loads(text)

    def error(self, *arguments: str, input: str | None = None) -> str:
        """Run a command that must fail with exactly one line on standard error."""
        result = self.run(*arguments, input=input)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("ciris-mesh: ")
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr


def shell(path: Path, name: str = "alice") -> Shell:
    """A shell with a new home at `path`."""
    return Shell(new_node(path, name))


@contextmanager
def answering(
    home: Home, handlers: Mapping[str, Callable[[dict[str, Any]], object]]
) -> Iterator[None]:
    """A node that answers these operations and holds the home, and does nothing else."""
    with HomeLock(home), ControlServer(home.socket_path(), handlers, request_timeout_s=240.0):
        yield
