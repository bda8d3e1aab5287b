"""Shared fixtures: no thread of ours may outlive a test, and simulations are seeded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from ciris_mesh.cli.node import ask
from ciris_mesh.runtime.announcing import Announcer
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.control import ControlServer
from ciris_mesh.runtime.handle import ReplicationHandle
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operatordesk import OperatorDesk
from ciris_mesh.runtime.runtime import ReplicationRuntime
from ciris_mesh.runtime.systemd import Watchdog
from ciris_mesh.runtime.worker import Timer, WorkerPool
from ciris_mesh.transport.http_post import HttpPoster
from ciris_mesh.transport.loopback import LoopbackTransport
from support.waiting import wait_until

#: How long a thread that was told to stop may take to be gone.
THREAD_END_TIMEOUT_S = 60.0

#: Where tests run nothing may vouch for the clock. Those of that rule unset it; commands and nodes
#: started as processes inherit it.
os.environ.setdefault("CIRIS_MESH_CLOCK", "assume-trusted")

# How fast examples come is the machine's business.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")

#: What people are made to wait for an end or an answer is seconds. A machine that runs the whole
#: suite is no thread that hangs: tests of these deadlines say which they mean.
PATIENCE_S = 240.0
for each in (
    Node.stop, ReplicationRuntime.shutdown, ReplicationHandle.shutdown, WorkerPool.stop, Timer.stop,
    LoopbackTransport.stop, HttpPoster.stop, ControlServer.stop, Announcer.stop, Watchdog.stop,
    OperatorDesk.stop,
):  # fmt: skip
    each.__defaults__ = (PATIENCE_S,)
for named in (ask.__kwdefaults__, call.__kwdefaults__):
    assert named is not None
    named["timeout_s"] = PATIENCE_S


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim-seed", type=int, default=None, help="replay one simulated history")
    parser.addoption("--sim-seeds", type=int, default=200, help="how many histories to simulate")
    parser.addoption("--sim-records", default=None, help="a history's records, if not kept here")
    parser.addoption("--rewrite", action="store_true", help="write golden files anew")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "sim_seed" in metafunc.fixturenames:
        only = metafunc.config.getoption("--sim-seed")
        count = metafunc.config.getoption("--sim-seeds")
        metafunc.parametrize("sim_seed", [only] if only is not None else range(count))
    if "mixed_sim_seed" in metafunc.fixturenames:  # a quarter: what is new in them is less
        only = metafunc.config.getoption("--sim-seed")
        count = metafunc.config.getoption("--sim-seeds") // 4
        metafunc.parametrize("mixed_sim_seed", [only] if only is not None else range(count))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real stacks run one test at a time: two at once starve each other's timers on two cores.

    Those that wait for an emulated radio need next to no processor, and form a queue of their own.
    """
    for item in items:
        if item.get_closest_marker("rns") is not None:
            queue = "rns" if item.get_closest_marker("air") is None else "air"
            item.add_marker(pytest.mark.xdist_group(queue))


@pytest.fixture(autouse=True)
def no_thread_outlives_its_owner() -> Iterator[None]:
    before = set(threading.enumerate())
    yield

    def alive() -> list[str]:
        new = (thread for thread in threading.enumerate() if thread not in before)
        return [thread.name for thread in new if thread.name.startswith("ciris-")]

    wait_until(
        lambda: not alive(), lambda: f"the end of {alive()}", deadline_s=THREAD_END_TIMEOUT_S
    )
