"""`export` and `import`: from a store nobody has open, and through a running node."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import ControlError
from ciris_mesh.records.bundle import MAGIC
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.bundle import BATCH_RECORDS_MAX
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.setup import node_identity
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from support.cli import Shell, answering, shell


def sign(sh: Shell, *scores: str) -> None:
    """Let the node score itself."""
    me = node_identity(sh.home).key_id
    for score in scores:
        sh.ok("attest", me, "--dimension", "identity:x:v1", "--score", score, "--yes")


def ids(sh: Shell) -> set[str]:
    return {row["envelope_id"] for row in sh.json("records")}


def counts(answer: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(row["outcome"], row["reason"]): row["count"] for row in answer["outcomes"]}


@pytest.fixture
def alice(tmp_path: Path) -> Shell:
    sh = shell(tmp_path / "a")
    sign(sh, "0.25", "0.5", "1")
    return sh


@pytest.fixture
def bob(tmp_path: Path) -> Shell:
    return shell(tmp_path / "b", "bob")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "x.bundle"


@contextmanager
def running(sh: Shell) -> Iterator[Node]:
    """The node of a shell's home, answering its control socket, alone on a loopback network."""
    directory = SqliteDirectory(sh.home.database)
    clock = SystemClock()
    transport = LoopbackTransport(LoopbackNetwork(), sh.home.path.name)
    node = Node(node_identity(sh.home).key, transport, directory=directory)
    budget = RadioBudget(load_config(sh.home.config).radio)
    operations = Operations(node, PeerBook.load(sh.home.peers), clock, clock.monotonic_s(), budget)
    with node, answering(sh.home, operations.table()):
        yield node
    directory.close()


# -- without a node --------------------------------------------------------------------------------


def test_what_one_node_exports_another_imports(alice: Shell, bob: Shell, out: Path) -> None:
    result = alice.run("export", "--out", str(out))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == f"4 records written to {out}.\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    answer = bob.json("import", str(out))
    assert answer == {
        "read": 4,
        "clean": True,
        "outcomes": [{"outcome": "admitted", "reason": "", "count": 4}],
        "damaged": 0,
        "damage": [],
        "gave_up": "",
    }
    assert ids(bob) == ids(alice)


def test_without_json_a_table_says_what_became_of_them(alice: Shell, bob: Shell, out: Path) -> None:
    alice.ok("export", "--out", str(out))
    lines = bob.ok("import", str(out)).split("\n")
    assert lines[:2] == ["4 records read.", "What became of them:"]
    assert [line.split() for line in lines[2:]] == [
        [],
        ["outcome", "reason", "records"],
        ["admitted", "4"],
        [],
    ]


def test_a_file_that_is_there_is_replaced_only_by_force(alice: Shell, out: Path) -> None:
    assert alice.run("export", str(out), "--out", str(out)).exit_code == 2
    out.write_text("precious")
    assert "--force" in alice.error("export", "--out", str(out))
    assert "--force" in alice.error("export", str(out)), "with or without --out"
    assert out.read_text() == "precious"
    alice.ok("export", "--out", str(out), "--force")
    assert out.read_bytes().startswith(MAGIC)


def test_kinds_can_be_chosen(alice: Shell, bob: Shell, out: Path) -> None:
    alice.ok("export", "--kind", "key", "--out", str(out))
    assert counts(bob.json("import", str(out))) == {("admitted", ""): 1}


def test_records_without_their_key_wait_for_it(alice: Shell, bob: Shell, out: Path) -> None:
    alice.ok("export", "--kind", "attestation", "--out", str(out))
    result = bob.run("import", str(out), "--json")
    assert result.exit_code == 0
    assert counts(json.loads(result.stdout)) == {("deferred", "signer_unknown"): 3}
    assert "3 records wait" in result.stderr
    alice.ok("export", "--kind", "key", "--out", str(out), "--force")
    bob.ok("import", str(out))
    assert ids(bob) == ids(alice)


