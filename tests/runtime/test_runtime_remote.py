"""What operators may ask from afar, and what becomes of all else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ciris_mesh.errors import OperatorError
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.operations import READ_OPS
from ciris_mesh.runtime.remote import (
    ANSWER_BYTES_MAX,
    AT_A_TIME_MAX,
    NONCES_MAX,
    REMOTE_ACTING_OPS,
    REMOTE_READ_OPS,
    REQUEST_BYTES_MAX,
    RemoteControl,
)

READER, ACTOR, STRANGER = (bytes([n]) * 16 for n in (1, 2, 3))
NONCE = "ab" * 16


class Door:
    def __init__(self, **handlers: Callable[[dict[str, Any]], object]) -> None:
        self.drops = DropCounter()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        table = {"status": self._note("status"), "sync": self._note("sync"), **handlers}
        self.control = RemoteControl(
            table, readers=frozenset({READER}), actors=frozenset({ACTOR}), drops=self.drops
        )

    def _note(self, op: str) -> Callable[[dict[str, Any]], object]:
        def handle(arguments: dict[str, Any]) -> object:
            self.asked.append((op, arguments))
            return {"fine": True}

        return handle

    def ask(self, who: bytes, op: str, body: object = b"{}") -> Any:
        line = self.control.answer(op, body, who)
        assert line.endswith(b"\n")
        return json.loads(line)


def act(nonce: object = NONCE, **arguments: Any) -> bytes:
    return json.dumps({"nonce": nonce, **arguments}).encode()


@pytest.mark.parametrize("who", [READER, ACTOR])
def test_readers_and_actors_read(who: bytes) -> None:
    door = Door()
    assert door.ask(who, "status", b'{"a": 1}') == {"ok": True, "result": {"fine": True}}
    assert door.asked == [("status", {"a": 1})]
    assert door.drops.snapshot() == {}


def test_only_actors_act() -> None:
    door = Door()
    assert door.ask(READER, "sync", act())["name"] == "denied"
    assert door.ask(ACTOR, "sync", act(peer="bob"))["ok"]
    assert door.asked == [("sync", {"peer": "bob"})], "the nonce is not the operation's"
    assert door.drops.snapshot() == {"remote_denied": 1}


def test_strangers_are_denied_should_reticulum_ever_let_them_in() -> None:
    door = Door()
    assert door.ask(STRANGER, "status")["name"] == "denied"
    assert set(door.control.operators()) == {READER, ACTOR}


def test_a_request_that_acts_is_obeyed_once() -> None:
    door = Door()
    assert door.ask(ACTOR, "sync", act())["ok"]
    assert door.ask(ACTOR, "sync", act())["name"] == "replayed"
    assert door.ask(ACTOR, "sync", act("cd" * 16))["ok"]
    assert len(door.asked) == 2


@pytest.mark.parametrize("body", [b"{}", act(None), act(7), act("short")])
def test_one_without_a_nonce_is_not_obeyed(body: bytes) -> None:
    assert Door().ask(ACTOR, "sync", body)["name"] == "bad_request"


def test_the_memory_of_nonces_is_bounded() -> None:
    door = Door()
    for number in range(NONCES_MAX + 1):
        door.ask(ACTOR, "sync", act(f"{number:032x}"))
    assert len(door.control._nonces) == NONCES_MAX


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", None, "text", {"a": 1}, b" " * (REQUEST_BYTES_MAX + 1)]
)
def test_what_cannot_be_read_is_said_so(body: object) -> None:
    assert Door().ask(READER, "status", body)["name"] == "bad_request"


@pytest.mark.parametrize("op", ["admit", "peer_add", "peer_remove", "import_batch", "nonsense"])
def test_nothing_else_is_asked_from_afar(op: str) -> None:
    door = Door(**{op: lambda _: "done"})
    assert door.ask(ACTOR, op, act())["name"] == "unknown_op"


def test_what_may_be_read_from_afar_may_be_read_here() -> None:
    assert REMOTE_READ_OPS <= READ_OPS
    assert not REMOTE_ACTING_OPS & READ_OPS


def test_errors_of_operations_come_back_by_name_and_faults_without_detail() -> None:
    def wrong(_: dict[str, Any]) -> object:
        raise OperatorError("no such peer")

    def fault(_: dict[str, Any]) -> object:
        raise ZeroDivisionError("secret")

    door = Door(peers=wrong, budget=fault)
    assert door.ask(READER, "peers")["name"] == "operator_error"
    broken = door.ask(READER, "budget")
    assert (broken["name"], "secret" in broken["error"]) == ("internal", False)


def test_an_answer_nobody_would_wait_for_is_not_sent() -> None:
    door = Door(records=lambda _: "x" * ANSWER_BYTES_MAX)
    assert door.ask(READER, "records")["name"] == "answer_too_long"


def test_few_are_answered_at_a_time() -> None:
    go, busy = threading.Event(), threading.Semaphore(0)

    def slow(_: dict[str, Any]) -> object:
        busy.release()
        go.wait(240)
        return "done"

    door = Door(peers=slow)
    threads = [
        threading.Thread(target=door.ask, args=(READER, "peers"), name=f"ciris-test-{n}")
        for n in range(AT_A_TIME_MAX)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert busy.acquire(timeout=240)
    assert door.ask(READER, "status")["name"] == "busy"
    go.set()
    for thread in threads:
        thread.join(240)
    assert door.ask(READER, "status")["ok"]
    assert door.drops.snapshot() == {"remote_busy": 1}
