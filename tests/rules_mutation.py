"""Takes one gate of the admission rules away at a time and sees whether a test notices.

    python tests/rules_mutation.py            all gates; exits 1 when one can go unnoticed
    python tests/rules_mutation.py groups     those of which `path:function` contains the word

A gate is a statement that says no (a refusal, a deferral, an exception), one condition of several
that must all hold, or a rule's place in the table. Where it is decided whose signatures are kept,
every branch, every alternative and every part of a rank is one too. Each is removed from a copy of
the package, and tests run against the copy. `tests/records/test_rules_mutation.py` runs this in
the slow group.
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
DIRECTORY = Path("ciris_mesh/directory")
#: The order tests are left out: some particular test must know what each gate is for.
_RULES = (
    "tests/records/test_rules_keys.py",
    "tests/records/test_rules_delegations.py",
    "tests/records/test_rules_attestations.py",
    "tests/records/test_rules_occurrences.py",
    "tests/records/test_rules_operations.py",
    "tests/records/test_rules_groups.py",
    "tests/records/test_groups.py",
    "tests/records/test_vouches.py",
)
_KEEPING = (
    "tests/records/test_cosigning.py",
    "tests/directory/test_joining.py",
    "tests/directory/test_cosigning.py",
    "tests/directory/test_admission.py",
    "tests/directory/test_rules_admission.py",
    "tests/directory/test_quotas.py",
)
#: A run of these tests takes seconds; a gate whose loss makes one hang is noticed too.
TIMEOUT_S = 300
_QUICKLY = (
    "-n0",
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-k",
    "not sqlite and not postgres and not order",
)
_NO_RULE = {
    "content": "no_content_rule",
    "standing": "no_standing_rule",
    "counted": "every_signer",
}


@dataclass(frozen=True)
class Module:
    """Where gates are.

    Attributes:
        tests: those that must notice.
        closely: functions of which every branch is a gate.
        is_all: gates of other functions count too.
    """

    path: Path
    tests: tuple[str, ...] = _RULES
    closely: frozenset[str] = frozenset({"counted", "removal_counted", "vouchers"})
    is_all: bool = True


def _keeping(path: Path, *functions: str) -> Module:
    return Module(path, _KEEPING, frozenset(functions), is_all=False)


MODULES = (
    Module(RECORDS / "groups.py", closely=frozenset({"voters", "signers_needed"})),
    *(
        Module(RECORDS / "rules" / f"{name}.py")
        for name in (
            "attestations",
            "delegations",
            "keys",
            "locations",
            "occurrences",
            "operations",
            "table",
        )
    ),
    Module(RECORDS / "rules/groups.py", (*_RULES, "tests/directory/test_introducing.py")),
    _keeping(RECORDS / "cosigning.py", "joined"),
    _keeping(DIRECTORY / "joining.py", "sift", "union"),
    _keeping(
        DIRECTORY / "admission.py",
        "_judge_copy",
        "_judge_known_part",
        "_shelve_truth",
        "_beside",
    ),
    Module(
        DIRECTORY / "placing.py",
        (*_KEEPING, "tests/directory/test_vouches.py"),
        frozenset({"_is_outdated", "_place_row"}),
        is_all=False,
    ),
)


@dataclass(frozen=True)
class Mutant:
    """The package with one gate gone."""

    module: Module
    function: str
    line: int
    gate: str
    source: str

    @property
    def place(self) -> str:
        return f"{self.module.path}:{self.function}"


def mutants(module: Module) -> Iterator[Mutant]:
    """Every way to take one gate out of `module`."""
    tree = ast.parse((ROOT / module.path).read_text())
    functions, types = _functions(tree), _types(tree)
    for place, node in enumerate(ast.walk(tree)):
        around = functions.get(node, ())
        is_close = not module.closely.isdisjoint(around) and node not in types
        if not module.is_all and not is_close:
            continue
        for number in range(_gates_in(node, is_close=is_close)):
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[place]
            gate = _without(changed, target, number)
            name = around[0] if around else ""
            line = getattr(node, "lineno", 0)
            yield Mutant(module, name, line, gate, ast.unparse(changed))


def _functions(tree: ast.AST) -> dict[ast.AST, tuple[str, ...]]:
    """Node -> the functions it is in, the innermost first."""
    around: dict[ast.AST, tuple[str, ...]] = {}
    for function in ast.walk(tree):  # from the outermost
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                around[node] = (function.name, *around.get(node, ()))
    return around


def _types(tree: ast.AST) -> set[ast.AST]:
    """What is in annotations: it decides nothing."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            annotation = getattr(node, name, None)
            if annotation is not None:
                found |= set(ast.walk(annotation))
    return found