def test_a_damaged_file_gives_what_is_intact_and_exit_code_1(
    alice: Shell, bob: Shell, out: Path
) -> None:
    alice.ok("export", "--out", str(out))
    data = bytearray(out.read_bytes())
    at = data.index(b"\nattestation ") + 1
    data[at + 200] ^= 1
    out.write_bytes(bytes(data))
    result = bob.run("import", str(out), "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["damaged"] == 1
    assert answer["damage"][0]["reason"] == "checksum"
    assert answer["damage"][0]["offset"] == at
    assert counts(answer) == {("admitted", ""): 3}
    assert f"Damaged at byte {at}, " in result.stderr
    assert "get another copy" in result.stderr


def test_a_cut_file_is_named_so(alice: Shell, bob: Shell, out: Path) -> None:
    alice.ok("export", "--out", str(out))
    out.write_bytes(out.read_bytes()[:-10_000])
    result = bob.run("import", str(out))
    assert result.exit_code == 1
    assert "the file was cut short" in result.stderr


def test_many_damaged_places_are_summed_up(alice: Shell, bob: Shell, out: Path) -> None:
    alice.ok("export", "--out", str(out))
    head, key, envelope, rest = out.read_bytes().split(b"\n", 3)
    again = b"\n".join([b"junk", key, envelope, b""])
    out.write_bytes(head + b"\n" + again * 14 + rest)
    result = bob.run("import", str(out))
    assert result.exit_code == 1
    assert result.stderr.count("Damaged at") == 10
    assert "And 4 more damaged places." in result.stderr


def test_another_file_is_refused_in_one_line(bob: Shell, out: Path) -> None:
    out.write_text("hello")
    assert "no ciris-mesh bundle" in bob.error("import", str(out))


def test_a_missing_file_is_a_usage_error(bob: Shell, out: Path) -> None:
    assert bob.run("import", str(out)).exit_code == 2


def test_a_bundle_goes_through_a_pipe(alice: Shell, bob: Shell) -> None:
    command = [sys.executable, "-m", "ciris_mesh", "--config"]
    environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
    exported = subprocess.run(
        [*command, str(alice.home.path), "export"],
        capture_output=True,
        check=True,
        env=environment,
    )
    imported = subprocess.run(
        [*command, str(bob.home.path), "import", "-", "--json"],
        input=exported.stdout,
        capture_output=True,
        check=True,
        env=environment,
    )
    assert counts(json.loads(imported.stdout)) == {("admitted", ""): 4}
    assert exported.stderr == b"4 records written.\n"
    assert imported.stderr == b""


def test_a_home_must_be_there(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from ciris_mesh.cli.commands import cli

    result = CliRunner().invoke(cli, ["--config", str(tmp_path / "no"), "export", "--out", "x"])
    assert result.exit_code == 1
    assert "ciris-mesh init" in result.stderr


# -- with a running node ---------------------------------------------------------------------------


def test_a_running_node_exports_and_imports(alice: Shell, bob: Shell, out: Path) -> None:
    held = ids(alice)
    with running(alice):
        alice.ok("export", "--out", str(out))
    with running(bob) as node:
        answer = bob.json("import", str(out))
        assert counts(answer) == {("admitted", ""): 4}
        assert counts(bob.json("import", str(out))) == {("duplicate", ""): 4}
        paths = {path for path, _, _ in node.directory.outcome_counts()}
        assert "import" in paths
    assert ids(bob) >= held


def test_both_ways_of_exporting_give_the_same_bytes(
    alice: Shell, out: Path, tmp_path: Path
) -> None:
    with running(alice):
        alice.ok("export", "--out", str(out))
    alice.ok("export", "--out", str(tmp_path / "y"))
    assert out.read_bytes() == (tmp_path / "y").read_bytes()


def test_a_forged_record_is_refused_by_a_running_node(alice: Shell, bob: Shell, out: Path) -> None:
    import hashlib

    alice.ok("export", "--out", str(out))
    head, key, envelope, line, signed, _ = out.read_bytes().split(b"\n", 5)
    forged = signed.replace(b'"score":', b'"scorf":', 1)
    checksum = hashlib.sha256(b"attestation\0" + forged).hexdigest().encode()
    line = line.rpartition(b" ")[0] + b" " + checksum
    out.write_bytes(b"\n".join([head, key, envelope, line, forged, b""]))
    with running(bob):
        result = bob.run("import", str(out), "--json")
        assert result.exit_code == 1
        found = counts(json.loads(result.stdout))
    assert found[("admitted", "")] == 1
    assert sum(found.values()) == 2


def test_the_node_takes_no_more_than_a_batch(bob: Shell) -> None:
    row = {"kind": "key", "envelope_base64": base64.b64encode(b"{}").decode()}
    bad: list[Any] = [
        None,
        "x",
        [row] * (BATCH_RECORDS_MAX + 1),
        ["x"],
        [{"kind": "key"}],
        [{**row, "kind": "blob"}],
        [{**row, "envelope_base64": "%%"}],
    ]
    with running(bob):
        for records in bad:
            with pytest.raises(ControlError):
                call(bob.home.find_socket(), "import_batch", records=records)
        answer = call(bob.home.find_socket(), "import_batch", records=[row])
        assert [one["outcome"] for one in answer] == ["malformed"]


def test_pages_of_an_export_are_bounded(alice: Shell) -> None:
    with running(alice):
        page = call(alice.home.find_socket(), "export_page", kind="key", after=0)
        assert [row["kind"] for row in page["rows"]] == [EnvelopeKind.KEY.value]
        assert page["is_last"]
        for arguments in ({"after": -1}, {"kind": "blob"}):
            with pytest.raises(ControlError):
                call(alice.home.find_socket(), "export_page", **arguments)


def test_a_directory_that_is_not_there_is_named(alice: Shell, tmp_path: Path) -> None:
    result = alice.run("export", str(tmp_path / "away" / "all.bundle"))
    assert result.exit_code == 1
    assert (
        result.stderr.splitlines()[-1] == f"ciris-mesh: there is no directory {tmp_path / 'away'}"
    )
