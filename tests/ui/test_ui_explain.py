"""Every name a person may meet is explained."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from click.testing import CliRunner

import ciris_mesh
from ciris_mesh import errors
from ciris_mesh.cli.commands import cli
from ciris_mesh.doctor.checks import CHECKS
from ciris_mesh.notify.alerts import LASTS_S
from ciris_mesh.ui.explain import (
    GROUPS,
    PREFIXES,
    close_to,
    explain,
    explanation_lines,
    list_lines,
    names,
)

PACKAGE = Path(ciris_mesh.__file__).parent
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

#: Enums whose values are words for people already, or never reach them.
NOT_REASONS = {
    "OrgRole", "LicenseResult", "Status", "Rule", "Say", "FreshnessWord", "PartnershipSide",
    "ScopeFamily", "ConsensusForm", "EnvelopeKind", "Source", "KindPolicy", "Phase", "Level",
    "Word", "Rpc", "AuthorityReason", "Direction", "Role",
}  # fmt: skip
#: Functions whose literal argument is a name that is counted, shown or kept as a reason.
NAMING_CALLS = {
    "count", "_drop", "abort", "drop_link", "_give_up", "_on_other_link", "_garbage", "Refusal",
    "_pause", "penalize", "ControlError", "InviteError", "_turn_away",
}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        yield name, ast.parse(path.read_text())


def enum_names() -> Iterator[tuple[str, str]]:
    for name, tree in modules():
        for node in tree.body:
            if not isinstance(node, ast.ClassDef) or node.name in NOT_REASONS:
                continue
            if "StrEnum" in map(ast.unparse, node.bases):
                made = getattr(importlib.import_module(name), node.name)
                assert issubclass(made, StrEnum)
                yield from ((member.value, f"{name}.{node.name}") for member in made if member)


def counted_names() -> Iterator[tuple[str, str]]:
    layers = ("runtime", "protocol", "directory", "transport", "notify", "web")
    for name, tree in modules():
        if name.split(".")[1] in layers:
            for node in ast.walk(tree):
                yield from ((text, name) for text in named_in(node))


def named_in(node: ast.AST) -> Iterator[str]:
    """Literal names that are counted, kept as a reason, or said to a peer, in one statement."""
    given: list[ast.expr] = []
    if isinstance(node, ast.Call):
        if ast.unparse(node.func).rpartition(".")[2] in NAMING_CALLS:
            given = node.args
    elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(".reason"):
        given = [node.value]
    elif isinstance(node, ast.AugAssign) and ast.unparse(node.target).startswith("self._counts["):
        assert isinstance(node.target, ast.Subscript)
        given = [node.target.slice]
    for each in given:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def control_names() -> Iterator[tuple[str, str]]:
    for name in re.findall(r'"(control_[a-z_]+)"', (PACKAGE / "runtime/control.py").read_text()):
        yield name, "runtime.control"


def trap_names() -> Iterator[tuple[str, str]]:
    from ciris_mesh.radio import traps

    for node in ast.walk(ast.parse(inspect.getsource(traps))):
        is_said = (
            isinstance(node, ast.Tuple)
            and len(node.elts) == 3
            and ast.unparse(node.elts[0]) in ("_ERROR", "_WARNING", "_ADVICE")
        )
        if is_said and isinstance(node, ast.Tuple) and isinstance(node.elts[1], ast.Constant):
            yield str(node.elts[1].value), "radio.traps"


def error_names() -> Iterator[tuple[str, str]]:
    """Those a control socket answers with."""
    for name, made in inspect.getmembers(errors, inspect.isclass):
        if issubclass(made, errors.OperatorError) and made is not errors.ControlError:
            yield re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), "errors"


ALL = sorted(
    {
        (name, where)
        for source in (enum_names, counted_names, control_names, trap_names, error_names)
        for name, where in source()
        if SNAKE.fullmatch(name)
    }
    | {(check.name, "doctor") for check in CHECKS}
    | {(name, "notify.alerts") for name in LASTS_S}
)


def test_the_search_finds_names_of_every_sort() -> None:
    found = {name for name, _ in ALL}
    assert {"no_path", "frame_no_room", "uncapped_announces", "peers_stale", "too_large"} <= found
    assert {"link_down", "denied", "mistyped", "clock_untrusted", "out_of_turn"} <= found
    assert len(found) > 250


@pytest.mark.parametrize(("name", "where"), ALL, ids=[f"{name}-{where}" for name, where in ALL])
def test_every_name_is_explained(name: str, where: str) -> None:
    found = explain(name)
    assert found, f"{name} of {where} needs an entry in ui/explained_*.py"
    for each in found:
        assert each.meaning.endswith(".")
        assert each.help.endswith((".", "?"))


def test_no_entry_explains_a_name_that_is_none() -> None:
    said = "\n".join(
        path.read_text() for path in PACKAGE.rglob("*.py") if not path.name.startswith("explained_")
    )
    errors_in_snake = {name for name, _ in error_names()}
    classes = {name.lower() for name, _ in inspect.getmembers(errors, inspect.isclass)}
    mesh_errors = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        for name, _ in inspect.getmembers(errors, inspect.isclass)
    }
    made_up = [
        name
        for name in names()
        if not re.search(rf'"(?:[a-z]+_)?{name}"', said, re.IGNORECASE)
        and name not in errors_in_snake | classes | mesh_errors
        and not any(f'"{prefix}{name}"' in said for prefix in PREFIXES)
    ]
    assert made_up == []


@pytest.mark.parametrize("prefix", PREFIXES)
def test_counters_put_a_word_in_front(prefix: str) -> None:
    (whole,) = explain("no_progress")
    (found, *_) = explain(f"{prefix}no_progress")
    assert found.meaning == f"{PREFIXES[prefix]}. {whole.meaning}"
    assert found.name == f"{prefix}no_progress"


def test_a_name_that_is_whole_is_not_taken_apart() -> None:
    assert not explain("frame_no_room")[0].meaning.startswith(PREFIXES["frame_"])


def test_lines_fit_80_columns_of_ascii() -> None:
    for name in names():
        for line in explanation_lines(explain(name)):
            assert len(line) <= 80
            assert line.isascii()
    for line in list_lines():
        assert len(line) <= 80, line
        assert line.isascii()


def test_no_name_stands_twice_in_a_group_and_every_entry_is_a_sentence() -> None:
    for group in GROUPS:
        assert group.help.endswith(".")
        for name, text in group.entries.items():
            assert SNAKE.fullmatch(name), name
            assert text.partition(" | ")[0].endswith("."), name


def test_the_command_explains_lists_and_guesses() -> None:
    run = CliRunner().invoke
    text = run(cli, ["explain", "no_path"]).output
    assert text.startswith("no_path (links that end or never begin)\n")
    assert "What helps:" in text
    data = json.loads(run(cli, ["explain", "TOO-LARGE", "--json"]).output)
    assert [row["name"] for row in data] == ["too_large"]
    everything = run(cli, ["explain"]).output
    assert all(f"  {name} " in everything for name in names())
    assert len(json.loads(run(cli, ["explain", "--json"]).output)) >= len(names())
    unknown = run(cli, ["explain", "no_pth"])
    assert unknown.exit_code == 1
    assert "did you mean no_path" in unknown.output
    assert close_to("peers_stal")[0] == "peers_stale"
