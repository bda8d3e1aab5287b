"""`key sign`: how chains to a root are made, from outside, by nodes that are not running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.setup import NodeIdentity, node_identity
from support.authoring import introduce, key_of, previewed
from support.cli import Shell, shell
from support.keys import alice


@pytest.fixture
def bob(tmp_path: Path) -> Shell:
    return shell(tmp_path / "bob", "bob")


@pytest.fixture
def sh(tmp_path: Path, bob: Shell) -> Shell:
    """The root's node, which knows bob's key."""
    root = shell(tmp_path / "home", "root")
    introduce(root, bob)
    return root


@pytest.fixture
def carol(sh: Shell, tmp_path: Path) -> NodeIdentity:
    """A peer whose key record has not come yet."""
    identity = node_identity(shell(tmp_path / "carol", "carol").home)
    sh.ok("peer", "add", identity.invite, "--alias", "our carol")
    return identity


def rooted(sh: Shell) -> frozenset[str]:
    """Whom a node that has this one's key as its root takes for rooted, given the same records."""
    own = key_of(sh)
    trust = Trust(roots={own.key_id: own.public.fingerprint})
    directory = SqliteDirectory(sh.home.database, trust=trust)
    try:
        return directory.rooted()
    finally:
        directory.close()


def newest(sh: Shell, kind: EnvelopeKind) -> dict[str, Any]:
    directory = SqliteDirectory(sh.home.database)
    try:
        *_, (_, row) = directory.rows(kind, limit=100)
    finally:
        directory.close()
    (record,) = (
        value for value in json.loads(row.envelope).values() if "persist_row_hash" in value
    )
    assert isinstance(record, dict)
    return record


def test_a_root_says_so_of_itself_and_signs_another_key(sh: Shell, bob: Shell) -> None:
    own, other = key_of(sh).key_id, key_of(bob).key_id
    assert rooted(sh) == frozenset()
    sh.ok("key", "sign", own, "--type", "steward", "--yes")
    assert rooted(sh) == {own}
    sh.ok("key", "sign", other[:8], "--type", "witness", "--type", "agent", "--yes")
    assert rooted(sh) == {own, other}
    record = newest(sh, EnvelopeKind.KEY)
    assert record["identity_type"] == "agent,witness"
    assert record["identity_ref"] == other
    assert record["scrub_key_id"] == own


def test_it_is_shown_before_it_is_signed(sh: Shell, bob: Shell) -> None:
    other = key_of(bob).key_id
    text = sh.run("key", "sign", other, "--type", "agent", "--ref", "Bob").stderr
    shown = previewed(text)
    assert (shown["key_id"], shown["identity_ref"]) == (other, "Bob")
    assert f"About {other}" in text
    assert newest(sh, EnvelopeKind.KEY)["scrub_key_id"] == other, "nothing was signed"


def test_a_key_nobody_here_knows_cannot_be_signed(sh: Shell) -> None:
    text = sh.error("key", "sign", alice().key_id, "--type", "agent", "--yes")
    assert "no peer and no key here is called" in text


def test_a_peer_whose_record_has_not_come_yet_is_waited_for(sh: Shell, carol: NodeIdentity) -> None:
    text = sh.error("key", "sign", "our carol", "--type", "agent", "--yes")
    assert f"no record of the key {carol.key_id} is here yet" in text


def test_aliases_stand_for_key_ids_wherever_one_is_asked_for(
    sh: Shell, carol: NodeIdentity
) -> None:
    result = sh.run("family", "create", "Us", "--member", "our carol")
    members = [member["key_id"] for member in previewed(result.stderr)["members"]]
    assert carol.key_id in members
    result = sh.run("family", "create", "Us", "--member", "no one", "--yes")
    assert result.exit_code == 2
    assert "no peer has this alias" in result.stderr


def test_public_keys_are_shortened_where_they_are_shown(sh: Shell) -> None:
    text = sh.run("key", "sign", key_of(sh).key_id, "--type", "steward", "--yes").stderr
    assert max(map(len, text.splitlines())) <= 100
    assert newest(sh, EnvelopeKind.KEY)["pubkey_ml_dsa_65_base64"][:20] in text
