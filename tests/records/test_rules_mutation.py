"""Every gate of the rules is there for a reason that some test knows."""

from __future__ import annotations

import ast

import pytest
from rules_mutation import MODULES, ROOT, mutants, survivors

from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.rules.base import every_signer, no_content_rule, no_standing_rule
from ciris_mesh.records.rules.table import RULES


def test_every_module_of_rules_is_looked_at() -> None:
    rules = {path.name for path in (ROOT / "ciris_mesh/records/rules").glob("*.py")}
    looked_at = {it.path.name for it in MODULES if it.path.parent.name == "rules"}
    assert rules - looked_at == {"__init__.py", "base.py"}


def test_a_mutant_is_the_module_with_one_thing_gone() -> None:
    for module in MODULES:
        whole = ast.unparse(ast.parse((ROOT / module.path).read_text()))
        found = list(mutants(module))
        assert found, module
        assert len({mutant.source for mutant in found} | {whole}) == len(found) + 1
        for mutant in found:
            compile(mutant.source, str(module.path), "exec")


def test_functions_looked_at_closely_are_there() -> None:
    for module in MODULES:
        if not module.is_all:
            found = {mutant.function for mutant in mutants(module)}
            assert module.closely <= found, module.path


def test_every_rule_of_the_table_is_taken_out_once() -> None:
    table = next(module for module in MODULES if module.path.name == "table.py")
    rules = {id(rule): rule for rule in RULES.values()}.values()  # two kinds may share a row
    named = [
        f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        for rule in rules
        for function in (rule.content, rule.standing, rule.counted)
        if function not in (no_content_rule, no_standing_rule, every_signer)
    ]
    assert sorted(mutant.gate for mutant in mutants(table)) == sorted(named)


def test_who_signed_is_looked_at_where_anybody_may_sign() -> None:
    for kind, rule in RULES.items():
        assert (rule.counted is not every_signer) is is_cosigned(kind)


#: Some minutes together; all of them take most of an hour on two cores, and are looked at in soak.
_EACH_TIME = ("records/groups.py", "rules/attestations.py", "rules/delegations.py")


@pytest.mark.parametrize("module", _EACH_TIME)
@pytest.mark.slow
def test_no_gate_of_these_can_go_unnoticed(module: str) -> None:
    assert unnoticed([module]) == []


@pytest.mark.soak
def test_no_gate_can_go_unnoticed() -> None:
    assert unnoticed([]) == []


def unnoticed(words: list[str]) -> list[str]:
    return [f"{one.place}:{one.line} {one.gate}" for one in survivors(words)]
