"""The command line as a whole: options, errors, exit codes, and what is not loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ciris_mesh import __version__
from ciris_mesh.cli.commands import COMMANDS, cli
from ciris_mesh.runtime.config import parse_config
from support.cli import answering, shell


def verbs(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from verbs(found, (*path, name))


ALL = sorted(verbs(cli))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself_in_sentences_within_80_columns(
    path: tuple[str, ...],
) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert result.output.isascii()
    assert max(map(len, result.output.splitlines())) <= 80
    about = " ".join(result.output.partition("\n\n")[2].partition("\n\n")[0].split())
    assert about[0].isupper()
    assert about.endswith((".", "it.", "JSON."))


@pytest.mark.parametrize("path", [path for path in ALL if path], ids=" ".join)
def test_every_verb_takes_the_global_options_after_its_name(path: tuple[str, ...]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    if not isinstance(command, click.Group):
        options = {option for param in command.params for option in param.opts}
        assert {"--config", "--rnsconfig", "-v", "-q"} <= options


READING = ["id", "invite", "peers", "peer list", "status", "wait", "records", "demo"]


@pytest.mark.parametrize("name", READING)
def test_every_reading_command_has_json(name: str) -> None:
    assert "--json" in CliRunner().invoke(cli, [*name.split(), "--help"]).output


def test_the_list_of_commands_is_the_table() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for name, (_, _, text) in COMMANDS.items():
        assert f"  {name} " in output
        assert text.endswith(".")
        assert len(text) <= 66


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"ciris-mesh, version {__version__}\n"


def test_the_example_configuration_is_a_valid_one() -> None:
    output = CliRunner().invoke(cli, ["--exampleconfig"]).output
    assert parse_config(output.encode()).warnings == ()


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["status", "--nope"], ["init"], ["peer", "add"], ["demo", "--nodes", "1"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_an_error_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--config", str(tmp_path / "none"), "id"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "ciris-mesh init --name NAME --config" in result.stderr
    assert "Traceback" not in result.stderr


def test_vv_shows_where_an_error_came_from(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--config", str(tmp_path / "none"), "id", "-vv"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_a_bug_is_one_line_too(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    with answering(sh.home, {"peers": lambda _: 7}):
        text = sh.error("peers")
    assert "internal error" in text
    assert "-vv" in text


def test_an_answer_of_the_node_that_is_an_error_is_passed_on(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    with answering(sh.home, {}):
        line = sh.error("peers")
        assert "started by another version of ciris-mesh; restart it" in line
        assert "'peers'" in line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    sh.home.peers.mkdir()
    assert str(sh.home.peers) in sh.error("peers")


# -- as processes ------------------------------------------------------------------------------


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **environment},
    )


LOADED = (
    "import sys\n"
    "sys.argv[0] = 'ciris-mesh'\n"
    "from ciris_mesh.cli.main import main\n"
    "try:\n    main()\n"
    "finally:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
)
HEAVY = ("RNS", "configobj", "cryptography", "msgpack", "rich", "sqlite3")


@pytest.mark.parametrize(
    ("line", "also_absent"),
    [
        ("status --json", ("click", "dataclasses", "inspect", "logging")),
        ("status --json -q", ()),
        ("status", ()),
        ("peers --json", ()),
        ("wait --timeout 0", ()),
        ("--help", ()),
    ],
)
def test_a_question_loads_nothing_heavy(
    tmp_path: Path, line: str, also_absent: tuple[str, ...]
) -> None:
    sh = shell(tmp_path / "home")
    handlers = {
        "status": lambda _: {"health": []},
        "peers": lambda _: [{"key_id": "bob-abcdefghijklmnop"}],
        "sync": lambda _: {"queued": 1},
        "converged": lambda _: {"converged": True, "waiting": []},
    }
    full = ["--config", str(sh.home.path), *line.split()]
    if line == "status":  # of a node that does not run: tables need rich
        done = process("-c", LOADED, *full)
    else:
        with answering(sh.home, handlers):
            done = process("-c", LOADED, *full)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "ciris_mesh.cli.main" in loaded
    assert not loaded & {*HEAVY, *also_absent}


def test_the_quick_answer_is_the_same_as_the_other(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    for handlers in (None, {"status": lambda _: {"health": [], "uptime_s": 1.5}}):
        if handlers is None:
            quick = process("-m", "ciris_mesh", "--config", str(sh.home.path), "status", "--json")
            slow = sh.ok("status", "--json")
        else:
            with answering(sh.home, handlers):
                quick = process(
                    "-m", "ciris_mesh", "--config", str(sh.home.path), "status", "--json"
                )
                slow = sh.ok("status", "--json")
        assert (quick.stdout, quick.stderr, quick.returncode) == (slow, "", 0)


def test_the_quick_way_leaves_errors_to_the_other(tmp_path: Path) -> None:
    done = process("-m", "ciris_mesh", "--config", str(tmp_path), "status", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("ciris-mesh: no node lives in")


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ciris_mesh", "record", "canonical", "--form", "jcs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as filter_:
        assert filter_.stdin is not None
        assert filter_.stdout is not None
        filter_.stdout.close()
        filter_.stdin.write(b"1\n" * 10)
        filter_.stdin.close()
        filter_.wait(240)
        assert filter_.stderr is not None
        assert b"Traceback" not in filter_.stderr.read()


def test_a_filter_answers_before_its_input_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ciris_mesh", "frame", "decode"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as filter_:
        assert filter_.stdin is not None
        assert filter_.stdout is not None
        for _ in range(3):
            filter_.stdin.write(b"00\n")
            filter_.stdin.flush()
            assert json.loads(filter_.stdout.readline()) == {"result": "not_replication"}


def test_errors_are_red_only_for_a_terminal(tmp_path: Path) -> None:
    done = process("-m", "ciris_mesh", "--config", str(tmp_path), "id")
    assert "\x1b" not in done.stderr


class _Terminal:
    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(("no_color", "is_red"), [("", True), ("1", False)])
def test_no_color_is_respected(
    monkeypatch: pytest.MonkeyPatch, no_color: str, *, is_red: bool
) -> None:
    from ciris_mesh.cli.app import Failure

    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    terminal = _Terminal()
    Failure("two\nlines").show(terminal)
    assert ("\x1b[31m" in terminal.text) is is_red
    assert "ciris-mesh: two lines" in terminal.text


def test_what_strangers_wrote_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    from ciris_mesh.cli.app import Failure

    monkeypatch.setenv("NO_COLOR", "1")
    terminal = _Terminal()
    Failure("nobody is called \x1b]0;owned\x07bob").show(terminal)
    assert terminal.text == "ciris-mesh: nobody is called ?]0;owned?bob\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_a_console_does_not_know_are_escaped(tmp_path: Path, encoding: str) -> None:
    sh = shell(tmp_path / "home")
    invite = shell(tmp_path / "other", "bob").ok("invite").strip()
    sh.ok("peer", "add", invite, "--alias", "Zoë 猫")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "ciris_mesh", "--config", str(sh.home.path), "peers"],
        capture_output=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Zoë 猫".encode(encoding, "backslashreplace") in done.stdout


GROUPS = [
    *("family", "occurrence", "remove", "org", "membership", "partner", "cosign", "key"),
    *("community", "location", "bench", "peer", "interfaces", "frame", "record"),
]


@pytest.mark.parametrize("group", GROUPS)
def test_lists_of_commands_end_no_sentence_in_the_middle(tmp_path: Path, group: str) -> None:
    text = shell(tmp_path / "home").ok(group, "--help")
    commands = text.partition("Commands:")[2]
    assert commands
    assert not commands.rstrip().endswith("...")
    assert "...\n" not in commands
    assert max(map(len, text.splitlines())) <= 80
