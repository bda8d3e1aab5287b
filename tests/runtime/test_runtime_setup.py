"""A new home holds one node, and says who it is without starting anything."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError, KeyFileError
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.invite import parse_invite
from ciris_mesh.runtime.setup import new_node, node_identity


def test_a_new_home_is_checked_and_complete(tmp_path: Path) -> None:
    home = new_node(tmp_path / "home", "alice")
    home.check()
    assert load_config(home.config).warnings == ()
    assert stat.S_IMODE(home.federation_key.stat().st_mode) == 0o600


def test_settings_are_written_into_the_configuration(tmp_path: Path) -> None:
    home = new_node(tmp_path / "home", "alice", settings={("rounds", "cadence_s"): "2"})
    assert load_config(home.config).rounds.cadence_s == 2


def test_the_identity_is_stable_and_its_invite_names_it(tmp_path: Path) -> None:
    home = new_node(tmp_path / "home", "alice")
    one, two = node_identity(home), node_identity(home)
    invite = parse_invite(one.invite)
    assert (invite.key_id, invite.fingerprint, invite.address) == (
        two.key_id,
        two.fingerprint,
        two.address,
    )
    assert one.key_id.startswith("alice-")
    assert one.words == two.words


def test_two_nodes_are_different_ones(tmp_path: Path) -> None:
    ids = [node_identity(new_node(tmp_path / name, "alice")) for name in ("a", "b")]
    assert ids[0].key_id != ids[1].key_id
    assert ids[0].address != ids[1].address


def test_reticulum_computes_the_same_address(tmp_path: Path) -> None:
    home = new_node(tmp_path / "home", "alice")
    script = (
        "import RNS, sys\n"
        "identity = RNS.Identity.from_file(sys.argv[1])\n"
        "print(identity.hash.hex(), identity.get_public_key().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home.identity)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    mine = node_identity(home)
    assert done.stdout.split() == [mine.address.hex(), mine.rns_public_key.hex()]


def test_nothing_is_left_of_a_refused_home(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no name"):
        new_node(tmp_path / "home", "Not A Name")
    assert not (tmp_path / "home").exists()


def test_a_home_is_not_overwritten_unless_asked_and_then_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "home"
    old = node_identity(new_node(path, "alice")).key_id
    with pytest.raises(ConfigError, match="holds a node already"):
        new_node(path, "bob")
    assert node_identity(new_node(path, "bob", replace=True)).key_id.startswith("bob-")
    assert node_identity(Home(tmp_path / "home.old-1")).key_id == old


def test_the_key_is_in_no_repr(tmp_path: Path) -> None:
    assert "FederationKey" not in repr(node_identity(new_node(tmp_path / "home", "alice")))
