"""`ciris-mesh run`: one node from its home directory, until it is told to end.

Order matters: Reticulum is started on the main thread and takes the signal handlers, so ours are
set afterwards; its exit handler is called last, because after it nothing can be printed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ciris_mesh.directory.verifying import HelperProcesses
from ciris_mesh.errors import MeshError
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.access import access_from
from ciris_mesh.runtime.announcing import Announcer, announce_node, lacks_peer
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.clock import clock_of
from ciris_mesh.runtime.config import Config, load_config
from ciris_mesh.runtime.control import ControlServer
from ciris_mesh.runtime.door import Door
from ciris_mesh.runtime.ending import EndSignals
from ciris_mesh.runtime.former import read_former
from ciris_mesh.runtime.handshake import CAPABILITIES
from ciris_mesh.runtime.home import Home, HomeLock
from ciris_mesh.runtime.httpsettings import registry_settings
from ciris_mesh.runtime.keyfiles import read_key_file
from ciris_mesh.runtime.memory import GIVE_BACK_S, be_thrifty, give_back, settle
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import READ_OPS, Operations
from ciris_mesh.runtime.operatorparts import People
from ciris_mesh.runtime.ownself import own_binding, own_key_record
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.peeroperations import peer_config
from ciris_mesh.runtime.pulse import pulse_of
from ciris_mesh.runtime.remote import RemoteControl
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.runtime.scheduler import SchedulerConfig
from ciris_mesh.runtime.stores import open_home_store
from ciris_mesh.runtime.systemd import Watchdog, notify, watchdog_s
from ciris_mesh.runtime.trusting import trust_of
from ciris_mesh.transport.rns_config import reticulum_errors
from ciris_mesh.transport.rns_node import RnsTransport, shutdown_reticulum, start_reticulum
from ciris_mesh.wire.frame import VERSION_MESH

logger = logging.getLogger(__name__)

#: All of a shutdown: five seconds is what systemd and people give a process before killing it.
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line adds to the configuration file."""

    rns_config_dir: Path | None = None
    verbosity: int = 0


class Service(Protocol):
    """Something that runs beside the node and asks it, such as its page in the browser."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End. Idempotent."""
        ...


#: Makes a service; None when the configuration asks for none.
MakeService = Callable[[Config, Operations], Service | None]


def run(home: Home, options: RunOptions | None = None, services: Sequence[MakeService] = ()) -> int:
    """Run the node of `home` until SIGINT or SIGTERM. Main thread only. Returns the exit code.

    Args:
        services: made before anything is started, so that what is wrong shows at once.

    Raises:
        OperatorError: something a person must put right; nothing was left half done.
    """
    be_thrifty()
    options = options or RunOptions()
    home.require().check()
    config = load_config(home.config)
    for warning in config.warnings:
        logger.warning("config %s", warning)
    if not options.verbosity:
        logging.getLogger("ciris_mesh").setLevel(config.node.logging_level)
    with ExitStack() as stack:
        stack.enter_context(HomeLock(home))
        node, operations = _build(home, config, options, stack)
        beside = [made for make in services if (made := make(config, operations)) is not None]
        rns_config_dir = options.rns_config_dir or config.reticulum.config_dir
        with reticulum_errors(rns_config_dir):
            start_reticulum(rns_config_dir)
        people = People(home, config, operations)
        people.open()  # takes signals as Reticulum did, so before ours
        stack.callback(people.stop)
        ending = stack.enter_context(EndSignals())
        for_group = bool(config.control.group)
        control = ControlServer(
            home.socket_path(for_group=for_group),
            {**operations.table(), **people.table()},
            access=access_from(config.control, READ_OPS),
        )
        control.start()
        stack.callback(control.stop)
        node.start()
        stack.callback(node.stop, STOP_TIMEOUT_S)
        interval_s = config.node.announce_interval_s(radio=False)
        announcer = Announcer(
            lambda: announce_node(node),
            interval_s=interval_s,
            lacks_peer=lambda: lacks_peer(node),
        )
        announcer.start()
        stack.callback(announcer.stop)
        people.start()
        for service in beside:
            stack.callback(service.stop)
            start_beside(service, node.runtime.drops.count)
        watchdog = Watchdog(pulse_of(node.runtime).is_well, watchdog_s())
        stack.callback(watchdog.stop)
        settle()
        logger.info("node.ready key_id=%s", node.key_id)
        notify(f"READY=1\nSTATUS={node.key_id}")
        watchdog.start()  # systemd counts from that word on
        print(f"ready {node.key_id}", file=sys.stderr, flush=True)  # noqa: T201 (for whoever waits)
        wait_s, later_s = GIVE_BACK_S
        while not ending.wait(wait_s):
            give_back()
            wait_s = later_s
        logger.info("node.stopping")
        notify("STOPPING=1")
    shutdown_reticulum()
    return 0


def start_beside(service: Service, count: Callable[[str], None]) -> None:
    """Start a service, or say why not: a port somebody else took keeps no node from exchanging."""
    try:
        service.start()
    except MeshError as error:
        count("service_not_started")
        logger.error("service.not_started error=%s", error)


def _build(
    home: Home, config: Config, options: RunOptions, stack: ExitStack
) -> tuple[Node, Operations]:
    clock, rounds = clock_of(home, keeps=True), config.rounds
    key = read_key_file(home.federation_key).key()
    trust = trust_of(config.trust)
    directory = open_home_store(home, config, trust=trust)
    stack.callback(directory.close)
    directory.doubt_clock(lambda: not clock.source())
    verifiers = HelperProcesses()
    stack.callback(verifiers.stop)
    directory.employ(verifiers)
    book = PeerBook.load(home.peers)
    transport = RnsTransport(
        options.rns_config_dir or config.reticulum.config_dir,
        home.identity,
        announce_kinds=config.reticulum.announce_kinds,
        kinds=config.node.kinds,
        edge=config.registry.edge,
    )
    transport.listen()
    node = Node(
        key,
        transport,
        directory=directory,
        kinds=tuple(kind for kind in EnvelopeKind if kind in config.node.kinds),
        bindings=BindingStore(home.storage / "bindings"),
        key_envelope=own_key_record(home, key, clock),
        binding=own_binding(home, key, transport.public_key, clock),
        capabilities=CAPABILITIES if rounds.frame == VERSION_MESH else 0,
        config=RuntimeConfig(
            rounds=SchedulerConfig(rounds.cadence_s, rounds.no_progress_timeout_s),
            tau_partial_s=rounds.tau_partial_s,
            pinned=frozenset(config.trust.pinned) | read_former(home.former),
            door=Door.load(home.path),
            scope=rounds.scope,
            limits=Limits(symbols_max=rounds.symbols_max),
            radio=config.radio,
            air_file=home.storage / "airtime.json",
            registries=registry_settings(config, home),
        ),
        edge=transport.edge,
    )
    for peer in book.peers():
        node.add_peer(peer_config(peer))
    budget = node.runtime.budget or RadioBudget(config.radio)
    operations = Operations(
        node,
        book,
        clock,
        clock.monotonic_s(),
        budget,
        trust,
        not_before_ms=directory.not_before_ms,
        former=home.former,
        registries=(home.registries, config.trust.registries),
    )
    remote = RemoteControl(
        operations.table(),
        readers=config.control.remote_allowed,
        actors=config.control.remote_acting,
        drops=node.runtime.drops,
    )
    if remote.operators():
        transport.serve_operators(remote.answer, remote.operators())
    return node, operations
