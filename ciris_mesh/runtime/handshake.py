"""From a fresh link to a known peer: hello, binding, attribution.

    either side            Hello: versions, kinds, nonce, hash of my binding
    who lacks the binding  BindingWanted
    the other              BindingOffer: binding, and my key record for a first contact
    who lacks the scope    ScopeWanted, answered by ScopeOffer
    who dislikes it        Refusal: a stable reason, then the link is closed

A frame's sender is link -> RNS identity -> verified binding -> key id, never something in a frame.
Any error is "not attributed".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from ciris_mesh.directory.base import UNATTRIBUTED, ReplicationDirectory
from ciris_mesh.errors import MeshError
from ciris_mesh.records.binding import Binding, verify_binding
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.scope import ALL, TRUST, Scope, Terms, read_spelled, terms_of
from ciris_mesh.runtime.bindings import BindingStore, address_of
from ciris_mesh.runtime.recoding import batch_of, key_record_of
from ciris_mesh.transport.base import Address, LinkId
from ciris_mesh.wire.mesh import (
    CAPABILITY_MIXED,
    CAPABILITY_PREVIEWS,
    CAPABILITY_TAKES_NOTHING,
    DAY_MAX,
    BindingOffer,
    BindingWanted,
    Digests,
    Hello,
    KindDigest,
    MeshMessage,
    Refusal,
    ScopeOffer,
    ScopeWanted,
)
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS

#: Wire versions this build speaks, as the hello states them.
WIRE_VERSIONS: Final = (0x01, 0x02, 0x81)

#: What of 0x81, beyond the handshake and digests, this build speaks.
CAPABILITIES: Final = (
    CAPABILITY_RECORDS | CAPABILITY_RECONCILE | CAPABILITY_PREVIEWS | CAPABILITY_MIXED
)

NO_DIGEST: Final = bytes(8)

#: Scopes of peers kept, so that each is spelled once and not on every link: 1 kB each.
SCOPES_MAX: Final = 64

#: What a reconciled round takes at both ends.
_BOTH: Final = CAPABILITY_RECONCILE | CAPABILITY_RECORDS

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class OwnSelf:
    """What this node shows of itself on every link."""

    binding: Binding
    key_envelope: bytes
    kinds: tuple[EnvelopeKind, ...]
    capabilities: int = CAPABILITIES
    scope: Scope = ALL

    def limited(self, scope: Scope, directory: ReplicationDirectory) -> OwnSelf:
        """With the kinds of a scope of which there is or can be something here.

        Of the others nothing is to be sent.
        """
        closed = directory.closed()
        kinds = tuple(
            kind
            for kind in self.kinds
            if kind in scope.kinds and (kind not in closed or directory.digest(kind).count)
        )
        return replace(self, kinds=kinds, scope=scope)


@dataclass(slots=True)
class LinkState:
    """What is known of the other end of one link. Touched only on the link's strand.

    Attributes:
        is_slow: bytes are dear somewhere on the way.
        key_id: who it is, once a binding was verified; None until then.
        nonce: ours; drawn for this link alone.
        theirs: what the peer said last of its views; None before the first comparison.
        beyond: how many more records that was than we have, of kinds of which it has more.
        compared: kinds that both ends named in a comparison, in wire order.
        differ: those of which the digests differed in the last.
        interface: the name of the first hop's, where that is known.
        is_theirs_to_open: the peer compared and something differs: it begins a round, if at all.
        fetching: kinds of which vouched rows were asked for on it, and no answer came yet.
        fetches: how many such questions went out on it.
        is_hushed: "no air" was said on it, and nothing more will be.
        early: a comparison the peer sent before we had its binding.
        broken: a frame was lost for want of room; those after it must not count.
        day: as our hello on it stated it.
        scope: the peer's; None while it is not known.
        scope_told: we spelled ours.
        kinds, capabilities: those both ends state; none before the peer's hello.
        replaced: another link to the same peer was settled on and this one is being closed. What
            the peer said on it before it noticed is no fault, and is said again on the other.
    """

    link: LinkId
    inbound: bool
    nonce: bytes
    address: Address | None = None
    medium: str = "unknown"
    is_slow: bool = True
    key_id: str | None = None
    hello_sent: bool = False
    hello: Hello | None = None
    binding_wanted: bool = False
    binding_sent: bool = False
    unattributed_frames: int = 0
    theirs: Digests | None = None
    beyond: int = 0
    compared: tuple[EnvelopeKind, ...] = ()
    differ: frozenset[EnvelopeKind] = frozenset()
    early: Digests | None = None
    broken: bool = False
    replaced: bool = False
    interface: str = ""
    is_theirs_to_open: bool = False
    fetching: set[EnvelopeKind] = field(default_factory=set)
    fetches: int = 0
    is_hushed: bool = False
    day: int = 0
    scope: Scope | None = None
    scope_told: bool = False
    kinds: frozenset[EnvelopeKind] = field(default_factory=frozenset)
    capabilities: int = 0

    @property
    def takes_nothing(self) -> bool:
        """Did the peer say that it takes none of our records?"""
        return self.hello is not None and bool(self.hello.capabilities & CAPABILITY_TAKES_NOTHING)

    @property
    def is_known(self) -> bool:
        """Is it known who the peer is, and what it wants?"""
        return self.key_id is not None and self.scope is not None

    def terms(self, ours: Scope) -> Terms:
        """What this node and the peer compare: what both want, as of the older day."""
        assert self.hello is not None, "asked when the peer is known"
        return terms_of(ours, self.scope or ALL, min(self.day, self.hello.day))

    @property
    def their_count(self) -> int:
        """Records in the peer's views of the kinds compared, when it last said so."""
        return sum(entry.count for entry in self.theirs_of(self.compared))

    def theirs_of(self, kinds: Collection[EnvelopeKind]) -> tuple[KindDigest, ...]:
        """What the peer said last of its views of these kinds."""
        entries = self.theirs.entries if self.theirs is not None else ()
        return tuple(entry for entry in entries if entry.kind in kinds)

    def salt(self) -> bytes:
        """Both hello nonces, in an order both ends agree on. For salted digests."""
        theirs = self.hello.nonce if self.hello is not None else bytes(8)
        return b"".join(sorted((self.nonce, theirs)))


