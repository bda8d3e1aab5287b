"""The control socket answers its owner at once, whatever others do to it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.errors import (
    AlreadyRunning,
    ConfigError,
    ControlError,
    DirectoryError,
    LifecycleError,
    NodeNotRunning,
    ShutdownTimeout,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import asking, control
from ciris_mesh.runtime.access import Access
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.control import CLIENTS_MAX, ControlServer, Request

DEADLINE_S = 240.0


@dataclass(frozen=True)
class Row:
    kind: EnvelopeKind
    ids: tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    rows: tuple[Row, ...]
    counts: dict[str, int]
    names: frozenset[str]
    path: Path


ANSWER = Answer(
    (Row(EnvelopeKind.KEY, (b"\x01\xff",)),), {"key": 1}, frozenset({"b", "a"}), Path("/x")
)


def fail(error: Exception) -> Callable[[Request], object]:
    def handler(_request: Request) -> object:
        raise error

    return handler


HANDLERS: dict[str, Callable[[Request], object]] = {
    "echo": lambda request: request,
    "answer": lambda _request: ANSWER,
    "nothing": lambda _request: None,
    "big": lambda request: "x" * request["size"],
    "odd": lambda _request: object(),
    "nan": lambda _request: float("nan"),
    "bug": fail(KeyError("oops")),
    "named": fail(ControlError("no such\npeer", "no_peer")),
    "typed": fail(DirectoryError("locked")),
}


@pytest.fixture
def path() -> Iterator[Path]:
    """Not tmp_path: its long names do not fit a socket's address."""
    with tempfile.TemporaryDirectory(prefix="cm-") as name:
        yield Path(name) / "s"


@pytest.fixture
def server(path: Path) -> Iterator[ControlServer]:
    with ControlServer(path, HANDLERS, request_timeout_s=DEADLINE_S) as running:
        yield running


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        threading.Event().wait(0.005)


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE_S)
    client.connect(str(path))
    return client


