"""`resolve` from outside: on a store nobody has open, through a node, by names people use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.cli.resolve import _ABOUT_KEYS, QUESTIONS
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.resolve import table
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.setup import node_identity
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from support.authoring import introduce
from support.cli import Shell, answering, shell

#: Exactly these members, by object: a change here is a change for scripts (ANSWER_SCHEMA).
ANSWER = {
    "schema", "question", "subject", "more", "as_of", "status", "found", "steps", "freshness",
    "vouched_by",
}  # fmt: skip
STEP = {"rule", "about", "by", "at", "record", "count", "needed", "note"}
FRESHNESS = {"word", "peers", "tau_partial_s", "age_s", "behind"}
WEIGHT = {"weight", "regions", "quorum", "quorum_reached_at"}
FOUND = {
    "key": {
        "identity_types", "valid_from", "valid_until", "revoked_from", "revocations", "weight",
        "claims", "claims_weight", "claims_count", "claims_unread",
    },
    "chain": {"root", "path", "reason", "at"},
    "members": {
        "kind", "group_name", "protocol", "roster", "members", "removed", "superseded",
    },
    "occurrences": {"active", "removed"},
    "org": {"winner", "ended_by", "superseded", "superseded_count"},
    "attestations": {"current", "past", "unread"},
    "location": {"place"},
}  # fmt: skip
FOUND |= {"membership": FOUND["org"], "partner": FOUND["org"], "revoked": FOUND["key"]}
INNER = {
    "revocations": {"by", "why", "revoked_at", "effective_at", "region", "reason", "record"},
    "members": {"key_id", "joined_at", "role", "is_revoked"},
    "active": {"key_id", "device_class", "since", "until", "by", "record"},
    "winner": {"record", "attestation_id", "asserted_at", "by", "columns"},
    "current": {
        "record", "attestation_id", "type", "by", "about", "dimension", "score", "asserted_at",
        "expires_at", "reference", "state", "ended_by",
    },
    "place": {"cell", "asserted_at", "valid_until", "by", "record"},
}  # fmt: skip


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    """alice's node, which may do everything in business and is a root of its own."""
    sh = shell(tmp_path / "home")
    me = own_id(sh)
    config = sh.home.config
    text = config.read_text()
    for option in ("root_stewards", "partner_stewards"):
        text = text.replace(f"\n{option} =", f"\n{option} = {me}", 1)
    config.write_text(text.replace("\npartner_threshold = 0", "\npartner_threshold = 1", 1))
    introduce(sh)
    return sh


@contextmanager
def running(sh: Shell) -> Iterator[Node]:
    """The node of a home, answering its control socket, alone on a loopback network."""
    directory = SqliteDirectory(sh.home.database)
    clock = SystemClock()
    transport = LoopbackTransport(LoopbackNetwork(), sh.home.path.name)
    node = Node(node_identity(sh.home).key, transport, directory=directory)
    book = PeerBook.load(sh.home.peers)
    budget = RadioBudget(load_config(sh.home.config).radio)
    operations = Operations(node, book, clock, clock.monotonic_s(), budget)
    with node, answering(sh.home, operations.table()):
        yield node
    directory.close()


def own_id(sh: Shell) -> str:
    return node_identity(sh.home).key_id


# -- the questions ---------------------------------------------------------------------------------


def test_the_questions_are_those_there_are() -> None:
    assert set(QUESTIONS) == set(table.QUESTIONS)
    about_keys = {word for word, it in table.QUESTIONS.items() if it.is_about_key}
    assert set(_ABOUT_KEYS) == about_keys
    assert [word for word, it in table.QUESTIONS.items() if it.more] == ["membership"]


def test_a_key_is_valid_and_says_why(sh: Shell) -> None:
    lines = sh.ok("resolve", "key", own_id(sh)).splitlines()
    assert lines[0] == f"{own_id(sh)} is valid."
    assert lines[2].startswith("  - It speaks for itself by record ")
    assert lines[-1] == "Alone: no node runs here; told from what is here."
    assert max(map(len, lines)) <= 80


def test_a_running_node_answers_the_same(sh: Shell) -> None:
    stopped = sh.json("resolve", "key", own_id(sh))
    with running(sh):
        asked = sh.json("resolve", "key", own_id(sh))
        text = sh.ok("resolve", "key", own_id(sh))
    for answer in (stopped, asked):
        del answer["as_of"]
    assert asked == stopped
    assert text.splitlines()[-1] == "Alone: this node has no peer; told from what is here."


