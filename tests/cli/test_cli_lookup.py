"""One rule for whom a person means, in every command that takes a peer or a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.cli.app import Failure
from ciris_mesh.cli.lookup import find_peer_row, one_beginning
from ciris_mesh.runtime.setup import NodeIdentity, node_identity
from support.authoring import introduce, previewed
from support.cli import Shell, shell

VERBS = {
    "attest": (("attest",), ("--dimension", "d:v1", "--score", "1"), "attested_key_id"),
    "revoke": (("revoke",), (), "revoked_key_id"),
    "family": (("remove", "family-member", "fam-1"), (), "removed_identity_key_id"),
    "community": (("remove", "community-member", "com-1"), (), "removed_identity_key_id"),
    "occurrence": (("remove", "occurrence"), (), "occurrence_key_id"),
}
REMOVALS = ("family", "community", "occurrence")
EVERY = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


@pytest.fixture
def bob(sh: Shell, tmp_path: Path) -> NodeIdentity:
    identity = node_identity(shell(tmp_path / "bob", "bobby").home)
    sh.ok("peer", "add", identity.invite, "--alias", "bob")
    return identity


def shown(sh: Shell, verb: str, key: str, *more: str) -> tuple[str, Any]:
    """What would be signed, and all that was said."""
    before, after, column = VERBS[verb]
    text = sh.run(*before, key, *after, *more).stderr
    return text, previewed(text)[column] if "{\n" in text else None


def about(text: str) -> str:
    """Whom it is said to be about, on one line: titles are wrapped at 80 columns."""
    title, _, rest = text.partition("\nAbout ")
    assert all(len(line) <= 80 for line in title.splitlines())
    return " ".join(f"About {rest.partition('{')[0]}".split())


@EVERY
def test_a_peer_is_meant_by_alias_id_or_beginning_and_told_in_full(
    sh: Shell, bob: NodeIdentity, verb: str
) -> None:
    for key in ("bob", bob.key_id, bob.key_id[:8]):
        text, column = shown(sh, verb, key)
        if verb in REMOVALS:  # of whom there is not
            assert text.startswith(f"ciris-mesh: {bob.key_id} is no ")
            continue
        assert column == bob.key_id
        words = " ".join(bob.words)
        assert about(text) == f"About {bob.key_id}, the peer bob with the words: {words}"


@EVERY
def test_a_key_nobody_here_knows_is_refused_unless_said_otherwise(sh: Shell, verb: str) -> None:
    stranger = "carol-abcdefghijklmnop"
    text, column = shown(sh, verb, stranger, "--yes")
    assert column is None
    assert text.count("\n") == 1
    assert "'carol-abcdefghijklmnop'" in text
    assert "--unknown" in text
    text, column = shown(sh, verb, stranger, "--unknown")
    assert column == stranger
    assert "a key unknown here" in about(text)


def test_an_alias_may_have_spaces_and_any_letters(sh: Shell, tmp_path: Path) -> None:
    identity = node_identity(shell(tmp_path / "zoe", "zoe").home)
    sh.ok("peer", "add", identity.invite, "--alias", "Zo\u00eb at home")
    text, column = shown(sh, "revoke", "Zo\u00eb at home")
    assert column == identity.key_id
    assert text.isascii()
    assert "the peer Zo\\xeb at home with" in text


def test_what_is_no_key_id_is_not_taken_as_one(sh: Shell) -> None:
    for verb in VERBS:
        text, column = shown(sh, verb, "two words", "--unknown")
        assert column is None
        assert "'two words' is no key id" in text


def test_a_key_in_the_store_needs_no_peer(sh: Shell, tmp_path: Path) -> None:
    carol = shell(tmp_path / "carol", "carol")
    introduce(sh, carol)
    key_id = node_identity(carol.home).key_id
    text, column = shown(sh, "attest", "caro")
    assert column == key_id
    assert about(text) == f"About {key_id}"
    assert shown(sh, "attest", "alice")[1] == node_identity(sh.home).key_id


def test_a_beginning_of_several_is_refused_with_their_names(sh: Shell, tmp_path: Path) -> None:
    others = [shell(tmp_path / name, name) for name in ("dora", "dori")]
    introduce(sh, *others)
    line = sh.error("attest", "dor", "--dimension", "d", "--score", "1", "--yes")
    for other in others:
        assert node_identity(other.home).key_id in line


def test_the_outcome_of_an_alias_is_a_record_about_the_key(sh: Shell, bob: NodeIdentity) -> None:
    said = sh.ok("revoke", "bob", "--yes").strip()
    record = json.loads(sh.json("records", said)["envelope"])["revocation"]
    assert record["revoked_key_id"] == bob.key_id


def test_who_revokes_anothers_key_is_told_its_worth(sh: Shell, bob: NodeIdentity) -> None:
    assert "a claim everywhere else" in sh.run("revoke", "bob", "--yes").stderr
    me = node_identity(sh.home).key_id
    assert "a claim everywhere else" not in sh.run("revoke", me, "--yes").stderr


def test_peers_are_shown_by_alias_id_address_or_beginning(sh: Shell, bob: NodeIdentity) -> None:
    address = bob.address.hex()
    for name in ("bob", bob.key_id, bob.key_id[:8], address, address[:8].upper()):
        (row,) = sh.json("peers", name)
        assert row["key_id"] == bob.key_id
    assert "no peer is called" in sh.error("peers", "x")


def test_a_whole_name_wins_over_a_beginning() -> None:
    assert one_beginning("ab", ["ab", "abc"]) == "ab"
    assert one_beginning("x", ["ab"]) is None
    with pytest.raises(Failure, match=r"could be a0, a1, a2, a3, a4, \.\.\.; write more"):
        one_beginning("a", [f"a{number}" for number in range(9)])
    rows = [
        {"key_id": "bob-1", "alias": "", "address": "aa"},
        {"key_id": "eve-1", "alias": "bob", "address": "bb"},
    ]
    assert find_peer_row(rows, "bob")["key_id"] == "eve-1"
    with pytest.raises(Failure, match="no peer"):
        find_peer_row(rows, "")


ROSTERS = {
    "member": (("family", "create", "F", "--member"), ()),
    "founder": (("community", "create", "C", "--founder"), ()),
    "occurrence": (("occurrence", "add"), ("--device-class", "phone")),
    "grant": (("membership", "grant"), ("org-1", "--role", "viewer")),
    "witness": (("remove", "family-member", "fam-1", "alice", "--witness"), ("--unknown",)),
}


@pytest.mark.parametrize("verb", ROSTERS)
def test_a_beginning_stands_for_the_whole_id_wherever_one_is_asked_for(
    sh: Shell, bob: NodeIdentity, verb: str
) -> None:
    """A roster with the key `bobb`, which is nobody, would wait for that key for ever."""
    before, after = ROSTERS[verb]
    for key in ("bob", bob.key_id, bob.key_id[:8]):
        content = previewed(sh.run(*before, key, *after).stderr)
        assert f'"{bob.key_id}"' in json.dumps(content)
    stranger = json.dumps(previewed(sh.run(*before, "zoe-abcdefghijklmnop", *after).stderr))
    assert '"zoe-abcdefghijklmnop"' in stranger


def test_a_beginning_of_several_peers_is_refused_in_a_roster(
    sh: Shell, tmp_path: Path, bob: NodeIdentity
) -> None:
    other = node_identity(shell(tmp_path / "bobo", "bobo").home)
    sh.ok("peer", "add", other.invite)
    line = sh.error("family", "create", "F", "--member", "bo", "--yes")
    assert bob.key_id in line
    assert other.key_id in line
