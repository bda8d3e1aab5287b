"""From a fresh link to a key id: every way it works, and a stable reason for every way it fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.binding import Binding
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.scope import ALL, TRUST, Scope, Terms, communities
from ciris_mesh.runtime import handshake
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.handshake import Greeter, LinkState, OwnSelf
from ciris_mesh.transport.base import LinkId
from ciris_mesh.wire.frame import wrap
from ciris_mesh.wire.mesh import (
    BindingOffer,
    BindingWanted,
    Hello,
    MeshMessage,
    Refusal,
    ScopeOffer,
    ScopeWanted,
)
from support.keys import key
from support.mesh import NOW_MS, Mesh, address, bound

RECORDS = Mesh()


@dataclass
class Party:
    """One node's side of handshakes."""

    name: str
    kinds: tuple[EnvelopeKind, ...] = tuple(EnvelopeKind)
    bindings: BindingStore = field(default_factory=BindingStore)
    directory: MemoryDirectory = field(default_factory=MemoryDirectory)
    wall_ms: int = NOW_MS
    binding: Binding | None = None
    scope: Scope = ALL

    def __post_init__(self) -> None:
        record = RECORDS.key_record(self.name)
        self.directory.admit(EnvelopeKind.KEY, record, OWN, now_ms=NOW_MS)
        self.binding = self.binding or RECORDS.binding(self.name)
        self.greeter = Greeter(
            OwnSelf(self.binding, record, self.kinds, scope=self.scope),
            self.bindings,
            self.directory,
            wall_ms=lambda: self.wall_ms,
        )

    def link(self, to: str, *, inbound: bool = False) -> LinkState:
        nonce = self.name.encode().ljust(8, b".")[:8]
        return LinkState(LinkId(1), inbound, nonce, address=address(to))


def shake(
    one: Party, two: Party, limit: int = 20
) -> tuple[LinkState, LinkState, list[MeshMessage]]:
    """Let `one` dial `two`; returns both states and all that was said."""
    mine, theirs = one.link(two.name), two.link(one.name, inbound=True)
    said: list[MeshMessage] = []
    to_two: list[MeshMessage] = [one.greeter.hello(mine)]
    to_one: list[MeshMessage] = []
    while to_two or to_one:
        for party, state, inbox, outbox in (
            (two, theirs, to_two, to_one),
            (one, mine, to_one, to_two),
        ):
            if inbox:
                said.append(inbox.pop(0))
                if not isinstance(said[-1], Refusal):
                    outbox += party.greeter.received(state, said[-1])
        assert len(said) < limit, "the two never stop talking"
    return mine, theirs, said


def judged(offer: BindingOffer, party: Party | None = None, *, of: str = "bob") -> str:
    """The reason `party` (alice) refuses an offer on a link from `of`; "" when it takes it."""
    party = party or Party("alice")
    state = party.link(of, inbound=True)
    state.binding_wanted = True
    replies = party.greeter.received(state, offer)
    if not replies:
        assert state.key_id is not None
        return ""
    (refusal,) = replies
    assert isinstance(refusal, Refusal)
    assert state.key_id is None
    wrap(refusal)  # the reason fits the wire
    return refusal.reason


def offer(binding: Binding, record: str = "bob") -> BindingOffer:
    return BindingOffer(binding.encode(), RECORDS.key_record(record) if record else b"")


# --- meeting --------------------------------------------------------------------------------------


def test_two_strangers_fetch_each_others_bindings_and_know_each_other() -> None:
    """Two empty nodes must be able to meet."""
    mine, theirs, said = shake(Party("alice"), Party("bob"))
    assert mine.key_id == key("bob").key_id
    assert theirs.key_id == key("alice").key_id
    assert sorted(type(message).__name__ for message in said) == [
        "BindingOffer",
        "BindingOffer",
        "BindingWanted",
        "BindingWanted",
        "Hello",
        "Hello",
    ]


