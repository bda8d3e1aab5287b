"""Faults made for real, and what `doctor` finds: files, sockets, ptys, other processes."""

from __future__ import annotations

import grp
import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.doctor import gather as gathering
from ciris_mesh.doctor.checks import Finding, examine
from ciris_mesh.doctor.facts import Word
from ciris_mesh.doctor.gather import gather
from ciris_mesh.runtime import clock as clock_module
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.setup import new_node
from ciris_mesh.runtime.timesource import read_time_facts
from ciris_mesh.transport.serialports import look_at
from support.cli import answering
from support.doctoring import BUDGET, CLOCK, STATUS
from support.node_processes import environment, run_cli
from support.postgres import lent_database
from support.waiting import wait_until

NOBODY = 65534
PRIVATE_RNS = "[reticulum]\n  share_instance = No\n"
LORA = (
    "    type = RNodeInterface\n    enabled = yes\n    frequency = 869525000\n"
    "    bandwidth = 125000\n    spreadingfactor = 8\n    codingrate = 5\n    txpower = 14\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_node(tmp_path / "home", "alice")


@pytest.fixture
def rns(tmp_path: Path) -> Path:
    made = tmp_path / "rns"
    made.mkdir()
    (made / "config").write_text(PRIVATE_RNS)
    return made


def with_radio(rns: Path, port: str, *, extra: str = "airtime_limit_long = 8") -> None:
    (rns / "config").write_text(
        f"{PRIVATE_RNS}[interfaces]\n  [[roof]]\n{LORA}    port = {port}\n    {extra}\n"
    )


def found(home: Home, rns: Path) -> dict[str, Finding]:
    """Name of a check -> the worst it says."""
    order = list(Word)
    worst: dict[str, Finding] = {}
    for each in examine(gather(home, rns)):
        before = worst.get(each.name)
        if before is None or order.index(each.word) > order.index(before.word):
            worst[each.name] = each
    return worst


@contextmanager
def terminal() -> Iterator[str]:
    """The path of a pty, open at its other end as a plugged-in device would be."""
    master, slave = pty.openpty()
    try:
        yield os.ttyname(slave)
    finally:
        os.close(slave)
        os.close(master)


@contextmanager
def process(*words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, **options)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


# --- home, files, clock, disk, store --------------------------------------------------------------


def test_a_new_node_fails_only_for_not_running(home: Home, rns: Path) -> None:
    failed = {name for name, each in found(home, rns).items() if each.word is Word.FAIL}
    assert failed == {"node"}


def test_no_home(tmp_path: Path, rns: Path) -> None:
    said = found(Home(tmp_path / "nothing"), rns)["home"]
    assert said.word is Word.FAIL
    assert "ciris-mesh init" in said.command


def test_a_configuration_nobody_can_read(home: Home, rns: Path) -> None:
    home.config.write_text("[node\n")
    assert "line 1" in found(home, rns)["home"].text


def test_an_option_that_has_no_effect(home: Home, rns: Path) -> None:
    home.config.write_text("[node]\nlog_levle = 3\n")
    said = found(home, rns)["home"]
    assert (said.word, "did you mean log_level?" in said.text) == (Word.WARN, True)


@pytest.mark.parametrize("name", ["identity", "federation.key"])
def test_a_key_others_may_read(home: Home, rns: Path, name: str) -> None:
    path = home.path / name
    path.chmod(0o640)
    said = found(home, rns)["key_files"]
    assert (said.word, said.command) == (Word.FAIL, f"chmod go= {path}")
    subprocess.run(said.command, shell=True, check=True)
    assert found(home, rns)["key_files"].word is Word.OK


@pytest.mark.parametrize("name", ["config", "."])
def test_decisions_others_may_change(home: Home, rns: Path, name: str) -> None:
    path = home.path / name
    path.chmod(0o777)
    said = found(home, rns)["key_files"]
    assert (said.word, said.command) == (Word.FAIL, f"chmod go-w {path}")
    subprocess.run(said.command, shell=True, check=True)
    assert found(home, rns)["key_files"].word is Word.OK


@pytest.mark.parametrize("name", ["identity", "federation.key"])
@pytest.mark.parametrize("data", [None, b"short"], ids=["missing", "cut short"])
def test_a_key_that_is_none(home: Home, rns: Path, name: str, data: bytes | None) -> None:
    path = home.path / name
    path.unlink() if data is None else path.write_bytes(data)
    said = found(home, rns)["key_files"]
    assert said.word is Word.FAIL
    assert "backup" in said.text


def test_a_clock_nobody_vouches_for(home: Home, rns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIRIS_MESH_CLOCK")
    system = read_time_facts(CLOCK.wall_ms)
    alone = type(system)(system.wall_ms, False, False, None, system.boot_id, system.boot_s)
    monkeypatch.setattr(clock_module, "read_time_facts", lambda _: alone)
    said = found(home, rns)["clock"]
    assert (said.word, said.command) == (Word.FAIL, "timedatectl set-ntp true")
    monkeypatch.setenv("CIRIS_MESH_CLOCK", "assume-trusted")
    said = found(home, rns)["clock"]
    assert said.word is Word.NOTE
    assert "the variable CIRIS_MESH_CLOCK says so" in said.text
    home.config.write_text("[node]\nclock = assume-trusted\n")
    said = found(home, rns)["clock"]
    assert said.word is Word.NOTE
    assert "the configuration says so" in said.text


def test_a_clock_before_the_build(home: Home, rns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module.SystemClock, "wall_ms", lambda _: 0)
    said = found(home, rns)["clock"]
    assert (said.word, said.text[:10]) == (Word.FAIL, "1970-01-01")


def store(home: Home) -> Path:
    with closing(SqliteDirectory(home.database)):
        pass
    return home.database


def test_a_store_that_is_whole(home: Home, rns: Path) -> None:
    store(home)
    assert found(home, rns)["database"].word is Word.OK


@pytest.mark.parametrize("at", [0, 4096 + 8, 3 * 4096], ids=["head", "page 2", "page 4"])
def test_a_damaged_store(home: Home, rns: Path, at: int) -> None:
    path = store(home)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 600)
    said = found(home, rns)["database"]
    assert said.word is Word.FAIL
    assert said.command.startswith(f"mv {path} ")


def test_a_damaged_store_with_a_backup(home: Home, rns: Path) -> None:
    path = store(home)
    backup = path.with_name(f"{path.name}.backup-1")
    backup.write_bytes(path.read_bytes())
    path.write_bytes(b"\0" * 8192)
    said = found(home, rns)["database"]
    subprocess.run(said.command, shell=True, check=True)
    assert found(home, rns)["database"].word is Word.OK


needs_root = pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs root and mount namespaces",
)


