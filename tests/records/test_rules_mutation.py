"""Every gate of the rules is there for a reason that some test knows."""

from __future__ import annotations

import ast

import pytest
from rules_mutation import MODULES, ROOT, mutants, survivors

from ciris_mesh.records.rules.table import RULES


def test_every_module_of_rules_is_looked_at() -> None:
    rules = {path.name for path in (ROOT / "ciris_mesh/records/rules").glob("*.py")}
    looked_at = {path.name for path in MODULES if path.parent.name == "rules"}
    assert rules - looked_at == {"__init__.py", "base.py"}


def test_a_mutant_is_the_module_with_one_thing_gone() -> None:
    for module in MODULES:
        whole = ast.unparse(ast.parse((ROOT / module).read_text()))
        found = list(mutants(module))
        assert found, module
        assert len({mutant.source for mutant in found} | {whole}) == len(found) + 1
        for mutant in found:
            compile(mutant.source, str(module), "exec")


def test_every_rule_of_the_table_is_taken_out_once() -> None:
    table = next(module for module in MODULES if module.name == "table.py")
    gates = {mutant.gate for mutant in mutants(table)}
    named = {f"{rule.content.__module__}.{rule.content.__name__}" for rule in RULES.values()}
    assert len(gates) >= len(named) - 1


@pytest.mark.slow
def test_no_gate_can_go_unnoticed() -> None:
    assert [f"{one.module}:{one.line} {one.gate}" for one in survivors([])] == []