def test_a_known_binding_is_not_fetched_again() -> None:
    one, two = Party("alice"), Party("bob")
    shake(one, two)
    mine, theirs, said = shake(one, two)
    assert [type(message) for message in said] == [Hello, Hello]
    assert (mine.key_id, theirs.key_id) == (key("bob").key_id, key("alice").key_id)


def test_a_known_binding_is_not_fetched_again_after_a_restart(tmp_path: Path) -> None:
    one, two = Party("alice", bindings=BindingStore(tmp_path)), Party("bob")
    shake(one, two)
    again = Party("alice", bindings=BindingStore(tmp_path), directory=one.directory)
    _, _, said = shake(again, two)
    assert [type(message) for message in said] == [Hello, Hello]


def test_a_renewed_binding_is_fetched() -> None:
    one = Party("alice")
    shake(one, Party("bob"))
    renewed = Party("bob", binding=bound("bob", epoch=2))
    mine, _, said = shake(one, renewed)
    assert mine.key_id == key("bob").key_id
    assert BindingWanted() in said
    assert one.bindings.epoch(key("bob").key_id) == 2


def test_a_remembered_binding_whose_key_is_gone_is_fetched_again() -> None:
    """A restored older directory: the file alone is worth nothing."""
    one, two = Party("alice"), Party("bob")
    shake(one, two)
    restored = Party("alice", bindings=one.bindings)
    mine, _, said = shake(restored, two)
    assert BindingWanted() in said
    assert mine.key_id == key("bob").key_id


