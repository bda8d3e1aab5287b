"""Links that others begin and do not finish: how many, how long, and who goes first."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.limits import HALF_OPEN_LINKS_MAX
from ciris_mesh.transport.rns_halfopen import (
    HALF_OPEN_S,
    HALF_OPEN_TCP_S,
    HALF_OPEN_THREADS_MAX,
    THREAD_LINGERS_S,
    HalfOpenLinks,
)
from support.fake_rns import FakeHost, FakeLink

HANDSHAKE, ACTIVE = 1, 2


class TCPClientInterface:
    """Named as Reticulum names its own: the name tells the medium."""

    bitrate = 10_000_000


class RNodeInterface(TCPClientInterface):
    """A radio."""


@dataclass
class Bench:
    """A destination with the links at it."""

    host: FakeHost
    half_open: HalfOpenLinks
    links: list[FakeLink] = field(default_factory=list)
    abandoned: list[FakeLink] = field(default_factory=list)
    now: float = 1_000.0

    def request(self, over: type = TCPClientInterface) -> FakeLink | None:
        """Somebody asks for a link; None when it is not answered."""
        if not self.half_open.admits(self.links, self.now):
            return None
        link = FakeLink(initiator=False, status=HANDSHAKE, attached_interface=over())
        self.links.append(link)
        return link

    def sweep(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.half_open.sweep(self.links, self.now)

    def forget(self, link: FakeLink) -> None:
        link.status = seam.LINK_CLOSED
        self.links.remove(link)
        self.abandoned.append(link)

    def dropped(self) -> dict[str, int]:
        with self.host.lock:
            return {str(name): count for name, count in self.host.dropped().items()}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    host = FakeHost()
    made = Bench(host, HalfOpenLinks(host))
    monkeypatch.setattr(seam, "abandon", made.forget)
    return made


def test_when_all_places_are_taken_the_oldest_goes(bench: Bench) -> None:
    begun = []
    for _ in range(HALF_OPEN_LINKS_MAX):
        bench.now += 0.01
        begun.append(bench.request())
    assert bench.abandoned == []
    newcomer = bench.request()
    assert newcomer in bench.links
    assert bench.abandoned == begun[:1]
    assert bench.dropped() == {"half_open": 1}


def test_links_that_are_set_up_take_no_place(bench: Bench) -> None:
    for _ in range(3 * HALF_OPEN_LINKS_MAX):
        link = bench.request()
        assert link is not None
        link.status = ACTIVE
    bench.sweep(HALF_OPEN_S + 1)
    assert (bench.abandoned, bench.dropped()) == ([], {})


def test_a_flood_makes_only_so_many_threads_and_lets_some_in(bench: Bench) -> None:
    let_in = 0
    for _ in range(10):
        let_in += sum(bench.request() is not None for _ in range(1_000))
        assert len(bench.links) <= HALF_OPEN_LINKS_MAX
        bench.now += THREAD_LINGERS_S + 0.1
    assert let_in >= 10 * HALF_OPEN_LINKS_MAX, "newcomers find room again and again"
    assert len(bench.abandoned) <= 10 * (HALF_OPEN_THREADS_MAX - HALF_OPEN_LINKS_MAX)
    assert bench.dropped()["too_many_links"] == 10_000 - let_in


def test_one_let_in_has_its_time_even_in_a_flood(bench: Bench) -> None:
    """Nobody is put out within the second in which an honest set-up is over."""
    for _ in range(1_000):
        bench.request()
    bench.now += THREAD_LINGERS_S + 0.1
    honest = bench.request()
    for _ in range(100):
        bench.request()
        bench.now += 0.01
    assert honest in bench.links


@pytest.mark.parametrize(
    ("over", "wait_s"), [(TCPClientInterface, HALF_OPEN_TCP_S), (RNodeInterface, HALF_OPEN_S)]
)
def test_one_that_takes_too_long_is_abandoned(bench: Bench, over: type, wait_s: float) -> None:
    link = bench.request(over)
    bench.sweep()
    bench.sweep(wait_s - 0.1)
    assert link in bench.links
    bench.sweep(0.2)
    assert bench.abandoned == [link]
    assert bench.dropped() == {"half_open": 1}
    bench.sweep(1_000)
    assert len(bench.abandoned) == 1


def test_reticulums_own_six_minutes_are_never_waited_for() -> None:
    assert HALF_OPEN_TCP_S < HALF_OPEN_S < 360


@pytest.mark.parametrize("admits", [True, False])
def test_requests_that_are_not_admitted_do_not_reach_reticulum(*, admits: bool) -> None:
    came: list[tuple[object, object]] = []
    destination: Any = SimpleNamespace(incoming_link_request=lambda *what: came.append(what))
    seam.guard_link_requests(destination, lambda: admits)
    destination.incoming_link_request(b"data", "packet")
    assert came == ([(b"data", "packet")] if admits else [])


def test_abandoning_a_link_ends_it_in_silence() -> None:
    ended = []
    link: Any = SimpleNamespace(status=HANDSHAKE, link_closed=lambda: ended.append(True))
    assert seam.is_half_open(link)
    seam.abandon(link)
    assert not seam.is_half_open(link)
    assert (link.status, link.teardown_reason) == (seam.LINK_CLOSED, seam.LINK_TIMEOUT)
    assert ended == [True]