def test_revoking_changes_the_answer_from_its_time_on(sh: Shell) -> None:
    me = own_id(sh)
    sh.ok("revoke", me, "--reason", "lost", "--effective", "2026-12-01T00:00:00Z", "--yes")
    before = sh.json("resolve", "key", me, "--at", "2026-11-30T23:59:59Z")
    assert (before["status"], before["as_of"]) == ("valid", "2026-11-30T23:59:59Z")
    after = sh.json("resolve", "key", me, "--at", "2026-12-01T02:00:00+02:00")
    assert (after["status"], after["as_of"]) == ("revoked", "2026-12-01T00:00:00Z")
    assert after["found"]["revocations"][0]["why"] == "self"
    text = sh.ok("resolve", "revoked", "--at", "2027-01-01T00:00:00Z")
    assert f"  - {me}: revoked from 2026-12-01T00:00:00Z on by" in text


def test_business_is_resolved_by_the_configured_stewards(sh: Shell) -> None:
    me = own_id(sh)
    sh.ok("org", "create", "acme", "Acme", "--type", "internal", "--yes")
    sh.ok("membership", "grant", me, "acme", "--role", "operator", "--yes")
    assert "It says: Acme, internal, active." in " ".join(sh.ok("resolve", "org", "acme").split())
    assert sh.json("resolve", "membership", "acme", me)["found"]["winner"]["columns"]["role"]
    assert sh.ok("resolve", "membership", "acme", "alice").startswith(f"{me} is a member of acme.")
    sh.ok("membership", "end", me, "acme", "--yes")
    assert sh.json("resolve", "membership", "acme", me)["status"] == "ended"


def test_the_json_is_exactly_this(sh: Shell) -> None:
    me = own_id(sh)
    sh.ok("attest", me, "--dimension", "trust:field:v1", "--score", "1", "--yes")
    sh.ok("org", "create", "acme", "Acme", "--type", "internal", "--yes")
    sh.ok("membership", "grant", me, "acme", "--role", "operator", "--yes")
    sh.ok("occurrence", "add", me, "--device-class", "laptop", "--yes")
    sh.ok("location", "prove", "872830828ffffff", "--yes")
    sh.ok("family", "create", "us", "--yes")
    (family,) = [row["subject"] for row in sh.json("records", "--kind", "family")]
    sh.ok("revoke", me, "--reason", "lost", "--yes")
    asked = {
        "members": (family,),
        "org": ("acme",),
        "membership": ("acme", me),
    }
    inner_seen: set[str] = set()
    for question in QUESTIONS:
        if question == "partner":
            continue
        answer = sh.json("resolve", question, *asked.get(question, (me,)))
        assert set(answer) == ANSWER, question
        assert answer["schema"] == table.ANSWER_SCHEMA == 1
        assert set(answer["freshness"]) == FRESHNESS
        assert all(set(step) == STEP for step in answer["steps"])
        assert set(answer["found"]) == FOUND[question], question
        for name, value in answer["found"].items():
            for item in value if isinstance(value, list) else [value]:
                if name in INNER and isinstance(item, dict):
                    assert set(item) == INNER[name], (question, name)
                    inner_seen.add(name)
        if "weight" in answer["found"]:
            assert set(answer["found"]["weight"]) == WEIGHT
    assert inner_seen == set(INNER)


# -- whom a person means ---------------------------------------------------------------------------


def test_a_peer_is_meant_by_alias_id_or_beginning(sh: Shell, tmp_path: Path) -> None:
    other = shell(tmp_path / "bob", "bobby")
    introduce(sh, other)
    identity = node_identity(other.home)
    sh.ok("peer", "add", identity.invite, "--alias", "Bob at home")
    for name in ("Bob at home", identity.key_id, identity.key_id[:8]):
        assert sh.json("resolve", "key", name)["subject"] == identity.key_id


def test_a_key_in_the_store_is_meant_by_its_beginning(sh: Shell, tmp_path: Path) -> None:
    carol = shell(tmp_path / "carol", "carol")
    introduce(sh, carol)
    with running(sh):
        assert sh.json("resolve", "chain", "caro")["subject"] == own_id(carol)
    assert sh.json("resolve", "attestations", "caro")["status"] == "empty"


