"""Takes one gate of the admission rules away at a time and sees whether a test notices.

    python tests/rules_mutation.py            all gates; exits 1 when one can go unnoticed
    python tests/rules_mutation.py groups     those of one module

A gate is a statement that says no (a refusal, a deferral, an exception), one condition of several
that must all hold, or a rule's place in the table. Each is removed from a copy of the package, and
the tests of the rules run against the copy. `tests/records/test_rules_mutation.py` runs this in the
slow group.
"""

from __future__ import annotations

import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECORDS = Path("ciris_mesh/records")
MODULES = (
    RECORDS / "groups.py",
    *(
        RECORDS / "rules" / f"{name}.py"
        for name in (
            "attestations",
            "delegations",
            "groups",
            "keys",
            "locations",
            "occurrences",
            "operations",
            "table",
        )
    ),
)
#: The order tests are left out: some particular test must know what each gate is for.
TESTS = (
    "tests/records/test_rules_keys.py",
    "tests/records/test_rules_delegations.py",
    "tests/records/test_rules_attestations.py",
    "tests/records/test_rules_occurrences.py",
    "tests/records/test_rules_operations.py",
    "tests/records/test_rules_groups.py",
    "tests/records/test_groups.py",
)
#: A run of these tests takes seconds; a gate whose loss makes one hang is noticed too.
TIMEOUT_S = 300
_QUICKLY = ("-n0", "-x", "-q", "-p", "no:cacheprovider")
_NO_RULE = {0: "no_content_rule", 1: "no_standing_rule"}


@dataclass(frozen=True)
class Mutant:
    """The package with one gate gone."""

    module: Path
    line: int
    gate: str
    source: str


def mutants(module: Path) -> Iterator[Mutant]:
    """Every way to take one gate out of `module`."""
    text = (ROOT / module).read_text()
    tree = ast.parse(text)
    for place, node in enumerate(ast.walk(tree)):
        for number in range(_gates_in(node)):
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[place]
            gate = _without(changed, target, number)
            yield Mutant(module, getattr(node, "lineno", 0), gate, ast.unparse(changed))


def _gates_in(node: ast.AST) -> int:
    match node:
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()) | ast.Raise():
            return 1
        case ast.Return(value=ast.Call(func=ast.Name(id="refused" | "deferred"))):
            return 1
        case ast.BoolOp(op=ast.And(), values=values):
            return len(values)
        case ast.Call(func=ast.Name(id="Rule"), args=args):
            return len(args)
        case _:
            return 0


def _without(tree: ast.Module, node: ast.AST, number: int) -> str:
    if isinstance(node, ast.BoolOp):
        return ast.unparse(node.values.pop(number))
    if isinstance(node, ast.Call):
        gone = ast.unparse(node.args[number])
        node.args[number] = ast.Name(_NO_RULE[number])
        return gone
    gone = ast.unparse(node).splitlines()[0]
    for parent in ast.walk(tree):
        for body in (getattr(parent, "body", None), getattr(parent, "orelse", None)):
            if isinstance(body, list) and node in body:
                is_last = isinstance(parent, ast.FunctionDef) and body[-1] is node
                is_answer = is_last and isinstance(node, ast.Return)
                fine = ast.Return(ast.Name("FINE"))
                body[body.index(node)] = ast.fix_missing_locations(
                    fine if is_answer else ast.Pass()
                )
    return gone


def survives(mutant: Mutant, package: Path) -> bool:
    """True when the tests of the rules pass without the gate. `package` is a copy's root."""
    file = package / mutant.module
    original = file.read_text()
    file.write_text(mutant.source)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", *_QUICKLY, *TESTS],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        file.write_text(original)
    return done.returncode == 0


def survivors(words: list[str]) -> Iterator[Mutant]:
    """The gates that can go unnoticed, in the modules whose path contains one of the words."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        shutil.copytree(ROOT / "ciris_mesh", package / "ciris_mesh")
        untouched = Mutant(MODULES[0], 0, "", (ROOT / MODULES[0]).read_text())
        assert survives(untouched, package), "the tests fail with every gate in its place"
        for module in MODULES:
            if not words or any(word in str(module) for word in words):
                yield from (one for one in mutants(module) if survives(one, package))


def main(words: list[str]) -> int:
    found = 0
    for mutant in survivors(words):
        found += 1
        sys.stdout.write(f"{mutant.module}:{mutant.line}: nobody misses {mutant.gate!r}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{found} gates are unguarded\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
