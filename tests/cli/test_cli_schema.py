"""What `--json` prints is documented, and stays as it is."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ciris_mesh.cli.answers import CheckAnswer, DoctorAnswer, answer_types, members, schema
from ciris_mesh.cli.commands import cli
from ciris_mesh.cli.plain import dump
from ciris_mesh.cli.schema import _COMMANDS
from ciris_mesh.directory.base import Source, Waiting
from ciris_mesh.doctor.checks import Finding
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.budget import BudgetStatus
from ciris_mesh.runtime.operations import waiting_fields
from support.cli import answering, shell
from support.doctoring import BUDGET, PEER, STATUS

PINNED = Path(__file__).parent.parent / "vectors" / "json_answers.json"


def test_no_member_went_away_or_changed_its_type(request: pytest.FixtureRequest) -> None:
    """To add one, run this with --rewrite; to change one, raise the number in "schema"."""
    now = {name: dict(members(name)) for name in answer_types()}
    if request.config.getoption("--rewrite"):
        PINNED.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    pinned: dict[str, dict[str, str]] = json.loads(PINNED.read_text())
    assert pinned.keys() <= now.keys()
    for name, paths in pinned.items():
        kept = {path: now[name].get(path) for path in paths}
        assert kept == paths, name


def test_a_change_would_be_noticed() -> None:
    paths = dict(members("status"))
    assert paths["peers[].kinds[].confirmed_s"] == "number|null"
    assert paths["health[]"] == "string"
    assert paths["drops.*"] == "integer"


def words_of(name: str) -> list[str]:
    """The command whose answer a schema describes."""
    return ["records", "--waiting"] if name == "waiting" else [name]


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_command_prints_a_schema_that_describes(name: str) -> None:
    result = CliRunner().invoke(cli, ["schema", name])
    assert result.exit_code == 0
    said = json.loads(result.output)
    assert said == schema(name)
    assert said["title"] == f"ciris-mesh {' '.join(words_of(name))} --json"
    assert '"description"' in result.output


def test_every_schema_has_a_command() -> None:
    assert set(_COMMANDS) == set(answer_types())


def fits(value: Any, found: dict[str, Any]) -> bool:
    """A small validator, enough for what these schemas use."""
    if "anyOf" in found:
        return any(fits(value, each) for each in found["anyOf"])
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "number": int | float, "boolean": bool, "object": dict,
        "array": list, "null": type(None),
    }  # fmt: skip
    if not isinstance(value, kinds[found["type"]]):
        return False
    if found["type"] == "array":
        return all(fits(each, found["items"]) for each in value)
    if "additionalProperties" in found:
        return all(fits(each, found["additionalProperties"]) for each in value.values())
    if found["type"] == "object":
        properties = found["properties"]
        is_whole = set(found["required"]) <= value.keys()
        return is_whole and all(
            fits(each, properties[name]) for name, each in value.items() if name in properties
        )
    return True


def test_what_commands_print_fits(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    row = {
        "position": 1, "kind": "key", "envelope_id": "ab" * 32, "shelf": "federation", "seq": 5,
        "subject": "alice", "signers": ["alice"], "admitted_at_ms": 7,
    }  # fmt: skip
    source = Source("peer", "bob-abcdefghijklmnop")
    waiting = waiting_fields(
        Waiting(3, EnvelopeKind.FAMILY, b"x" * 32, ("alice",), source, ("key:carol",), 0, None, 34)
    )
    handlers = {
        "status": lambda _: STATUS, "peers": lambda _: [PEER], "budget": lambda _: BUDGET,
        "records": lambda asked: [row] if asked["after"] == 0 else [],
        "waiting": lambda asked: [waiting] if asked["after"] == 0 else [],
    }  # fmt: skip
    with answering(sh.home, handlers):
        for name in _COMMANDS:
            printed = sh.json(*words_of(name))
            assert fits(printed, schema(name)), name
            assert not fits({"schema": "one"}, schema(name))
    assert fits(dump(BudgetStatus(1, (), (), "", (), (), {})), schema("budget"))


def test_the_lines_of_doctor_are_findings() -> None:
    assert [each.name for each in fields(CheckAnswer)] == [each.name for each in fields(Finding)]
    assert is_dataclass(DoctorAnswer)
