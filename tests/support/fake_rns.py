"""Stand-ins for Reticulum's objects and for time, to put a transport's parts into rare states.

They take the calls of `rns_seam` and remember them; a test answers as a peer would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import TransportEvent
from ciris_mesh.transport.rns_host import Host
from ciris_mesh.transport.threads import Job

FAILED, COMPLETE, REJECTED, TRANSFERRING = 7, 6, 9, 3


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class FakeHost(Host):
    """A host whose jobs run when the test says so, and whose events are a list."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.reported: list[TransportEvent] = []
        self.after: list[Job] = []
        self.pump.put = self._report  # type: ignore[method-assign]

    def _report(self, event: TransportEvent, then: Job | None = None) -> None:
        self.reported.append(event)
        if then is not None:
            self.after.append(then)

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def run(self) -> None:
        """Run the jobs there are, and those they make."""
        while self.jobs:
            self.jobs.pop(0)()

    def take_all(self) -> None:
        """The sink took what was reported."""
        while self.after:
            self.after.pop(0)()

    def take_reported(self) -> list[TransportEvent]:
        reported, self.reported = self.reported, []
        return reported


@dataclass(eq=False)
class FakeLink:
    """`rns_seam.Link`."""

    initiator: bool = True
    rtt: float | None = 0.01
    mdu: int = 431
    mtu: int = 500
    status: int = 2
    link_id: bytes = b"l" * 16
    teardown_reason: int = 0
    derived_key: bytes | None = b"k" * 64
    establishment_timeout: float = 18.0
    attached_interface: Any = None
    last_resource_eifr: float | None = 5.0
    destination: Any = None
    identified_as: list[object] = field(default_factory=list)
    remote_identity: Any = None
    torn_down: int = 0
    incoming_resources: list[Any] = field(default_factory=list)
    outgoing_resources: list[Any] = field(default_factory=list)

    def receive(self, packet: object) -> None:
        """Nobody sends packets here; see test_rns_paced for who does."""

    def get_remote_identity(self) -> Any:
        return self.remote_identity

    def identify(self, identity: object) -> None:
        self.identified_as.append(identity)

    def teardown(self) -> None:
        self.torn_down += 1
        self.status = seam.LINK_CLOSED


@dataclass(eq=False)
class FakeResource:
    """`rns_seam.Resource`."""

    status: int = COMPLETE
    hash: bytes = b"h" * 32
    original_hash: bytes = b"h" * 32
    request_id: bytes | None = None
    data: Any = None
    max_decompressed_size: int = 64 << 20
    cancelled: bool = False
    moved: Callable[[Any], None] | None = None

    def progress_callback(self, callback: Callable[[Any], None]) -> None:
        self.moved = callback

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Sent:
    """One call of `send_request` or `send_resource`."""

    body: bytes
    sequence: int | None
    answered: Callable[[object], None]
    failed: Callable[[], None]
    concluded: Callable[[Any], None]
    progress: Callable[[Any], None]
    options: dict[str, Any]


class Wire:
    """What was handed to Reticulum, newest last."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.takes = True
        self.receiving = False

    def send_request(
        self, _link: object, sequence: int, body: bytes, *, timeout_s: float, **calls: Any
    ) -> bool:
        self.sent.append(
            Sent(body, sequence, calls["answered"], calls["failed"], _never, _never, {})
        )
        return self.takes

    def send_resource(self, _link: object, body: bytes, **calls: Any) -> FakeResource:
        concluded, progress = calls.pop("concluded"), calls.pop("progress")
        self.sent.append(Sent(body, None, _never, _never, concluded, progress, calls))
        return FakeResource()

    @property
    def last(self) -> Sent:
        return self.sent[-1]


def _never(*_args: object) -> None:
    raise AssertionError("this carrier has no such callback")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    fake = SimpleNamespace(monotonic=made.monotonic)
    for module in ("rns_link", "rns_dial", "rns_announce", "rns_edge", "rns_edge_link"):
        monkeypatch.setattr(f"ciris_mesh.transport.{module}.time", fake)
    return made


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(seam, "send_request", made.send_request)
    monkeypatch.setattr(seam, "send_resource", made.send_resource)
    monkeypatch.setattr(seam, "is_receiving", lambda _link, _hash: made.receiving)
    monkeypatch.setattr(seam, "discard_partial", lambda _hash: None)
    return made