def _gates_in(node: ast.AST, *, is_close: bool) -> int:
    match node:
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()) | ast.Raise():
            return 1
        case ast.Return(value=ast.Call(func=ast.Name(id="refused" | "deferred"))):
            return 1
        case ast.BoolOp(op=ast.And(), values=values):
            return len(values)
        case ast.Call(func=ast.Name(id="Rule"), args=args, keywords=keywords):
            return len(args) + len(keywords)
        case _:
            return _close_gates_in(node) if is_close else 0


def _close_gates_in(node: ast.AST) -> int:
    match node:
        case ast.BoolOp(values=values):
            return len(values)
        case ast.If():
            return 1
        case ast.IfExp() | ast.BinOp(op=ast.BitOr()):
            return 2
        case ast.comprehension(ifs=conditions):
            return len(conditions)
        case ast.Return(value=ast.Tuple(elts=parts)):
            return len(_said(parts))
        case _:
            return 0


def _said(parts: list[ast.expr]) -> list[int]:
    """Where something is said: without an empty tuple there is nothing less."""
    return [place for place, part in enumerate(parts) if ast.unparse(part) != "()"]


def _without(tree: ast.Module, node: ast.AST, number: int) -> str:
    match node:
        case ast.BoolOp(values=values):
            return ast.unparse(values.pop(number))
        case ast.comprehension(ifs=conditions):
            return ast.unparse(conditions.pop(number))
        case ast.If() | ast.IfExp():
            gone = f"{ast.unparse(node.test)} is not always {bool(number)}"
            node.test = ast.Constant(bool(number))
            return gone
        case ast.BinOp(left=left, right=right):
            node.left = node.right = (left, right)[number]
            return ast.unparse((right, left)[number])
        case ast.Return(value=ast.Tuple(elts=parts)):
            place = _said(parts)[number]
            gone = ast.unparse(parts[place])
            parts[place] = ast.Constant(0)
            return gone
        case ast.Call():
            return _without_rule(node, number)
        case _:
            return _without_statement(tree, node)


def _without_rule(node: ast.Call, number: int) -> str:
    """A rule of the table, given by place or by name."""
    if number < len(node.args):
        gone = ast.unparse(node.args[number])
        node.args[number] = ast.Name([*_NO_RULE.values()][number])
    else:
        keyword = node.keywords[number - len(node.args)]
        gone = ast.unparse(keyword.value)
        keyword.value = ast.Name(_NO_RULE[keyword.arg or ""])
    return gone


def _without_statement(tree: ast.Module, node: ast.AST) -> str:
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
    file = package / mutant.module.path
    original = file.read_text()
    file.write_text(mutant.source)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", *_QUICKLY, *mutant.module.tests],
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
    """The gates that can go unnoticed, of those whose place contains one of the words."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        shutil.copytree(ROOT / "ciris_mesh", package / "ciris_mesh")
        whole: set[tuple[str, ...]] = set()
        for module in MODULES:
            for mutant in mutants(module):
                if words and not any(word in mutant.place for word in words):
                    continue
                if module.tests not in whole:
                    whole.add(module.tests)
                    text = (ROOT / module.path).read_text()
                    untouched = Mutant(module, "", 0, "", text)
                    assert survives(untouched, package), "the tests fail with every gate in place"
                if survives(mutant, package):
                    yield mutant


def main(words: list[str]) -> int:
    found = 0
    for mutant in survivors(words):
        found += 1
        sys.stdout.write(f"{mutant.place}:{mutant.line}: nobody misses {mutant.gate!r}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{found} gates are unguarded\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