def test_a_beginning_of_several_is_refused_with_their_names(sh: Shell, tmp_path: Path) -> None:
    introduce(sh, *(shell(tmp_path / name, name) for name in ("dora", "dori")))
    assert "could be dora-" in sh.error("resolve", "key", "dor")


# -- what cannot be answered -----------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_name_nobody_knows_is_told_with_what_to_do(sh: Shell, question: str) -> None:
    more = ("eve-abcdefghijklmnop",) if question == "membership" else ()
    line = sh.error("resolve", question, "eve-abcdefghijklmnop", *more)
    assert "'eve-abcdefghijklmnop'" in line
    assert "see: ciris-mesh --config" in line
    assert sh.run("resolve", question, "eve-abcdefghijklmnop", *more, "--json").stdout == ""


def test_a_group_nobody_founded_is_unknown_as_an_id_not_as_a_key(sh: Shell) -> None:
    assert "records --kind family" in sh.error("resolve", "members", "us-abcdefghijklmnop")


def test_a_group_asked_for_by_its_name_is_shown_by_its_id(sh: Shell) -> None:
    """Anybody may call a group so: who asks looks at the id."""
    sh.ok("family", "create", "The Smiths", "--yes")
    sh.ok("community", "create", "the smiths", "--yes")
    (family,) = (row["subject"] for row in sh.json("records", "--kind", "family"))
    (community,) = (row["subject"] for row in sh.json("records", "--kind", "community"))
    stopped = sh.error("resolve", "members", "The Smiths")
    assert f"resolve members {family}" in stopped
    assert f"resolve members {community}" in stopped
    with running(sh):
        assert sh.error("resolve", "members", "The Smiths") == stopped
    assert sh.json("resolve", "members", family)["found"]["group_name"] == "The Smiths"


def test_a_group_is_meant_by_the_beginning_of_its_id(sh: Shell) -> None:
    sh.ok("family", "create", "us", "--yes")
    sh.ok("family", "create", "we", "--yes")
    one, other = sorted(row["subject"] for row in sh.json("records", "--kind", "family"))
    assert sh.json("resolve", "members", "family-us")["subject"] == one
    line = sh.error("resolve", "members", "family-")
    assert one in line
    assert other in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("key",), "key needs a name."),
        (("key", "a", "b"), "membership, and it alone, takes two names"),
        (("membership", "acme"), "membership, and it alone, takes two names"),
        (("why", "a"), "'why' is not one of"),
    ],
)
def test_wrong_usage_is_told(sh: Shell, words: tuple[str, ...], said: str) -> None:
    result = sh.run("resolve", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_time_that_is_none_is_told(sh: Shell) -> None:
    assert "'noon' is no time" in sh.error("resolve", "key", own_id(sh), "--at", "noon")


def test_revoked_without_a_name_does_not_mean_a_peer_without_an_alias(
    sh: Shell, tmp_path: Path
) -> None:
    sh.ok("peer", "add", node_identity(shell(tmp_path / "bob", "bobby").home).invite)
    assert sh.ok("resolve", "revoked").startswith("No key is revoked")


def test_revoked_without_a_name_asks_for_everybody(sh: Shell) -> None:
    answer = sh.json("resolve", "revoked")
    nobody: dict[str, Any] = {"keys": [], "claimed": [], "unread": False}
    assert (answer["status"], answer["found"]) == ("empty", nobody)
    assert sh.ok("resolve", "revoked").startswith("No key is revoked")


def test_help_explains_every_question(sh: Shell) -> None:
    text = sh.ok("resolve", "--help")
    assert all(f"  {question} " in text for question in QUESTIONS)
    assert max(map(len, text.splitlines())) <= 80


def test_what_a_newer_node_adds_to_an_answer_is_passed_on(sh: Shell) -> None:
    answer: Any = {
        "question": "key", "subject": "x", "more": "", "as_of": "t", "status": "valid",
        "steps": [], "new": 1,
        "freshness": {"word": "alone", "behind": [], "tau_partial_s": 1, "age_s": None},
    }  # fmt: skip
    with answering(sh.home, {"resolve": lambda _: answer}):
        assert json.loads(sh.ok("resolve", "key", "x", "--json")) == answer
        assert sh.ok("resolve", "key", "x").startswith("x is valid.")
