"""Nodes in one process over loopback, on a clock that leaps; and a peer played by hand."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.protocol.limits import NO_PROGRESS_TIMEOUT_S
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.binding import Binding, sign_binding
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.scope import ALL
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.comparison import salted
from ciris_mesh.runtime.events import RoundEvent
from ciris_mesh.runtime.handshake import CAPABILITIES, WIRE_VERSIONS
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import Peer, PeerConfig
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.transport.base import (
    Address,
    DialFailed,
    FrameReceived,
    LinkDown,
    LinkId,
    LinkUp,
    TransportEvent,
)
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.wire.frame import AnyMessage, try_unwrap, wrap
from ciris_mesh.wire.mesh import BindingOffer, BindingWanted, Digests, Hello, KindDigest
from support.copies import copies_held
from support.keys import NAMES, key
from support.records import AT_MS, sample, trust_in
from support.resting import has_handed_on
from support.virtual_time import LeapClock
from support.waiting import DEADLINE_S, wait_until

#: What every node here takes for now: a minute after the sample records were signed.
NOW_MS = AT_MS + 60_000
#: Leaps of half the time an answer has, until a node compares: it does within a few cadences.
_LEAPS_MAX = 100

#: Everybody with a usual name may do everything.
TRUST = trust_in(*map(key, NAMES))

Message = TypeVar("Message")


class Mesh:
    """Nodes named after their keys. `stop` ends all of them."""

    def __init__(self, **network: Any) -> None:
        self.network = LoopbackNetwork(**network)
        self.clock = LeapClock()
        self.nodes: dict[str, Node] = {}
        self.scripted: list[ScriptedPeer] = []
        self._key_records: dict[str, bytes] = {}
        self._bindings: dict[str, Binding] = {}

    def node(
        self,
        name: str,
        *,
        kinds: Iterable[EnvelopeKind] = EnvelopeKind,
        directory: ReplicationDirectory | None = None,
        bindings: BindingStore | None = None,
        config: RuntimeConfig | None = None,
        capabilities: int = CAPABILITIES,
    ) -> Node:
        """A node that is not started. Of the same name again: the same node, restarted."""
        transport = LoopbackTransport(self.network, name)
        made = Node(
            key(name),
            transport,
            directory=directory or MemoryDirectory(trust=TRUST),
            kinds=tuple(kinds),
            bindings=bindings,
            config=config,
            key_envelope=self.key_record(name),
            binding=self.binding(name),
            capabilities=capabilities,
            clock=self.clock,
            wall_ms=lambda: NOW_MS,
            rng=random.Random(name),
        )
        self.clock.wakes(made.runtime._timer)
        self.nodes[name] = made
        return made

    def started(self, *names: str) -> list[Node]:
        """Nodes that are all each other's peers, and running."""
        for name in names:
            self.node(name)
        self.befriend(*names)
        for name in names:
            self.nodes[name].start()
        return [self.nodes[name] for name in names]

    def befriend(self, *names: str) -> None:
        """Make all of these each other's peers."""
        for one in names:
            for two in names:
                if one != two:
                    self.nodes[one].add_peer(self.config(two))

    def config(self, name: str) -> PeerConfig:
        """What a node writes down that makes `name` its peer."""
        return PeerConfig(key(name).key_id, address(name), fingerprint=key(name).public.fingerprint)

    def key_record(self, name: str) -> bytes:
        """The key record of `name`, the same each time."""
        if name not in self._key_records:
            self._key_records[name] = author_key(key(name), identity_ref=name, at_ms=AT_MS)
        return self._key_records[name]

    def binding(self, name: str) -> Binding:
        """The binding of `name` to the loopback transport of that name, the same each time."""
        if name not in self._bindings:
            self._bindings[name] = bound(name)
        return self._bindings[name]

    def peer(self, of: str, name: str) -> Peer:
        """How `of` sees its peer `name`."""
        found = self.nodes[of].runtime.peers.get(key(name).key_id)
        assert found is not None
        return found

    def script(self, name: str, *, transport_name: str = "") -> ScriptedPeer:
        """A peer played by hand, on the network."""
        made = ScriptedPeer(self, name, transport_name or name)
        self.scripted.append(made)
        return made

    def put(self, name: str, kind: EnvelopeKind, n: int = 0) -> bytes:
        """The n-th sample record of `kind`, signed and admitted by `name`; returns its id."""
        verdict = self.nodes[name].runtime.admit_own(kind, sample(kind, key(name), n))
        assert verdict.envelope_id is not None, verdict
        return verdict.envelope_id

    def wait_converged(self, *names: str) -> None:
        """Wait until every node (or these) agrees with all its peers."""
        for name in names or tuple(self.nodes):
            waiting_for = self.nodes[name].handle.waiting_for
            wait_until(partial(_is_empty, waiting_for), waiting_for)

    def wait_one_link(self, one: str, two: str) -> None:
        """Wait until of two links, each dialled by one, both ends use the same and no other is."""

        def is_settled() -> bool:
            mine, theirs = self.peer(one, two).link, self.peer(two, one).link
            stats = [self.nodes[name].runtime.transport.stats() for name in (one, two)]
            is_same = mine is not None and theirs is not None and mine.inbound is not theirs.inbound
            return is_same and [each.links for each in stats] == [1, 1]

        wait_until(is_settled, "both ends kept the same link")

    def stop(self) -> None:
        for scripted in self.scripted:
            scripted.transport.stop()
        for node in self.nodes.values():
            node.stop()