def test_a_remembered_binding_that_has_expired_meanwhile_counts_no_more() -> None:
    short = bound("bob", expiry_s=NOW_MS // 1000 + 10)
    one, two = Party("alice"), Party("bob", binding=short)
    shake(one, two)
    one.wall_ms += 11_000
    mine, _, said = shake(one, two)
    assert Refusal("binding_invalid") in said
    assert mine.key_id is None


def test_the_kinds_of_a_link_are_those_both_serve() -> None:
    first, second, third = tuple(EnvelopeKind)[:3]
    mine, theirs, _ = shake(Party("alice", (first, second)), Party("bob", (second, third)))
    assert mine.kinds == theirs.kinds == {second}


def test_both_ends_salt_with_the_same_bytes_and_each_link_with_its_own() -> None:
    mine, theirs, _ = shake(Party("alice"), Party("bob"))
    other, _, _ = shake(Party("alice"), Party("carol"))
    assert mine.salt() == theirs.salt()
    assert mine.salt() != other.salt()
    assert len(mine.salt()) == 16


# --- scopes ---------------------------------------------------------------------------------------

RIVER, HILL = communities(["river-3def"]), communities(["hill-2abc", "river-3def"])


def test_scopes_that_have_a_name_are_known_to_everybody() -> None:
    mine, theirs, said = shake(Party("alice"), Party("bob", scope=TRUST))
    assert not any(isinstance(one, ScopeWanted | ScopeOffer) for one in said)
    assert (mine.scope, theirs.scope) == (TRUST, ALL)
    assert mine.kinds == theirs.kinds == TRUST.kinds
    assert mine.terms(ALL) == theirs.terms(TRUST) == Terms(frozenset({TRUST}), NOW_MS // 86_400_000)


def test_communities_are_spelled_once_and_remembered() -> None:
    one, two = Party("alice", scope=HILL), Party("bob", scope=RIVER)
    mine, theirs, said = shake(one, two)
    assert (said.count(ScopeOffer(HILL.spelled)), said.count(ScopeOffer(RIVER.spelled))) == (1, 1)
    assert mine.is_known
    assert theirs.is_known
    assert mine.terms(HILL) == theirs.terms(RIVER)
    assert mine.terms(HILL).scopes == {HILL, RIVER}
    _, _, said = shake(one, two)
    assert [type(message) for message in said] == [Hello, Hello]


def test_the_older_day_counts() -> None:
    one, two = Party("alice"), Party("bob", wall_ms=NOW_MS - 3 * 86_400_000)
    mine, theirs, _ = shake(one, two)
    assert mine.terms(ALL) == theirs.terms(ALL)
    assert mine.terms(ALL).day == NOW_MS // 86_400_000 - 3


@pytest.mark.parametrize(
    ("spelled", "reason"),
    [
        (b"hill-2abc", "scope_mismatch"),
        (b"river-3def\0hill-2abc", "scope_malformed"),
        (b"river-3def\0river-3def", "scope_malformed"),
        (b"river-3def\0", "scope_malformed"),
        (b"\xff", "scope_malformed"),
        (b"\0".join(b"c-%d" % n for n in range(9)), "scope_malformed"),
    ],
)
def test_a_scope_that_is_not_what_the_hello_said_is_refused(spelled: bytes, reason: str) -> None:
    party, other = Party("alice"), Party("bob", scope=RIVER)
    state = party.link("bob", inbound=True)
    replies = party.greeter.received(state, other.greeter.hello(other.link("alice")))
    assert ScopeWanted() in replies
    assert not state.is_known
    assert party.greeter.received(state, ScopeOffer(spelled)) == [Refusal(reason)]
    assert state.scope is None


def test_nobody_is_told_a_scope_twice_or_unasked() -> None:
    party = Party("alice", scope=RIVER)
    state = party.link("bob")
    assert party.greeter.received(state, ScopeWanted()) == [ScopeOffer(RIVER.spelled)]
    for message in (ScopeWanted(), ScopeOffer(RIVER.spelled)):
        assert party.greeter.received(state, message) == [Refusal("out_of_turn")]
    everything = Party("alice")
    assert everything.greeter.received(everything.link("bob"), ScopeWanted()) == [
        Refusal("out_of_turn")
    ]


def test_the_oldest_scopes_are_forgotten_and_the_nodes_own_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "SCOPES_MAX", 5)
    one = Party("alice", scope=RIVER)
    others = [Party("bob", scope=communities([f"c-{n}"])) for n in range(3)]
    for other in others:
        assert ScopeWanted() in shake(one, other)[2]
    assert ScopeWanted() in shake(one, others[0])[2], "made room"
    assert ScopeWanted() not in shake(Party("carol", scope=RIVER), one)[2]


def test_a_key_known_already_needs_no_key_record() -> None:
    party = Party("alice")
    party.directory.admit(EnvelopeKind.KEY, RECORDS.key_record("bob"), OWN, now_ms=NOW_MS)
    assert judged(offer(bound("bob"), record=""), party) == ""


def test_a_strangers_key_goes_to_the_first_contact_pool_and_on_no_shelf() -> None:
    party = Party("alice")
    assert judged(offer(bound("bob")), party) == ""
    assert party.directory.pools().first_contact == 1
    assert len(party.directory.holdings(EnvelopeKind.KEY)) == 1


# --- refusals -------------------------------------------------------------------------------------


def forged(binding: Binding) -> Binding:
    """The same with one bit of the signed content turned."""
    data = bytearray(binding.encode())
    data[len(data) - 3309 - 64 - 1] ^= 1  # the lowest bit of the expiry
    return Binding.decode(bytes(data))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: offer(bound("bob", to="carol")), "binding_of_another"),
        (lambda: offer(bound("bob", expiry_s=NOW_MS // 1000)), "binding_invalid"),
        (lambda: offer(forged(bound("bob"))), "binding_invalid"),
        (lambda: offer(bound("bob"), record=""), "binding_invalid"),
        (lambda: offer(bound("bob"), record="carol"), "binding_invalid"),
        (lambda: BindingOffer(b"", b""), "binding_malformed"),
        (lambda: BindingOffer(b"\x02" * 3500, b""), "binding_malformed"),
        (lambda: BindingOffer(bound("bob").encode()[:-1], b""), "binding_malformed"),
        (lambda: BindingOffer(bound("bob").encode(), b"not json"), "binding_invalid"),
    ],
    ids=[
        "bound to another identity",
        "expired",
        "forged",
        "no key record",
        "the key record of another",
        "empty",
        "unknown version",
        "cut",
        "garbage for a key record",
    ],
)
def test_a_binding_that_does_not_hold_is_refused_with_its_reason(made: object, reason: str) -> None:
    assert callable(made)
    assert judged(made()) == reason


def test_another_nodes_binding_repeated_on_my_link_is_refused() -> None:
    """Eve has bob's binding, as everybody may; her identity is not bob's."""
    assert judged(offer(RECORDS.binding("bob")), of="eve") == "binding_of_another"


def test_a_rolled_back_epoch_is_refused_and_the_same_one_is_fine() -> None:
    party = Party("alice")
    party.bindings.put(address("bob"), bound("bob", epoch=5))
    assert judged(offer(bound("bob", epoch=4)), party) == "binding_rolled_back"
    assert judged(offer(bound("bob", epoch=5)), party) == ""


def test_a_refused_offer_is_not_remembered() -> None:
    party = Party("alice")
    judged(offer(bound("bob", expiry_s=1)), party)
    judged(offer(bound("bob", to="carol")), party)
    assert party.bindings.epoch(key("bob").key_id) == -1
    assert party.bindings.get(address("bob")) is None


def test_no_common_version_is_refused() -> None:
    party = Party("alice")
    state = party.link("bob", inbound=True)
    hello = Party("bob").greeter.hello(Party("bob").link("alice"))
    odd = Hello((0x55,), *[getattr(hello, name) for name in Hello.__slots__[1:]])
    replies = party.greeter.received(state, odd)
    assert [type(reply) for reply in replies] == [Hello, Refusal]
    assert replies[-1] == Refusal("no_common_version")


def test_an_offer_before_the_identity_is_proven_is_refused() -> None:
    party = Party("alice")
    state = party.link("bob", inbound=True)
    state.address, state.binding_wanted = None, True
    assert party.greeter.received(state, offer(bound("bob"))) == [Refusal("not_identified")]


def test_a_hello_before_the_identity_is_proven_is_answered_with_the_wish_for_a_binding() -> None:
    party = Party("alice")
    state = party.link("bob", inbound=True)
    state.address = None
    hello = Party("bob").greeter.hello(Party("bob").link("alice"))
    assert [type(reply) for reply in party.greeter.received(state, hello)] == [Hello, BindingWanted]


def test_messages_out_of_turn_are_refused() -> None:
    hello = Party("bob").greeter.hello(Party("bob").link("alice"))
    out_of_turn = [Refusal("out_of_turn")]
    for before, message in (
        ((hello,), hello),
        ((BindingWanted(),), BindingWanted()),
        ((), offer(bound("bob"))),
        ((hello, offer(bound("bob"))), offer(bound("bob"))),
    ):
        party = Party("alice")
        state = party.link("bob", inbound=True)
        for earlier in before:
            party.greeter.received(state, earlier)
        assert party.greeter.received(state, message) == out_of_turn, (before, message)


def test_a_hello_is_answered_once() -> None:
    party = Party("alice")
    state = party.link("bob")
    party.greeter.hello(state)
    hello = Party("bob").greeter.hello(Party("bob").link("alice"))
    assert party.greeter.received(state, hello) == [BindingWanted()]


def test_a_hello_says_what_the_node_serves_and_the_day() -> None:
    kinds = tuple(EnvelopeKind)[:2]
    party = Party("alice", kinds)
    said = party.greeter.hello(party.link("bob"))
    assert said.kinds == kinds
    assert said.day == NOW_MS // 86_400_000
    assert said.binding_hash == RECORDS.binding("alice").hash8
    assert said.nonce == party.link("bob").nonce
    assert len(wrap(said)) < 400  # one Reticulum request