def raw(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Send bytes, end, and return every line that came back."""
    with connect(path) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # hung up on us: what it said before is still there
        chunks = []
        try:
            while chunk := client.recv(65536):
                chunks.append(chunk)
        except ConnectionResetError:
            pass
    return [json.loads(line) for line in b"".join(chunks).splitlines()]


# --- answers -------------------------------------------------------------------------------------


def test_a_request_reaches_its_handler_and_the_result_comes_back(
    server: ControlServer, path: Path
) -> None:
    assert call(path, "echo", peer="field-3", count=2, deep=[{"a": None}]) == {
        "peer": "field-3",
        "count": 2,
        "deep": [{"a": None}],
    }
    assert call(path, "nothing") is None


def test_dataclasses_are_objects_and_bytes_are_hex(server: ControlServer, path: Path) -> None:
    assert call(path, "answer") == {
        "rows": [{"kind": "key", "ids": ["01ff"]}],
        "counts": {"key": 1},
        "names": ["a", "b"],
        "path": "/x",
    }


def test_the_lines_are_pinned(server: ControlServer, path: Path) -> None:
    """Golden text: scripts speak this without our client."""
    with connect(path) as client:
        client.sendall(b'{"op":"echo","x":[1]}\n')
        assert client.recv(1000) == b'{"ok":true,"result":{"x":[1]}}\n'
        client.sendall(b'{"op":"named"}\n')
        assert client.recv(1000) == b'{"ok":false,"error":"no such peer","name":"no_peer"}\n'


def test_several_requests_on_one_connection_are_answered_in_order(
    server: ControlServer, path: Path
) -> None:
    lines = b"".join(b'{"op":"echo","n":%d}\n' % n for n in range(50))
    answers = raw(path, lines)
    assert [answer["result"]["n"] for answer in answers] == list(range(50))


@pytest.mark.parametrize(
    ("op", "name", "says"),
    [
        ("named", "no_peer", "no such peer"),
        ("typed", "directory_error", "locked"),
        ("bug", "internal", "its log says why"),
        ("odd", "internal", "its log says why"),
        ("nan", "internal", "its log says why"),
        ("nonsense", "unknown_op", "another version of ciris-mesh; restart it .*'nonsense'"),
    ],
)
def test_errors_come_back_with_a_stable_name_and_are_counted(
    server: ControlServer, path: Path, op: str, name: str, says: str
) -> None:
    with pytest.raises(ControlError, match=says) as caught:
        call(path, op)
    assert caught.value.name == name
    assert "oops" not in str(caught.value)
    assert server.dropped() == {f"control_{name}": 1}
    assert call(path, "echo") == {}


def test_an_answer_that_is_too_long_is_an_error(
    server: ControlServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "RESPONSE_BYTES_MAX", 1000)
    assert len(call(path, "big", size=900)) == 900
    with pytest.raises(ControlError) as caught:
        call(path, "big", size=1000)
    assert caught.value.name == "answer_too_long"


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"5",
        b"{}",
        b'{"op":5}',
        b'{"op":["status"]}',
        b"",
        b"[" * 100_000,
        b'{"op":"echo","n":' + b"9" * 10_000 + b"}",
    ],
)
def test_garbage_is_refused_and_the_connection_goes_on(
    server: ControlServer, path: Path, line: bytes
) -> None:
    first, second = raw(path, line + b'\n{"op":"echo"}\n')
    assert (first["ok"], first["name"]) == (False, "bad_request")
    assert second == {"ok": True, "result": {}}


def test_a_line_without_an_end_is_refused(server: ControlServer, path: Path) -> None:
    (answer,) = raw(path, b'{"op":"echo"}')
    assert answer["name"] == "bad_request"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_oversize_request_is_refused_and_hung_up_on(
    server: ControlServer, path: Path, end: bytes
) -> None:
    raw(path, b"x" * (asking.REQUEST_BYTES_MAX + 1) + end)
    wait_until(lambda: server.dropped().get("control_too_long") == 1)
    assert call(path, "echo") == {}


def test_the_largest_request_is_served(server: ControlServer, path: Path) -> None:
    frame = len('{"op":"echo","x":""}\n')
    text = "x" * (asking.REQUEST_BYTES_MAX - frame)
    assert call(path, "echo", x=text) == {"x": text}
    with pytest.raises(ControlError) as caught:
        call(path, "echo", x=text + "x")
    assert caught.value.name == "too_long"


# --- many and hostile clients --------------------------------------------------------------------


def test_twenty_clients_at_once_are_all_answered(server: ControlServer, path: Path) -> None:
    def ask(number: int) -> list[int]:
        return [call(path, "echo", n=number)["n"] for _ in range(5)]

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(ask, range(20))) == [[number] * 5 for number in range(20)]
    assert server.dropped() == {}


def test_never_more_than_the_limit_is_served_at_once(path: Path) -> None:
    inside, most = 0, 0
    lock, free = threading.Lock(), threading.Event()

    def busy(_request: Request) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        assert free.wait(DEADLINE_S)
        with lock:
            inside -= 1

    with ControlServer(path, {"busy": busy}), ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(call, path, "busy", timeout_s=DEADLINE_S) for _ in range(20)]
        wait_until(lambda: inside == CLIENTS_MAX)
        free.set()
        assert [each.result(DEADLINE_S) for each in waiting] == [None] * 20
    assert most == CLIENTS_MAX


def test_clients_that_say_nothing_or_little_make_room(path: Path) -> None:
    with ControlServer(path, HANDLERS, request_timeout_s=1.0) as server:
        silent = [connect(path) for _ in range(CLIENTS_MAX)]
        for client in silent[::2]:
            client.sendall(b'{"op":')
        assert call(path, "echo", timeout_s=DEADLINE_S) == {}
        wait_until(lambda: server.dropped().get("control_idle") == CLIENTS_MAX)
        for client in silent:
            client.close()


def test_a_byte_now_and_then_gains_no_time(path: Path) -> None:
    with ControlServer(path, HANDLERS, request_timeout_s=0.3) as server:
        with connect(path) as client:

            def trickle() -> bool:
                try:
                    client.sendall(b"x")
                except (BrokenPipeError, ConnectionResetError):
                    return True
                return False

            wait_until(trickle)
        assert server.dropped() == {"control_idle": 1}


def test_a_client_that_never_reads_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SEND_TIMEOUT_S", 0.1)
    with ControlServer(path, HANDLERS) as server, connect(path) as client:
        client.sendall(b'{"op":"big","size":4000000}\n')
        wait_until(lambda: server.dropped().get("control_client_gone") == 1)
        assert call(path, "echo") == {}


def test_clients_that_vanish_leave_nothing_behind(server: ControlServer, path: Path) -> None:
    for data in (b"", b'{"op"', b'{"op":"big","size":4000000}\n') * 10:
        with connect(path) as client:
            client.sendall(data)
    assert call(path, "echo", timeout_s=DEADLINE_S) == {}
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "ciris-control-client"])


def test_a_slow_handler_keeps_nobody_else_waiting(path: Path) -> None:
    free = threading.Event()
    handlers = {**HANDLERS, "slow": lambda _request: free.wait(DEADLINE_S)}
    with ControlServer(path, handlers), ThreadPoolExecutor(1) as pool:
        slow = pool.submit(call, path, "slow", timeout_s=DEADLINE_S)
        assert call(path, "echo") == {}
        assert not slow.done()
        free.set()
        assert slow.result(DEADLINE_S) is True


# --- start and stop ------------------------------------------------------------------------------


def test_the_socket_is_private_whatever_the_umask(path: Path) -> None:
    previous = os.umask(0)
    try:
        with ControlServer(path, HANDLERS):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(previous)


def test_a_group_gets_a_socket_of_its_own(path: Path) -> None:
    with ControlServer(path, HANDLERS, access=Access(group_id=os.getegid())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == os.getegid()


def test_stopping_removes_the_socket_and_the_threads(path: Path) -> None:
    server = ControlServer(path, HANDLERS)
    server.start()
    idle = connect(path)
    idle.sendall(b'{"op":"nothing"}\n')
    assert idle.recv(100) == b'{"ok":true,"result":null}\n'
    server.stop()
    server.stop()
    assert not path.exists()
    assert idle.recv(10) == b""
    idle.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ciris-control")]


def test_stopping_finishes_the_answer_under_way(path: Path) -> None:
    entered, free = threading.Event(), threading.Event()

    def slow(_request: Request) -> str:
        entered.set()
        assert free.wait(DEADLINE_S)
        return "done"

    server = ControlServer(path, {"slow": slow})
    server.start()
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(call, path, "slow", timeout_s=DEADLINE_S)
        assert entered.wait(DEADLINE_S)
        stopped = pool.submit(server.stop, DEADLINE_S)
        wait_until(lambda: not path.exists())
        free.set()
        assert asked.result(DEADLINE_S) == "done"
        stopped.result(DEADLINE_S)


def test_a_handler_that_hangs_is_reported(path: Path) -> None:
    entered, free = threading.Event(), threading.Event()

    def hang(_request: Request) -> None:
        entered.set()
        free.wait(DEADLINE_S)

    server = ControlServer(path, {"hang": hang})
    server.start()
    with connect(path) as client:
        client.sendall(b'{"op":"hang"}\n')
        assert entered.wait(DEADLINE_S)
        with pytest.raises(ShutdownTimeout, match="ciris-control-client"):
            server.stop(timeout_s=0.1)
        free.set()


def test_a_server_is_used_once(path: Path) -> None:
    server = ControlServer(path, HANDLERS)
    server.stop()
    with pytest.raises(LifecycleError):
        server.start()
    with ControlServer(path, HANDLERS) as running, pytest.raises(LifecycleError):
        running.start()


def test_a_leftover_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    with pytest.raises(NodeNotRunning):
        call(path, "echo")
    with ControlServer(path, HANDLERS):
        assert call(path, "echo") == {}


def test_a_living_socket_is_never_taken(server: ControlServer, path: Path) -> None:
    with pytest.raises(AlreadyRunning, match="another process answers"):
        ControlServer(path, HANDLERS).start()
    assert call(path, "echo") == {}


@pytest.mark.parametrize("what", ["file", "directory", "link"])
def test_another_file_in_that_place_is_left_alone(path: Path, what: str) -> None:
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    else:
        path.symlink_to("/nonexistent")
    with pytest.raises(ConfigError, match="in the way"):
        ControlServer(path, HANDLERS).start()
    assert os.path.lexists(path)


def test_a_socket_of_a_later_server_is_not_removed(path: Path) -> None:
    first = ControlServer(path, HANDLERS)
    first.start()
    path.rename(path.with_name("moved"))
    with ControlServer(path, HANDLERS):
        first.stop()
        assert call(path, "echo") == {}


def test_a_place_without_a_directory_is_one_line(path: Path) -> None:
    for place in (path / "none" / "s", path.with_name("x" * 120)):
        with pytest.raises(ConfigError, match="cannot listen") as caught:
            ControlServer(place, HANDLERS).start()
        assert "\n" not in str(caught.value)


# --- the client ----------------------------------------------------------------------------------


def test_without_a_node_the_hint_says_how_to_start_one(path: Path) -> None:
    with pytest.raises(NodeNotRunning, match="start it with: ciris-mesh run"):
        call(path, "status")


def test_a_node_that_does_not_answer_is_given_up(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        with pytest.raises(NodeNotRunning, match=r"did not answer 'status' within 0\.1 s"):
            call(path, "status", timeout_s=0.1)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"", NodeNotRunning, "ended before it answered"),
        (b"garbage\n", ControlError, "not JSON"),
        (b"{}\n", ControlError, "no reason"),
        (b'{"ok":false,"error":"x","name":"y"}\n', ControlError, "x"),
        (b'{"ok":true', ControlError, "line feed"),
    ],
)
def test_a_strange_answer_is_one_line(
    path: Path, answer: bytes, error: type[Exception], says: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def reply() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(error, match=says):
            call(path, "status", timeout_s=DEADLINE_S)
        thread.join(DEADLINE_S)


def test_a_line_without_end_is_cut_off() -> None:
    one, two = socket.socketpair()
    deadline_s = time.monotonic() + DEADLINE_S
    with one, two:
        one.sendall(b"x" * 1000)
        with pytest.raises(ControlError, match="longer than 100") as caught:
            asking.read_line(two, b"", bytes_max=100, deadline_s=deadline_s)
    assert caught.value.name == "too_long"


AS_ANOTHER_USER = """
import json, os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    for op in ("status", "sync"):
        client.sendall(json.dumps({"op": op}).encode() + b"\\n")
        print(client.recv(1000).decode(), end="")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")
def test_the_kernel_says_who_asks(path: Path) -> None:
    member, actor = 60_002, 60_003
    access = Access(60_000, frozenset({actor}), frozenset({"status"}))
    handlers = {"status": lambda _request: "fine", "sync": lambda _request: "done"}
    path.parent.chmod(0o711)

    def ask(uid: int, group: int) -> list[Any]:
        command = [sys.executable, "-c", AS_ANOTHER_USER, str(path), str(uid), str(group)]
        done = subprocess.run(command, check=False, timeout=240, capture_output=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    with ControlServer(path, handlers, access=access) as server:
        assert [answer.get("name", "fine") for answer in ask(member, 60_000)] == ["fine", "denied"]
        assert [answer["ok"] for answer in ask(actor, 60_000)] == [True, True]
        assert ask(member, 60_001) == []  # not of the group: the file's mode keeps it out
        assert server.dropped() == {"control_denied": 1}


def test_asking_loads_nothing_heavy() -> None:
    code = (
        "import sys, ciris_mesh.runtime.control, ciris_mesh.runtime.home;"
        "heavy = {'RNS', 'LXMF', 'cryptography', 'rich', 'configobj', 'sqlite3', 'msgpack'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (0, "")
