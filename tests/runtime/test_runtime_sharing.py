"""News of another process on the same database: peers are told at once, and only then."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import BackPressure
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.sharing import LOOK_S, Sharing


class World:
    """A directory that says how much it followed, a timer and a pool that wait for the test."""

    def __init__(self, followed: int | None) -> None:
        self.directory = SimpleNamespace(followed=followed)
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.told = 0
        self.is_full = False
        parts = SimpleNamespace(directory=self.directory, timer=self, pool=self)
        self.sharing = Sharing(cast(Any, parts), self.tell)
        self.sharing.start()

    def tell(self) -> None:
        self.told += 1

    def after(self, delay_s: float, function: Callable[[], None]) -> None:
        self.due.append((delay_s, function))

    def submit(self, strand: str, task: Callable[[], None]) -> None:
        if self.is_full:
            raise BackPressure("full")
        task()

    def pass_time(self) -> None:
        ((delay_s, function),) = self.due
        assert delay_s == LOOK_S
        self.due.clear()
        function()


def test_peers_are_told_once_for_what_others_brought() -> None:
    world = World(0)
    world.pass_time()
    assert world.told == 0
    world.directory.followed = 7
    world.pass_time()
    world.pass_time()
    assert world.told == 1
    world.directory.followed = 8
    world.pass_time()
    assert world.told == 2


def test_a_node_with_a_store_of_its_own_looks_for_nothing() -> None:
    assert World(None).due == []
    directory = MemoryDirectory()
    assert directory.followed is None
    directory.close()


def test_a_full_pool_ends_nothing() -> None:
    world = World(0)
    world.directory.followed, world.is_full = 1, True
    world.pass_time()
    assert (world.told, len(world.due)) == (0, 1)
    world.directory.followed, world.is_full = 2, False
    world.pass_time()
    assert world.told == 1


def test_parts_have_what_it_asks_for() -> None:
    assert {"directory", "timer", "pool"} <= set(Parts.__dataclass_fields__)
