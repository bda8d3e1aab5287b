"""A shell completes commands and options."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ciris_mesh.cli.commands import COMMANDS, cli


def completed(words: str) -> list[str]:
    """What click answers the shell that asks behind the last word."""
    parts = words.split(" ")
    out = subprocess.run(
        [sys.executable, "-m", "ciris_mesh"],
        env={
            **os.environ,
            "_CIRIS_MESH_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(parts) - 1),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return [line.partition(",")[2] for line in out.stdout.splitlines()]


def test_commands_options_and_choices_are_completed() -> None:
    assert completed("ciris-mesh sta") == ["status"]
    assert set(COMMANDS) <= set(completed("ciris-mesh "))
    assert "--json" in completed("ciris-mesh doctor --j")
    assert completed("ciris-mesh setup ga") == ["gateway"]
    assert "install" in completed("ciris-mesh service in")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_the_shell_can_read(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_CIRIS_MESH_COMPLETE" in result.output
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.output, text=True, check=True, timeout=240)


def test_every_command_and_option_has_help() -> None:
    """Down to the last subcommand: a tired person asks --help first."""
    import click

    def walk(command: click.Command, path: str) -> None:
        assert command.help, f"{path} has no help"
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{path} {parameter.opts[0]} has no help"
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                walk(found, f"{path} {name}")

    walk(cli, "ciris-mesh")
