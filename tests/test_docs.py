"""README is true: its commands exist, its files exist, and CI runs what it tells people to run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from ciris_mesh.cli.commands import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
INSTALL = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/ciris-mesh demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest"


def test_the_two_commands_are_there() -> None:
    assert LINES[:2] == [INSTALL, TEST]


def test_ci_runs_the_test_command_as_readme_has_it() -> None:
    assert f"\n{TEST}\n" in (ROOT / ".ci" / "run").read_text()


def ours(line: str) -> list[str]:
    """The words of a `ciris-mesh` command, without the explanation in the second column."""
    return shlex.split(re.split(r"\s{3,}", line)[0])


GROUPS = ("peer", "key", "service", "operator")
OURS = [ours(line) for line in LINES if line.startswith("ciris-mesh ")]


@pytest.mark.parametrize("words", OURS, ids=[" ".join(words[1:]) for words in OURS])
def test_every_command_and_option_exists(words: list[str]) -> None:
    verbs = [words[1], *([words[2]] if words[1] in GROUPS else [])]
    result = CliRunner().invoke(cli, [*verbs, "--help"])
    assert result.exit_code == 0, result.output
    for option in [word for word in words if word.startswith("--")]:
        assert option in result.output


@pytest.mark.parametrize("name", re.findall(r"`((?:ciris_mesh|tests|examples)/[\w./-]+)`", README))
def test_every_file_named_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_the_picture_names_the_layers_that_are_there() -> None:
    packages = {path.name for path in (ROOT / "ciris_mesh").iterdir() if path.is_dir()}
    picture = re.findall(r"^   (\w+)(?: \| (\w+))?  ", README, re.MULTILINE)
    named = {word for row in picture for word in row if word} | {"errors"}
    assert packages - {"__pycache__"} <= named


def test_readme_is_short() -> None:
    assert README.count("\n") <= 160
