"""The desk: who is answered, who may act, what is told, and what becomes of undelivered words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from ciris_mesh.errors import OperatorError
from ciris_mesh.notify.alerts import Trouble
from ciris_mesh.notify.mailbox import Delivered, Message
from ciris_mesh.notify.telemetry import FIELD_COMMANDS, FIELD_TELEMETRY, Readings
from ciris_mesh.notify.texts import Overview
from ciris_mesh.runtime.operatorbook import OperatorBook
from ciris_mesh.runtime.operatordesk import (
    AHEAD_S,
    ANSWERS_MAX,
    RETRY_S,
    STRANGERS_MAX,
    WAITING_MAX,
    OperatorDesk,
    Surroundings,
)
from support.waiting import wait_until

ANA, BEN = b"\xaa" * 16, b"\xbb" * 16
KEY = b"\xcd" * 64
VIEW = Overview("field-3", "0.1", 60.0, (), 3, 0, (), ())
READINGS = Readings(1, "x", 0.5, (1.0, 1.0, 1.0), (2, 1), (2, 1))
STALE = Trouble("peer_stale", "bob", "bob stale")


class Box:
    """A mailbox that remembers. `reaches`: whether what is sent arrives."""

    address, public_key = b"\x01" * 16, b"\x02" * 64

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str, Mapping[int, object]]] = []
        self.incoming: list[Message] = []
        self.announced = 0
        self.reaches: bool | None = True

    def take(self, timeout_s: float) -> Message | None:
        return self.incoming.pop(0) if self.incoming else None

    def send(
        self,
        to: bytes,
        public_key: bytes,
        text: str,
        *,
        fields: Mapping[int, object] | None = None,
        done: Delivered | None = None,
    ) -> None:
        assert public_key == KEY
        self.sent.append((to, text, fields or {}))
        if done is not None and self.reaches is not None:
            done(self.reaches)

    def announce(self) -> None:
        self.announced += 1

    def stop(self) -> None:
        pass

    def texts(self, to: bytes = ANA) -> list[str]:
        return [text for who, text, _ in self.sent if who == to]


class World:
    """A desk, and everything around it."""

    def __init__(self, path: Path) -> None:
        self.box = Box()
        self.book = OperatorBook(path)
        self.counts: Counter[str] = Counter()
        self.now_s = 1000.0
        self.trusted = True
        self.wrong: list[Trouble] = []
        self.acted: list[tuple[str, str]] = []
        self.desk = OperatorDesk(
            self.box,
            self.book,
            Surroundings(
                view=lambda: VIEW,
                troubles=lambda: self.wrong,
                act=self._act,
                readings=lambda: READINGS,
                clock=lambda: self.now_s,
                wall_s=lambda: self.now_s,
                clock_trusted=lambda: self.trusted,
            ),
            announce_s=21_600,
            count=lambda name: self.counts.update([name]),
        )

    def _act(self, verb: str, argument: str) -> str:
        if argument == "nobody":
            raise OperatorError("no peer is called 'nobody'")
        self.acted.append((verb, argument))
        return "done"

    def write(self, text: str, *, who: bytes = ANA, sent_s: float | None = None) -> str:
        before = len(self.box.sent)
        at_s = self.now_s if sent_s is None else sent_s
        self.desk.answer(Message(who, KEY, text, at_s))
        return self.box.sent[-1][1] if len(self.box.sent) > before else ""

    def look(self, *wrong: Trouble) -> None:
        self.wrong = list(wrong)
        self.desk.look()
        self.desk.deliver()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "operators")


@pytest.fixture
def known(world: World) -> World:
    """Ana may ask, and has written before."""
    world.book.knock(ANA.hex(), KEY.hex(), now_s=1.0)
    world.book.accept(ANA.hex(), name="Ana")
    return world


def test_a_stranger_is_told_once_how_to_become_known(world: World) -> None:
    reply = world.write("hello")
    assert f"ciris-mesh operator accept {ANA.hex()}" in reply
    assert world.write("status") == ""
    assert world.counts["operator_stranger"] == 2
    (row,) = world.book.people()
    assert not row.accepted


def test_a_flood_of_strangers_costs_four_answers(world: World) -> None:
    for n in range(100):
        world.write("hello", who=n.to_bytes(16, "big"))
    assert len(world.box.sent) == STRANGERS_MAX
    assert len(world.book.people()) == STRANGERS_MAX
    assert world.counts["operator_stranger"] == 100


def test_who_is_accepted_is_answered(known: World) -> None:
    assert known.write("status").startswith("field-3: well")
    assert known.write("help") == known.write("what?")
    assert "sync" not in known.write("help")


def test_who_asks_too_often_waits_an_hour(known: World) -> None:
    for _ in range(ANSWERS_MAX):
        assert known.write("status")
    assert known.write("status") == ""
    assert known.counts["operator_asks_too_often"] == 1
    known.now_s += 3600
    assert known.write("status")


def test_who_may_ask_may_not_act(known: World) -> None:
    assert "operator allow ADDRESS act" in known.write("sync")
    assert known.acted == []
    assert known.counts["operator_may_not_act"] == 1


def test_who_may_act_acts_and_a_replay_does_not(known: World) -> None:
    known.book.accept(ANA.hex(), may_act=True)
    assert known.write("untrust bob", sent_s=900.0) == "done"
    assert "sent before your last command" in known.write("untrust bob", sent_s=900.0)
    assert "sent before your last command" in known.write("sync", sent_s=899.0)
    assert known.acted == [("untrust", "bob")]
    assert known.counts["operator_replay"] == 2
    assert known.write("sync", sent_s=901.0) == "done"
    assert OperatorBook(known.book._path).find("Ana").last_act_s == 901.0


def test_a_command_from_tomorrow_does_not_lock_anybody_out(known: World) -> None:
    known.book.accept(ANA.hex(), may_act=True)
    ahead = known.now_s + AHEAD_S + 1
    assert "your clock is ahead" in known.write("sync", sent_s=ahead)
    assert known.write("sync") == "done"
    known.trusted = False
    assert known.write("sync", sent_s=ahead) == "done"


def test_what_cannot_be_done_says_why(known: World) -> None:
    known.book.accept(ANA.hex(), may_act=True)
    assert known.write("untrust nobody") == "not done: no peer is called 'nobody'"


def test_telemetry_is_for_operators(world: World) -> None:
    message = Message(ANA, KEY, "", 1.0, {FIELD_COMMANDS: [{1: 0}], "x": 1})
    world.desk.answer(message)
    assert FIELD_TELEMETRY not in world.box.sent[-1][2]
    world.book.accept(ANA.hex())
    world.desk.answer(message)
    assert FIELD_TELEMETRY in world.box.sent[-1][2]


def test_alerts_go_to_operators_and_to_nobody_else(known: World) -> None:
    known.write("hello", who=BEN)
    known.look(STALE)
    assert known.box.texts()[-1] == "ALERT bob stale"
    assert len(known.box.texts(BEN)) == 1
    known.look()
    known.now_s += 300
    known.look()
    assert known.box.texts()[-1].startswith("RESOLVED bob stale, after ")
    assert known.desk.open_troubles == ()


def test_muted_hears_nothing_and_unmuted_all_that_follows(known: World) -> None:
    assert known.write("mute 8h") == "no alerts for 8 h 0 min"
    known.look(STALE)
    assert known.counts["alert_muted"] == 1
    assert "ALERT bob stale" not in known.box.texts()
    assert known.write("mute 0") == "alerts again"
    known.look(STALE, Trouble("disk_full", "", "5 MB left"))
    assert known.box.texts()[-1] == "ALERT 5 MB left"
    assert "mute for how long" in known.write("mute a while")


def test_what_is_not_delivered_is_tried_again_together_with_what_followed(known: World) -> None:
    disk = Trouble("disk_full", "", "5 MB left")
    known.box.reaches = False
    known.look(STALE)
    known.look(STALE, disk)
    assert known.box.texts() == ["ALERT bob stale"]
    known.now_s += RETRY_S
    known.box.reaches = True
    known.look(STALE, disk)
    known.look(STALE, disk)
    assert known.box.texts()[1:] == ["ALERT bob stale\nALERT 5 MB left"]
    known.now_s += 10 * RETRY_S
    known.look(STALE, disk)
    assert len(known.box.texts()) == 2


def test_what_is_under_way_is_not_sent_twice(known: World) -> None:
    known.box.reaches = None
    known.look(STALE)
    for _ in range(5):
        known.now_s += RETRY_S
        known.look(STALE)
    assert known.box.texts() == ["ALERT bob stale"]


def test_who_is_never_reached_does_not_fill_the_memory(known: World) -> None:
    known.box.reaches = False
    for n in range(3 * WAITING_MAX):
        known.now_s += 3600
        known.look(*(Trouble("peer_stale", f"{n}-{m}", f"p{n}-{m} stale") for m in range(3)))
    (outbox,) = known.desk._outboxes.values()
    assert len(outbox.waiting) <= WAITING_MAX
    assert known.counts["alert_lost"] > 0


def test_a_removed_operator_gets_nothing_more(known: World) -> None:
    known.box.reaches = False
    known.look(STALE)
    known.book.remove(ANA.hex())
    known.now_s += RETRY_S
    known.look(STALE)
    assert len(known.box.texts()) == 1
    assert known.desk._outboxes == {}


def test_alerts_that_are_not_asked_for_are_not_told(tmp_path: Path) -> None:
    world = World(tmp_path / "operators")
    world.book.knock(ANA.hex(), KEY.hex(), now_s=1.0)
    world.book.accept(ANA.hex())
    world.desk._told = frozenset({"disk_full"})
    world.look(STALE)
    assert world.box.sent == []


def test_the_thread_announces_answers_and_ends(known: World) -> None:
    known.desk.start()
    known.box.incoming.append(Message(ANA, KEY, "status", 1.0))
    wait_until(lambda: known.box.texts(), "an answer")
    assert known.box.announced == 1
    known.desk.stop()
    known.desk.stop()


def test_a_failure_is_logged_and_the_desk_goes_on(
    known: World, caplog: pytest.LogCaptureFixture
) -> None:
    known.box.incoming.append(Message(b"", KEY, "status", 1.0))
    known.book._path = known.book._path / "not" / "there"
    known.desk.start()
    wait_until(lambda: "operator.failed" in caplog.text or known.counts, "a failure or a refusal")
    known.box.incoming.append(Message(ANA, KEY, "budget", 1.0))
    wait_until(lambda: "no radio here" in known.box.texts(), "an answer")
    known.desk.stop()


def test_on_a_full_disk_people_are_answered_and_nothing_is_done(known: World) -> None:
    """What is wrong is asked for just then; a command that cannot be noted could be repeated."""
    known.book.accept(ANA.hex(), may_act=True)
    known.book._path = known.book._path / "not" / "there"
    known.now_s += 7200  # so long unheard that it would be noted
    assert known.write("status").startswith("field-3:")
    assert known.write("sync").startswith("not done: cannot write")
    assert known.write("mute 2h").startswith("not done: cannot write")
    assert known.acted == []


def test_alerts_go_on_after_one_that_could_not_be_sent(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("the address is not that of the key")

    with monkeypatch.context() as patch:
        patch.setattr(known.box, "send", refuse)
        known.wrong = [STALE]
        known.desk.look()
        with pytest.raises(ValueError, match="not that of the key"):
            known.desk.deliver()
    known.desk.deliver()
    known.now_s += RETRY_S
    known.desk.deliver()
    assert known.box.texts() == ["ALERT bob stale"]