def doctor_on_tmpfs(home: Home, rns: Path, mount: Path, spoil: str) -> dict[str, Any]:
    """What `doctor --json` says of a home that was moved to a small RAM disk and spoiled there."""
    mount.mkdir()
    moved = mount / "home"
    script = (
        f"mount -t tmpfs -o size=40m none {mount} && cp -a {home.path} {moved} && {spoil} && "
        f"exec {sys.executable} -m ciris_mesh --config {moved} --rnsconfig {rns} doctor --json"
    )
    out = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True, text=True, timeout=240, env=environment(), check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return {row["name"]: row for row in json.loads(out.stdout)["checks"]}


@needs_root
def test_a_full_disk(home: Home, rns: Path, tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    fill = f"(head -c 50m /dev/zero > {mount}/zeros 2>/dev/null || true)"
    row = doctor_on_tmpfs(home, rns, mount, fill)["disk"]
    assert (row["word"], "full" in row["text"]) == ("fail", True)
    assert row["command"].startswith("df -h ")


@needs_root
def test_a_disk_that_became_read_only(home: Home, rns: Path, tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    row = doctor_on_tmpfs(home, rns, mount, f"mount -o remount,ro {mount}")["disk"]
    assert (row["word"], "read-only" in row["text"]) == ("fail", True)


# --- ports ----------------------------------------------------------------------------------------


def test_a_port_that_is_not_there(home: Home, rns: Path) -> None:
    with_radio(rns, "/dev/serial/by-id/usb-gone")
    said = found(home, rns)["port_missing"]
    assert (said.word, said.command) == (Word.WARN, "ls -l /dev/serial/by-id")


def test_a_port_held_by_another_process(home: Home, rns: Path) -> None:
    opener = (
        "import os, sys, time; os.open(sys.argv[1], os.O_RDWR); print(flush=True); time.sleep(600)"
    )
    with terminal() as path:
        with_radio(rns, path)
        assert found(home, rns)["port_held"].word is Word.OK
        with process(sys.executable, "-c", opener, path, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            said = found(home, rns)["port_held"]
            holder.stdout.close()
    assert (said.word, said.command) == (Word.FAIL, f"kill {holder.pid}")
    assert f"pid {holder.pid}" in said.text


@contextmanager
def as_nobody() -> Iterator[None]:
    """A user without groups, for this process, as far as the file system is concerned."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("group", ["dialout", "plugdev"])
def test_a_port_of_a_group_one_is_not_in(tmp_path: Path, group: str) -> None:
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        pytest.skip(f"this system has no group {group}")
    with terminal() as path:
        os.chown(path, 0, gid)
        os.chmod(path, 0o660)
        with as_nobody():
            (port,) = look_at([path])
    assert (port.usable, port.member, port.group, port.group_may) == (False, False, group, True)
    facts = gather(Home(tmp_path / "none"), tmp_path)
    facts = replace(facts, user="pi", reticulum=replace(facts.reticulum, ports=(port,)))
    said = next(each for each in examine(facts) if each.name == "port_permission")
    assert said.command == f"sudo usermod -aG {group} pi"


# --- Reticulum's configuration --------------------------------------------------------------------


def test_no_configuration_of_reticulum(home: Home, tmp_path: Path) -> None:
    said = found(home, tmp_path / "none")["reticulum"]
    assert (said.word, said.command) == (Word.FAIL, "timeout 5 rnsd")


def test_one_that_cannot_be_read(home: Home, rns: Path) -> None:
    (rns / "config").write_text("[interfaces\n")
    said = found(home, rns)["reticulum"]
    assert (said.word, said.command) == (Word.FAIL, f"${{EDITOR:-nano}} {rns / 'config'}")


@pytest.mark.parametrize(
    ("extra", "check", "trap"),
    [
        ("interface_mode = gateway", "interface_modes", "interface_mode_crashes"),
        ("announce_cap = 20", "interface_modes", "announce_cap_raised"),
        ("flow_control = yes", "interface_settings", "flow_control_wedges"),
        ("", "airtime_limit", "no_airtime_limit"),
        ("airtime_limit_long = 50", "airtime_limit", "airtime_limit_over_band"),
    ],
)
def test_settings_that_bite(home: Home, rns: Path, extra: str, check: str, trap: str) -> None:
    with_radio(rns, "/dev/null", extra=extra)
    said = found(home, rns)[check]
    assert said.word in (Word.FAIL, Word.WARN)
    assert f"({trap})" in said.text


# --- other Reticulums -----------------------------------------------------------------------------


def shared_config(directory: Path, name: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config").write_text(
        f"[reticulum]\n  share_instance = Yes\n  instance_name = {name}\n[interfaces]\n"
    )
    return directory


def rnsd(directory: Path, **options: Any) -> Any:
    words: Sequence[str] = (sys.executable, "-m", "RNS.Utilities.rnsd", "--config", str(directory))
    return process(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


def until(look: Callable[[], Finding], word: Word) -> Finding:
    """What is said once it is of that sort: who does not answer within a second is said to hang."""
    said: list[Finding] = []

    def says_so() -> bool:
        said[:] = [look()]
        return said[0].word is word

    wait_until(says_so, lambda: said)
    return said[0]


@pytest.mark.rns
def test_a_reticulum_of_the_same_user_with_another_configuration(
    home: Home, tmp_path: Path
) -> None:
    name = f"ciris-doctor-{os.getpid()}"
    theirs = shared_config(tmp_path / "theirs", name)
    ours = shared_config(tmp_path / "ours", name)
    with rnsd(theirs) as daemon:
        wait_until(lambda: gather(home, theirs).reticulum.shared is not None)
        until(lambda: found(home, theirs)["reticulum"], Word.OK)
        said = until(lambda: found(home, ours)["instance_name"], Word.FAIL)
        until(lambda: found(home, theirs)["instance_name"], Word.OK)  # its own are let in
        assert f"(pid {daemon.pid})" in said.text
        assert said.command == f"${{EDITOR:-nano}} {ours / 'config'}"


@pytest.mark.rns
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_reticulum_of_another_user(home: Home, tmp_path: Path) -> None:
    name = f"ciris-doctor-other-{os.getpid()}"
    place = Path(f"/tmp/cm-doctor-{os.getpid()}")  # where others may look, unlike pytest's own
    ours = shared_config(place, name)
    theirs = shared_config(tmp_path / "theirs", name)
    gather(home, ours)  # what it loads, it loads as us

    def as_other() -> Finding:
        with as_nobody():
            return found(home, ours)["other_rnsd"]

    try:
        with rnsd(theirs) as daemon:
            said = until(as_other, Word.FAIL)
    finally:
        shutil.rmtree(place)
    assert f"(pid {daemon.pid}) of user root" in said.text
    assert "digest sent was rejected" in said.text
    assert said.command == 'sudo -u root "$(command -v ciris-mesh)" doctor'


# --- the node -------------------------------------------------------------------------------------


def test_a_node_that_answers(home: Home, rns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "ASK_S", 240.0)
    with answering(home, {"status": lambda _: STATUS, "budget": lambda _: BUDGET}):
        said = found(home, rns)["node"]
    assert (said.word, f"(pid {os.getpid()})" in said.text) == (Word.OK, True)


def test_a_node_that_hangs_is_said_in_time(home: Home, rns: Path) -> None:
    """It is said while the node still hangs."""
    is_said = threading.Event()

    def late(_: object) -> object:
        is_said.wait(240.0)
        return STATUS

    with answering(home, {"status": late}):
        try:
            said = found(home, rns)["node"]
        finally:
            is_said.set()
    assert "did not answer" in said.text


# --- the command ----------------------------------------------------------------------------------


def test_the_command_changes_nothing_and_says_the_same(home: Home, rns: Path) -> None:
    before = sorted((str(path), path.stat().st_mtime_ns) for path in home.path.rglob("*"))
    options = ("--config", home.path, "--rnsconfig", rns)
    text, data = run_cli(*options, "doctor"), run_cli(*options, "doctor", "--json")
    after = sorted((str(path), path.stat().st_mtime_ns) for path in home.path.rglob("*"))
    assert before == after
    rows = json.loads(data.stdout)["checks"]
    for row in rows:
        assert f"{row['word']:<4} {row['name']}" in text.stdout
    assert text.returncode == data.returncode == 0
    assert run_cli(*options, "doctor", "--check").returncode == 1


def test_a_database_on_a_server_is_asked_whether_it_answers(
    home: Home, rns: Path, tmp_path: Path
) -> None:
    text = home.config.read_text()
    with lent_database() as url:
        home.config.write_text(text.replace("\nurl =", f"\nurl = {url}", 1))
        said = found(home, rns)["database"]
        assert said.word is Word.OK
        assert "db check" in said.text
    away = f"postgresql:///records?host={tmp_path}"
    home.config.write_text(text.replace("\nurl =", f"\nurl = {away}", 1))
    said = found(home, rns)["database"]
    assert said.word is Word.FAIL
    assert "is the server running" in said.text
