"""Posting frames: what is sent, what an answer means, and what never holds anybody up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from ciris_mesh.errors import BackPressure, PayloadTooLarge, PeerUnreachable
from ciris_mesh.transport import http_post
from ciris_mesh.transport.http_post import HttpPoster, Target, post
from ciris_mesh.transport.limits import FRAME_BYTES_MAX
from support.waiting import wait_until

FRAME = b"CRPL\x01{}"


class Peer:
    """A TCP server that answers each connection by a script."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.received: list[bytes] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/edge/inbound"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(240)
                with contextlib.suppress(OSError):  # it went away in the middle
                    self.received.append(_read(connection))
                    self._answer(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(240)


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more or more.startswith(b"\x16"):  # nobody any more, or TLS
            raise OSError("no request")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(next(row for row in head.split(b"\r\n") if b"Content-Length" in row)[16:])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def says(status: bytes, body: bytes = b"") -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(
        b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
    )


@pytest.fixture
def serve() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def one(answer: Callable[[socket.socket], None]) -> Peer:
        peers.append(Peer(answer))
        return peers[-1]

    yield one
    for each in peers:
        each.close()


def test_the_raw_frame_goes_with_the_token(serve: Callable[..., Peer]) -> None:
    peer = serve(says(b"202 Accepted"))
    assert post(Target(peer.url, "secret-token"), FRAME) == ""
    head, _, body = peer.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /edge/inbound HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret-token" in head
    assert body == FRAME


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (b"401 No", "http_refused_credential"),
        (b"413 No", "http_refused_size"),
        (b"302 Elsewhere\r\nLocation: http://127.0.0.1/", "http_refused"),
    ],
)
def test_what_is_not_taken_is_named_and_never_sent_elsewhere(
    serve: Callable[..., Peer], status: bytes, reason: str
) -> None:
    peer = serve(says(status))
    assert post(Target(peer.url), FRAME) == reason
    assert len(peer.received) == 1


def test_nobody_there_and_no_http_are_told(serve: Callable[..., Peer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert post(Target(f"http://127.0.0.1:{port}/"), FRAME) == "http_unreachable"
    nonsense = serve(lambda connection: connection.sendall(b"what?\r\n\r\n"))
    assert post(Target(nonsense.url), FRAME) == "http_unreachable"
    plain = serve(says(b"200 OK"))
    assert post(Target(plain.url.replace("http:", "https:")), b"") in ("http_tls", "http_timeout")


def test_an_answer_without_end_is_not_read(serve: Callable[..., Peer]) -> None:
    peer = serve(says(b"200 OK", bytes(10_000_000)))
    assert post(Target(peer.url), FRAME) == ""


def test_silence_ends(serve: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "STILL_S", 0.2)
    released = threading.Event()
    peer = serve(lambda _connection: released.wait(240) and None)
    try:
        assert post(Target(peer.url), FRAME) == "http_timeout"
    finally:
        released.set()


def test_an_answer_byte_by_byte_ends_with_the_deadline(
    serve: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is soon enough, and all of them never are."""
    monkeypatch.setattr(http_post, "POST_S", 0.5)
    given_up = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 ")
        for _ in range(600):  # half a minute, should nobody hang up
            if given_up.wait(0.05):
                return
            connection.sendall(b"O")

    peer = serve(trickle)
    try:
        assert post(Target(peer.url), FRAME) == "http_timeout"
    finally:
        given_up.set()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.0 200\n\n", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 429 Wait\r\n\r\n", "http_refused_busy"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "http_unreachable"),
        (b"HTTP/1.1 200", "http_unreachable"),
        (b"HTTP/2 200 OK\r\n\r\n", "http_unreachable"),
        (b"x" * 100_000, "http_unreachable"),
        (b"", "http_unreachable"),
    ],
)
def test_the_first_line_of_an_answer_is_its_status(
    serve: Callable[..., Peer], answer: bytes, expected: str
) -> None:
    peer = serve(lambda connection: connection.sendall(answer))
    assert post(Target(peer.url), FRAME) == expected


def test_frames_go_one_after_the_other_and_failures_are_told(serve: Callable[..., Peer]) -> None:
    told: list[tuple[str, str]] = []
    good, bad = serve(says(b"200 OK")), serve(says(b"503 Busy"))
    poster = HttpPoster(lambda name, reason: told.append((name, reason)))
    for n in range(3):
        poster.send("good", Target(good.url), b"%d" % n)
    poster.send("bad", Target(bad.url), FRAME)
    wait_until(lambda: told)
    poster.stop()
    assert told == [("bad", "http_refused_busy")]
    assert [each[-1:] for each in good.received] == [b"0", b"1", b"2"]
    with pytest.raises(PeerUnreachable):
        poster.send("good", Target(good.url), FRAME)


def test_what_may_wait_is_bounded(
    serve: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_post, "WAITING_FRAMES_MAX", 2)
    released = threading.Event()
    peer = serve(lambda _connection: released.wait(240) and None)
    poster = HttpPoster(lambda _name, _reason: None)
    target = Target(peer.url)
    try:
        with pytest.raises(PayloadTooLarge):
            poster.send("eu", target, bytes(FRAME_BYTES_MAX + 1))
        poster.send("eu", target, FRAME)
        wait_until(lambda: peer.received)
        poster.send("eu", target, FRAME)
        poster.send("eu", target, FRAME)
        with pytest.raises(BackPressure):
            poster.send("eu", target, FRAME)
    finally:
        released.set()
        poster.stop()