def address(name: str) -> Address:
    """Where the loopback transport of `name` is."""
    return LoopbackTransport(LoopbackNetwork(), name).address


def bound(name: str, to: str = "", *, epoch: int = 1, expiry_s: int | None = None) -> Binding:
    """A binding of the key `name` to the transport of `to`."""
    public_key = LoopbackTransport(LoopbackNetwork(), to or name).public_key
    return sign_binding(key(name), public_key, epoch, expiry_s or NOW_MS // 1000 + 86_400)


def held(node: Node) -> dict[EnvelopeKind, frozenset[bytes]]:
    """Ids on the federation shelf by kind."""
    return {
        kind: frozenset(ref.envelope_hash for ref in node.directory.holdings(kind))
        for kind in EnvelopeKind
    }


def compared(node: Node) -> dict[EnvelopeKind, frozenset[bytes]]:
    """The same under the names that nodes compare."""
    return {kind: copies_held(node.directory, kind) for kind in EnvelopeKind}


def settle(node: Node) -> None:
    """Wait until all that came and all that was due has been done.

    The transport hands on what has arrived; then pass once through the timer and every strand.
    """
    pool, timer = node.runtime._pool, node.runtime._timer
    wait_until(partial(has_handed_on, node), "frames handed on")
    strangers = [("link", link) for link in tuple(node.runtime._links._links)]
    for strand in (*sorted(node.runtime.peers.key_ids()), *strangers, "nobody"):
        passed = threading.Event()
        timer.after(0.0, partial(pool.submit, strand, passed.set))
        wait_until(passed.is_set, f"strand {strand}")


def let_compare(scripted: ScriptedPeer, node: Node) -> None:
    """Let time pass until a comparison of the node's is out, and not until it is given up."""
    peer = node.runtime.peers.get(scripted.key.key_id)
    assert peer is not None
    for _ in range(_LEAPS_MAX):
        if peer.check_out:
            return
        scripted.mesh.clock.leap(NO_PROGRESS_TIMEOUT_S / 2)
        settle(node)
    raise AssertionError("it never compares")


def collect(node: Node) -> list[RoundEvent]:
    """A list that gets every event of `node`."""
    events: list[RoundEvent] = []
    node.subscribe(events.append)
    return events


def _is_empty(of: Callable[[], list[str]]) -> bool:
    return not of()


class ScriptedPeer:
    """A transport and whatever the test says on it. Knows the handshake; has no directory.

    Attributes:
        capabilities: stated in the hello; nothing but 0x01 and 0x02 at first.
        hello: what the node said of itself on the link in use.
        down: reasons of links that went down.
    """

    def __init__(self, mesh: Mesh, name: str, transport_name: str) -> None:
        self.name = name
        self.key: FederationKey = key(name)
        self.mesh = mesh
        self.nonce = b"scripted"
        self.capabilities = 0
        self.transport = LoopbackTransport(mesh.network, transport_name)
        self.link: LinkId | None = None
        self.hello: Hello | None = None
        self.down: list[str] = []
        self.dials_failed: list[str] = []
        self.links_seen = 0
        self._went_down = False  # the link in use, since it was last waited for
        self._inbox: queue.Queue[AnyMessage] = queue.Queue()
        self.transport.permit(
            frozenset(node.runtime.transport.address for node in mesh.nodes.values())
        )
        self.transport.start(self._handle)

    # -- links -------------------------------------------------------------------------------

    def dial(self, name: str) -> None:
        """Link to the node `name` and wait until the link is up."""
        self.link, self._went_down = None, False
        self.transport.dial(address(name))
        wait_until(lambda: self.link is not None, "link up")

    def wait_dialled(self) -> None:
        """Wait until the node has linked to us."""
        wait_until(lambda: self.link is not None, "being dialled")
        self._went_down = False

    def wait_down(self) -> str:
        """Wait until the link is down; why. The node may have linked to us again by then."""
        wait_until(lambda: self._went_down or self.link is None, "link down")
        self._went_down = False
        return self.down[-1]

    # -- words -------------------------------------------------------------------------------

    def say(self, *messages: AnyMessage) -> None:
        for message in messages:
            self.say_bytes(wrap(message))

    def say_bytes(self, frame: bytes) -> None:
        assert self.link is not None
        self.transport.send(self.link, frame)

    def hear(self, kind_of: type[Message]) -> Message:
        """The next message of that type; others before it are skipped."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                message = self._inbox.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{kind_of.__name__} never came") from None
            if isinstance(message, kind_of):
                return message

    def hear_reply(self) -> Digests:
        """The next answer to a comparison of ours; the node's own comparisons are skipped."""
        while not (digests := self.hear(Digests)).reply:
            pass
        return digests

    def heard_nothing(self) -> bool:
        return self._inbox.empty()

    # -- the handshake -----------------------------------------------------------------------

    def say_hello(self, **changes: Any) -> None:
        hello = Hello(
            wire_versions=WIRE_VERSIONS,
            capabilities=self.capabilities,
            kinds=tuple(EnvelopeKind),
            scope_hash=ALL.hash8,
            nonce=self.nonce,
            day=0,
            view_digest=bytes(8),
            binding_hash=self.mesh.binding(self.name).hash8,
        )
        self.say(replace(hello, **changes))

    def offer(self, binding: Binding | None = None, key_record: bytes | None = None) -> None:
        binding = binding or self.mesh.binding(self.name)
        record = self.mesh.key_record(self.name) if key_record is None else key_record
        self.say(BindingOffer(binding.encode(), record))

    def shake_hands(self) -> None:
        """Say who we are; the node fetches the binding when it does not know it.

        Where bytes are dear it waits for our hello when we dialled.
        """
        if self.mesh.network.medium == "radio":
            self.say_hello()
            self.hello = self.hear(Hello)
        else:
            self.hello = self.hear(Hello)
            self.say_hello()

    def introduce(self) -> None:
        """As `shake_hands`, for a node that has never met us."""
        self.shake_hands()
        self.hear(BindingWanted)
        self.offer()

    # -- comparing ---------------------------------------------------------------------------

    def digests(
        self,
        held: Mapping[EnvelopeKind, Iterable[bytes]] | None = None,
        *,
        reply: bool,
        kinds: Iterable[EnvelopeKind] = EnvelopeKind,
    ) -> Digests:
        """What a peer says that holds these ids."""
        assert self.hello is not None
        salt = b"".join(sorted((self.nonce, self.hello.nonce)))
        entries = []
        for kind in kinds:
            digest = digest_of(frozenset((held or {}).get(kind, ())))
            entries.append(KindDigest(kind, digest.count, salted(digest, salt)))
        return Digests(tuple(entries), reply)

    # -- transport thread --------------------------------------------------------------------

    def _handle(self, event: TransportEvent) -> None:
        match event:
            case LinkUp(link=link):
                self.links_seen += 1
                if self.link is None:  # one link at a time; the node may dial us meanwhile
                    self.link = link
            case LinkDown(link=link, reason=reason):
                self.down.append(reason)
                if link == self.link:
                    self.link, self._went_down = None, True
            case FrameReceived(link=link, frame=frame) if link == self.link:
                unwrapped = try_unwrap(frame)
                assert unwrapped is not None
                self._inbox.put(unwrapped.message)
            case DialFailed(reason=reason):
                self.dials_failed.append(reason)
            case _:
                pass
