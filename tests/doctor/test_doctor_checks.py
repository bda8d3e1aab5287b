"""Every row of the table judges as it should: facts in, findings out."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.cli.commands import COMMANDS
from ciris_mesh.doctor.checks import CHECKS, examine, is_healthy
from ciris_mesh.doctor.facts import (
    DatabaseFacts,
    DiskFacts,
    Facts,
    FileFacts,
    NodeFacts,
    ReticulumFacts,
    Word,
)
from ciris_mesh.radio.traps import Finding as Trap
from ciris_mesh.radio.traps import Level
from ciris_mesh.transport.rns_shared import Rpc, SharedInstance
from ciris_mesh.transport.serialports import Holder, SerialPort
from support.doctoring import (
    BUDGET,
    INTERFACE,
    KIND,
    PEER,
    STATUS,
    complaints,
    spoiled,
    with_peer,
    with_status,
)

CONFIG = "/srv/node/.reticulum/config"


def port(**members: Any) -> SerialPort:
    usual = {
        "path": "/dev/serial/by-id/usb-rnode", "device": "/dev/ttyUSB0", "exists": True,
        "owner": "root", "group": "dialout", "mode": 0o660, "usable": True, "member": True,
    }  # fmt: skip
    return SerialPort(**{**usual, **members})


def reticulum(**members: Any) -> Facts:
    usual: dict[str, Any] = {"config": CONFIG, "version": "1.5.7"}
    return spoiled(reticulum=ReticulumFacts(**{**usual, **members}))


def shared(**members: Any) -> SharedInstance:
    usual: dict[str, Any] = {
        "name": "default", "pid": 42, "uid": 1001, "user": "root", "program": "rnsd",
        "rpc": Rpc.REJECTED,
    }  # fmt: skip
    return SharedInstance(**{**usual, **members})


def trap(name: str, level: Level = Level.ERROR) -> ReticulumFacts:
    return ReticulumFacts(
        config=CONFIG, version="1.5.7", traps=(Trap(level, "roof", name, "is wrong"),)
    )


BUSY_BUDGET = {**BUDGET, "health": ["roof was on air for 50 s of 36 s"]}
STALE = {**KIND, "confirmed_s": 7_200.0, "fresh": False}
NEVER = {**KIND, "confirmed_s": None, "fresh": False}

#: What is wrong -> the check that says so, how, a word of its sentence, a word of its command.
MATRIX: list[tuple[str, Facts, str, Word, str, str]] = [
    ("no home", spoiled(home_problem="no node lives here"), "home", Word.FAIL,
     "no node", "ciris-mesh init"),
    ("config", spoiled(config_problem="line 3: what"), "home", Word.FAIL, "line 3", "EDITOR"),
    ("unknown option", spoiled(warnings=("[node] nmae is unknown",)), "home", Word.WARN,
     "nmae", "EDITOR"),
    ("key mode", spoiled(files=(FileFacts("/k", secret=True, mode=0o640),)), "key_files",
     Word.FAIL, "read by others", "chmod go= /k"),
    ("config mode", spoiled(files=(FileFacts("/c", secret=False, mode=0o664),)), "key_files",
     Word.FAIL, "changed by others", "chmod go-w /c"),
    ("key lost", spoiled(files=(FileFacts("/k", secret=True, mode=None, problem="/k is missing"),)),
     "key_files", Word.FAIL, "missing", "ls -l /k"),
    ("clock", spoiled(clock_source=""), "clock", Word.FAIL, "nobody vouches", "timedatectl"),
    ("disk full", spoiled(disk=DiskFacts("/s", 1000, 10**9)), "disk", Word.FAIL, "full", "df -h"),
    ("disk low", spoiled(disk=DiskFacts("/s", 10**8, 10**9)), "disk", Word.WARN, "100.0 MB",
     "df -h"),
    ("inodes", spoiled(disk=DiskFacts("/s", 10**9, 10**9, free_inodes=3)), "disk", Word.WARN,
     "3 more files", "df -i"),
    ("read-only", spoiled(disk=DiskFacts("/s", 10**9, 10**9, read_only=True)), "disk", Word.FAIL,
     "read-only", "dmesg"),
    ("disk denied", spoiled(disk=DiskFacts("/s", problem="/s cannot be written")), "disk",
     Word.FAIL, "cannot be written", "ls -ld"),
    ("database", spoiled(database=DatabaseFacts("/d", exists=True, problem="/d is damaged",
     backup="/d.backup-3")), "database", Word.FAIL, "damaged", "cp /d.backup-3 /d"),
    ("wear", with_status(written_bytes=10**9), "writes", Word.WARN, "40.0 MB an hour", "explain"),
    ("no reticulum", reticulum(config="", problem="no Reticulum configuration"), "reticulum",
     Word.FAIL, "no Reticulum", "rnsd"),
    ("reticulum broken", reticulum(problem="cannot be read"), "reticulum", Word.FAIL,
     "cannot be read", "EDITOR"),
    ("bz2 bomb", reticulum(version="1.1.8"), "reticulum_version", Word.FAIL, "1.1.8", "upgrade"),
    ("untested", reticulum(version="1.6.0"), "reticulum_version", Word.WARN, "1.6.0", "upgrade"),
    ("other user", reticulum(shared=shared()), "other_rnsd", Word.FAIL,
     "digest sent was rejected", 'sudo -u root "$(command -v ciris-mesh)" doctor'),
    ("same name", reticulum(shared=shared(user="pi")), "instance_name", Word.FAIL,
     "another configuration", "EDITOR"),
    ("wedged", reticulum(shared=shared(user="pi", rpc=Rpc.SILENT)), "instance_name", Word.WARN,
     "does not answer", "ps -fp 42"),
    ("wedged, other", reticulum(shared=shared(rpc=Rpc.SILENT)), "other_rnsd", Word.WARN,
     "does not answer", "ps -fp 42"),
    ("dialout", reticulum(ports=(port(usable=False, member=False),)), "port_permission",
     Word.FAIL, "group dialout", "sudo usermod -aG dialout pi"),
    ("plugdev", reticulum(ports=(port(usable=False, member=False, group="plugdev"),)),
     "port_permission", Word.FAIL, "group plugdev", "sudo usermod -aG plugdev pi"),
    ("log in again", reticulum(ports=(port(usable=False),)), "port_permission", Word.FAIL,
     "log out and in again", "namei"),
    ("owner only", reticulum(ports=(port(usable=False, mode=0o600),)), "port_permission",
     Word.FAIL, "alone", 'sudo "$(command -v ciris-mesh)" setup --udev --port /dev/serial/by-id/'),
    ("root's group", reticulum(ports=(port(usable=False, member=False, group="root"),)),
     "port_permission", Word.FAIL, "alone", "setup --udev"),
    ("held", reticulum(ports=(port(holders=(Holder(9, "minicom", "ann"),)),)), "port_held",
     Word.FAIL, "minicom (pid 9, user ann)", "kill 9"),
    ("unplugged", reticulum(ports=(port(exists=False),)), "port_missing", Word.WARN,
     "not there", "ls -l /dev/serial/by-id"),
    ("mode", spoiled(reticulum=trap("uncapped_announces")), "interface_modes", Word.FAIL,
     "uncapped_announces", "EDITOR"),
    ("cap", spoiled(reticulum=trap("announce_cap_raised", Level.WARNING)), "interface_modes",
     Word.WARN, "announce_cap_raised", "EDITOR"),
    ("airtime", spoiled(reticulum=trap("no_airtime_limit", Level.WARNING)), "airtime_limit",
     Word.WARN, "no_airtime_limit", "EDITOR"),
    ("setting", spoiled(reticulum=trap("flow_control_wedges")), "interface_settings", Word.FAIL,
     "flow_control_wedges", "EDITOR"),
    ("not running", spoiled(node=NodeFacts(why="no node is running here")), "node", Word.FAIL,
     "no node is running", "ciris-mesh run"),
    ("old node", with_status(version="0.0.9"), "node_version", Word.WARN, "0.0.9", "restart"),
    ("down", with_status(interfaces=[{**INTERFACE, "online": False}]), "interfaces_down",
     Word.FAIL, "is down", "rnstatus"),
    ("none", with_status(interfaces=[]), "interfaces_down", Word.WARN, "no interface",
     "interfaces list"),
    ("deaf", with_status(interfaces=[{**INTERFACE, "silent_s": 43_200.0}]), "radio_deaf",
     Word.WARN, "heard nothing for 12 h", "rnstatus"),
    ("flooded", with_status(drops={"rns_inbound_dropped": 100}), "rns_inbound", Word.FAIL,
     "100 packets", "top"),
    ("over", spoiled(node=NodeFacts(7, status=STATUS, budget=BUSY_BUDGET)), "airtime_used",
     Word.FAIL, "on air for 50 s", "ciris-mesh budget"),
    ("no path", with_peer(state="unreachable", reason="no_path"), "peers_path", Word.FAIL,
     "no path to bob", f"rnpath {'ab' * 16}"),
    ("stale", with_peer(fresh=False, kinds=[STALE]), "peers_stale", Word.WARN, "2 h ago", "peers"),
    ("never", with_peer(fresh=False, kinds=[NEVER]), "peers_stale", Word.WARN, "has not agreed",
     "peers"),
    ("skew", with_peer(lacks=["frames 0x81"]), "peers_version", Word.WARN, "frames 0x81", "peers"),
    ("their clock", with_peer(skew_days=-400), "peers_clock", Word.WARN, "400 days behind", "date"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "name", "word", "says", "command"),
    [row[1:] for row in MATRIX],
    ids=[row[0] for row in MATRIX],
)
def test_what_is_wrong_is_said_by_its_check(
    facts: Facts, name: str, word: Word, says: str, command: str
) -> None:
    found = complaints(facts)
    assert found[name].word is word
    assert says in found[name].text
    assert command in found[name].command
    assert not is_healthy(examine(facts))


def test_every_check_is_provoked_in_the_matrix() -> None:
    assert {row[2] for row in MATRIX} == {check.name for check in CHECKS}


def test_where_nothing_is_wrong_every_check_has_one_line_and_none_complains() -> None:
    found = examine(spoiled())
    assert [each.name for each in found] == [check.name for check in CHECKS]
    assert {each.word for each in found} == {Word.OK}
    assert is_healthy(found)


def test_names_are_words_that_stay() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name == name.lower() for name in names)


def test_a_port_another_reticulum_opens_for_us_need_not_be_ours() -> None:
    accepted = shared(rpc=Rpc.ACCEPTED)
    ours = port(usable=False, member=False, holders=(Holder(42, "rnsd", "root"),))
    assert complaints(reticulum(ports=(ours,), shared=accepted)) == {}


def test_the_node_itself_may_hold_its_port() -> None:
    assert complaints(reticulum(ports=(port(holders=(Holder(7, "ciris-mesh", "pi"),)),))) == {}


@pytest.mark.parametrize(
    "facts",
    [
        with_status(interfaces=[{**INTERFACE, "silent_s": 43_199.0}]),
        with_status(interfaces=[{**INTERFACE, "silent_s": None}]),
        with_status(interfaces=[{**INTERFACE, "medium": "tcp", "silent_s": 90_000.0}]),
        with_status(drops={"rns_inbound_dropped": 99}),
        with_status(uptime_s=599.0, written_bytes=10**9),
        with_status(uptime_s=599.0, peers=[{**PEER, "fresh": False, "kinds": [NEVER]}]),
        with_status(written_bytes=None),
        with_peer(skew_days=1),
        with_peer(skew_days=None),
        with_peer(state="connected", reason="no_path"),
        with_status(peers=[]),
        spoiled(clock_source="assumed"),
        spoiled(reticulum=trap("bridge_modes", Level.ADVICE)),
        spoiled(database=DatabaseFacts("/d", exists=True, looked_at_all=False)),
    ],
)
def test_what_is_no_fault_is_no_complaint(facts: Facts) -> None:
    assert complaints(facts) == {}


def test_without_a_node_its_checks_say_so_instead_of_being_fine() -> None:
    found = {each.name: each for each in examine(spoiled(node=NodeFacts(why="no node")))}
    for name in ("peers_stale", "peers_path", "radio_deaf", "rns_inbound", "airtime_used"):
        assert found[name].word is Word.SKIP, name


#: Programs of a Debian system and of Reticulum that commands name; ours is looked up.
PROGRAMS = frozenset(
    {
        *("chmod", "chown", "cp", "date", "df", "dmesg", "kill", "ls", "mv", "namei", "ps", "top"),
        *("systemctl", "timedatectl", "timeout", "usermod", "${EDITOR:-nano}"),
        *("rnsd", "rnstatus", "rnpath", "python3"),
    }
)


@pytest.mark.parametrize("bad", range(len(MATRIX)))
def test_every_command_is_one_that_can_be_typed(bad: int) -> None:
    for each in complaints(MATRIX[bad][1]).values():
        for part in each.command.split(" && "):
            words = shlex.split(part)
            if words[0] == "sudo":
                words = words[3:] if words[1] == "-u" else words[1:]
            if words[0] in ("ciris-mesh", "$(command -v ciris-mesh)"):
                assert words[1] in COMMANDS, part
            else:
                assert words[0] in PROGRAMS, part


@pytest.mark.parametrize("name", ["rnsd", "rnstatus", "rnpath"])
def test_reticulums_programs_come_with_this_one(name: str) -> None:
    assert os.access(Path(sys.executable).with_name(name), os.X_OK)


def test_reticulums_programs_are_told_where_it_is() -> None:
    usual = with_status(interfaces=[{**INTERFACE, "online": False}])
    assert complaints(usual)["interfaces_down"].command == "rnstatus -A"
    elsewhere = replace(usual.reticulum, config="/srv/my rns/config")
    found = complaints(replace(usual, reticulum=elsewhere))["interfaces_down"]
    assert found.command == "rnstatus -A --config '/srv/my rns'"


@pytest.mark.parametrize("bad", range(len(MATRIX)))
def test_every_complaint_has_exactly_one_command(bad: int) -> None:
    for each in complaints(MATRIX[bad][1]).values():
        assert each.command
        assert "\n" not in each.command


def test_where_no_node_lives_none_is_said_to_run() -> None:
    facts = spoiled(home_problem="no node lives here", node=NodeFacts())
    (found,) = (each for each in examine(facts) if each.name == "node")
    assert (found.word, found.text) == (Word.SKIP, "no node runs here")
