"""The house rules: layers, purity, sizes, and that everything shipped is tested somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ciris_mesh"
RANK = {
    "errors": 0, "records": 1, "wire": 2, "protocol": 3,
    "directory": 4, "transport": 4, "radio": 4, "notify": 4,  # siblings: may not import each other
    "runtime": 5, "doctor": 6, "demo": 6, "sim": 6, "bench": 6, "ui": 7, "web": 8, "cli": 8,
    "__init__": 9, "__main__": 9,  # the public face may name anything
}  # fmt: skip
PURE = ("records", "wire", "protocol")
#: Of `radio` the parts that own a thread, a socket or a file. All others are pure too.
RADIO_EDGE = ("hostport", "pty_port", "interface", "profiles")
IMPURE = re.compile(
    r"^(RNS|LXMF|sqlite3|socket|threading|time|random|secrets|os|logging|asyncio|subprocess)\b"
)
RETICULUM = ("RNS", "LXMF")
#: Of `notify` the part that owns threads and files. All others are pure.
NOTIFY_EDGE = ("lxmf_mailbox",)
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_point_down(path: Path) -> None:
    mine = layer(path)
    assert mine in RANK, f"{path}: give the package {mine} a rank"
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "ciris_mesh" and rest:
            theirs = rest.partition(".")[0]
            assert theirs in RANK, f"{path}: give the package {theirs} a rank"
            below = theirs == mine or RANK[theirs] < RANK[mine]
            assert below, f"{path} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_core_is_pure(path: Path) -> None:
    is_edge = path.stem in {"radio": RADIO_EDGE, "notify": NOTIFY_EDGE}.get(layer(path), ())
    if layer(path) in (*PURE, "radio", "notify") and not is_edge:
        assert not [name for name in imports(path) if IMPURE.match(name)], path


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_grows_past_one_screen(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX, f"{path} is too long: split it by noun"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{path}:{node.lineno} {node.name}: {lines} lines"


def test_threads_are_named_after_us() -> None:
    """The leak check of the tests sees only `ciris-*` threads, so every thread must be one."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Thread"):
                names = [word.value for word in node.keywords if word.arg == "name"]
                assert names, f"{path}:{node.lineno} starts a thread without a name"
                assert "ciris-" in ast.unparse(names[0]), f"{path}:{node.lineno}"


def test_rns_is_imported_in_the_transport_only() -> None:
    """And in the one class that Reticulum itself loads, and where LXMF is spoken to."""
    users = {path for path in FILES if any(n.split(".")[0] in RETICULUM for n in imports(path))}
    others = {PACKAGE / "radio" / "interface.py", PACKAGE / "notify" / "lxmf_mailbox.py"}
    assert {layer(path) for path in users - others} <= {"transport"}


def test_there_are_at_least_as_many_test_lines_as_source_lines() -> None:
    source = sum(path.read_text().count("\n") for path in FILES)
    tests = sum(path.read_text().count("\n") for path in (ROOT / "tests").rglob("*.py"))
    assert tests >= source