class Greeter:
    """Answers the handshake messages of one node. Stateless but for the bindings it keeps.

    Args:
        peers: key ids whose bindings are kept whoever else comes.
        off: kinds that are not exchanged on a link, whatever this node serves elsewhere.
        more: bits that are stated on a link besides.
    """

    def __init__(
        self,
        own: OwnSelf,
        bindings: BindingStore,
        directory: ReplicationDirectory,
        *,
        wall_ms: Callable[[], int],
        peers: Callable[[], frozenset[str]] = frozenset,
        off: Callable[[LinkState], frozenset[EnvelopeKind]] | None = None,
        more: Callable[[LinkState], int] = lambda _state: 0,
    ) -> None:
        self._own = own
        self._peers = peers
        self._off = off
        self._more = more
        self._bindings = bindings
        self._directory = directory
        self._wall_ms = wall_ms
        self._lock = threading.Lock()  # guards the scopes that peers spelled
        self._scopes = OrderedDict({scope.hash8: scope for scope in (ALL, TRUST, own.scope)})

    @property
    def scope(self) -> Scope:
        """What this node wants."""
        return self._own.scope

    def hello(self, state: LinkState) -> Hello:
        """This node's hello on that link."""
        state.hello_sent = True
        state.day = min(DAY_MAX, max(0, self._wall_ms() // _DAY_MS))
        return Hello(
            wire_versions=WIRE_VERSIONS,
            capabilities=self._capabilities(state),
            kinds=self._kinds(state),
            scope_hash=self._own.scope.hash8,
            nonce=state.nonce,
            day=state.day,
            view_digest=NO_DIGEST,
            binding_hash=self._own.binding.hash8,
        )

    def received(self, state: LinkState, message: MeshMessage) -> list[MeshMessage]:
        """Work off one handshake message; `state.key_id` is set when the peer is known.

        Returns:
            Messages to send, in order. A Refusal among them ends the link.
        """
        match message:
            case Hello():
                return self._greeted(state, message)
            case BindingWanted() if not state.binding_sent:
                state.binding_sent = True
                return [self._offer(state)]
            case BindingOffer() if state.binding_wanted and state.key_id is None:
                reason = self._judge(state, message)
                return [Refusal(reason)] if reason else []
            case ScopeWanted() if self._own.scope.ids and not state.scope_told:
                state.scope_told = True
                return [ScopeOffer(self._own.scope.spelled)]
            case ScopeOffer() if state.hello is not None and state.scope is None:
                return self._spelled(state, state.hello, message)
            case _:
                return [Refusal("out_of_turn")]

    def _offer(self, state: LinkState) -> BindingOffer:
        """Where bytes are dear the key record goes coded: only so it fits an hour at SF8, 1 %."""
        record = self._own.key_envelope
        if state.is_slow and state.capabilities & CAPABILITY_RECORDS:
            record = batch_of([(EnvelopeKind.KEY, record)], is_slow=True)
        return BindingOffer(self._own.binding.encode(), record)

    def _greeted(self, state: LinkState, hello: Hello) -> list[MeshMessage]:
        if state.hello is not None:
            return [Refusal("out_of_turn")]
        state.hello = hello
        state.kinds = frozenset(hello.kinds) & frozenset(self._kinds(state))
        state.capabilities = hello.capabilities & self._capabilities(state)
        replies: list[MeshMessage] = [] if state.hello_sent else [self.hello(state)]
        if not set(hello.wire_versions) & set(WIRE_VERSIONS):
            return [*replies, Refusal("no_common_version")]
        with self._lock:
            scope = self._scopes.get(hello.scope_hash)
        if scope is None:
            replies.append(ScopeWanted())
        else:
            self._agree(state, scope)
        known = self._bindings.get(state.address) if state.address is not None else None
        if known is not None and known.hash8 == hello.binding_hash and self._holds(known):
            state.key_id = known.key_id
            return replies
        state.binding_wanted = True
        return [*replies, BindingWanted()]

    def _capabilities(self, state: LinkState) -> int:
        return self._own.capabilities | self._more(state)

    def _spelled(self, state: LinkState, hello: Hello, offer: ScopeOffer) -> list[MeshMessage]:
        try:
            scope = read_spelled(offer.communities)
        except ValueError:
            return [Refusal("scope_malformed")]
        if scope.hash8 != hello.scope_hash:
            return [Refusal("scope_mismatch")]
        with self._lock:
            self._scopes[scope.hash8] = scope
            if len(self._scopes) > SCOPES_MAX:
                oldest = next(it for it, known in self._scopes.items() if self._may_forget(known))
                del self._scopes[oldest]
        self._agree(state, scope)
        return []

    def _may_forget(self, scope: Scope) -> bool:
        return bool(scope.ids) and scope != self._own.scope

    def _agree(self, state: LinkState, scope: Scope) -> None:
        state.scope = scope
        state.kinds &= scope.kinds

    def _kinds(self, state: LinkState) -> tuple[EnvelopeKind, ...]:
        off = frozenset() if self._off is None else self._off(state)
        wanted = self._own.scope.kinds
        return tuple(kind for kind in self._own.kinds if kind in wanted and kind not in off)

    def _holds(self, binding: Binding) -> bool:
        """Is a remembered binding still good? Its signature is checked again: files can rot."""
        public = self._directory.public_key(binding.key_id)
        if public is None:
            return False
        return verify_binding(binding, public, now_s=self._wall_ms() // 1000) is Reason.NONE

    def _judge(self, state: LinkState, offer: BindingOffer) -> str:
        """Verify a binding; "" when it holds, else the stable reason why not."""
        if state.address is None:
            return "not_identified"
        try:
            binding = Binding.decode(offer.binding)
        except MeshError:
            return "binding_malformed"
        if address_of(binding.rns_public_key) != state.address:
            return "binding_of_another"
        if binding.epoch < self._bindings.epoch(binding.key_id):
            return "binding_rolled_back"
        if self._directory.public_key(binding.key_id) is None and offer.key_envelope:
            try:
                record = key_record_of(offer.key_envelope)
            except MeshError:
                return "binding_invalid"
            self._directory.admit(EnvelopeKind.KEY, record, UNATTRIBUTED, now_ms=self._wall_ms())
        if not self._holds(binding):
            return "binding_invalid"
        self._bindings.put(state.address, binding, keep=self._peers())
        state.key_id = binding.key_id
        return ""


def reconciles(state: LinkState) -> bool:
    """Do both ends of this link know all that such a round takes?"""
    return state.capabilities & _BOTH == _BOTH
