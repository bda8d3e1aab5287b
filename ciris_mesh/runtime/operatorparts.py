"""Makes what [operator] and [page] ask for: mailbox, desk and page, of a node that is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.announcing import Announcer
from ciris_mesh.runtime.budget import BudgetStatus
from ciris_mesh.runtime.clock import signing_allowed
from ciris_mesh.runtime.config import Config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.keyfiles import read_key_file
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.operatorbook import OperatorBook
from ciris_mesh.runtime.operatorops import OPERATOR_OPS, operator_table
from ciris_mesh.runtime.status import NodeStatus

if TYPE_CHECKING:
    from ciris_mesh.notify.lxmf_mailbox import LxmfMailbox, PageHost
    from ciris_mesh.notify.texts import Overview
    from ciris_mesh.records.resolve.table import Answer
    from ciris_mesh.runtime.operatordesk import OperatorDesk, Surroundings


#: Keys asked about when revocations come, 2 ms each: half a second.
FRIENDS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Watch:
    """Reads a node for people who are away."""

    name: str
    home: Home
    operations: Operations
    stale_s: float
    revoked: Callable[[], list[str]]

    def status(self) -> NodeStatus:
        """As `status` shows it."""
        return cast(NodeStatus, self.operations.table()["status"]({}))

    def budget(self) -> BudgetStatus:
        """As `budget` shows it."""
        return cast(BudgetStatus, self.operations.table()["budget"]({}))

    def view(self) -> Overview:
        """What answers are made of."""
        from ciris_mesh.runtime.watching import overview

        return overview(self.name, self.status(), self.budget())

    def surroundings(self) -> Surroundings:
        """What the desk asks of this node."""
        from ciris_mesh.runtime.operatordesk import Surroundings
        from ciris_mesh.runtime.watching import readings, troubles

        clock = self.operations.clock
        return Surroundings(
            view=self.view,
            troubles=lambda: troubles(
                self.status(),
                self.budget(),
                storage=self.home.storage,
                stale_s=self.stale_s,
                revoked=self.revoked(),
            ),
            act=self.act,
            readings=lambda: readings(f"ciris-mesh {self.name}", self.home.storage),
            clock=clock.monotonic_s,
            wall_s=lambda: clock.wall_ms() / 1000,
            clock_trusted=lambda: signing_allowed(clock),
        )

    def act(self, verb: str, argument: str) -> str:
        """Do what an acting verb says.

        Raises:
            OperatorError: with what to say instead.
        """
        table = self.operations.table()
        if verb == "sync":
            queued = cast(dict[str, Any], table["sync"]({"peer": argument or None}))["queued"]
            return f"comparing with {queued} peers"
        if verb == "untrust" and argument:
            known = self.operations.book.find(argument)
            table["peer_remove"]({"key_id": known.key_id})
            return f"no longer exchanging with {known.name}"
        raise OperatorError(f"{verb} what?")


class RevokedFriends:
    """Which keys this node trusts are revoked, asked again only when revocations came.

    Args:
        ask: the control operation `resolve`.
        names: key id -> what people here call it, of every key trusted here.
    """

    def __init__(
        self,
        directory: ReplicationDirectory,
        ask: Callable[[dict[str, Any]], object],
        names: Callable[[], dict[str, str]],
    ) -> None:
        self._directory = directory
        self._ask = ask
        self._names = names
        self._seen: tuple[object, frozenset[str]] | None = None
        self._found: list[str] = []

    def __call__(self) -> list[str]:
        """Names, as people here know them."""
        names = self._names()
        now = (self._directory.generation(EnvelopeKind.REVOCATION), frozenset(names))
        if now != self._seen:
            self._found = [name for key_id, name in names.items() if self._is_revoked(key_id)]
            self._seen = now
        return self._found

    def _is_revoked(self, key_id: str) -> bool:
        # Loaded when first asked, like all that answers: most nodes never need it.
        from ciris_mesh.records.resolve.base import Status

        answer = cast("Answer", self._ask({"question": "key", "subject": key_id}))
        return answer.status is Status.REVOKED


class People:
    """Mailbox, desk and page of one node, as far as the configuration asks for them.

    open() on the main thread when Reticulum runs, start() when the node does, stop() at the end;
    stop is idempotent.
    """

    def __init__(self, home: Home, config: Config, operations: Operations) -> None:
        self._home = home
        self._config = config
        self._book = OperatorBook(home.operators) if config.operator.enabled else None
        node = operations.node
        self._watch = Watch(
            config.node.name or read_key_file(home.federation_key).name,
            home,
            operations,
            config.operator.stale_h * 3600,
            RevokedFriends(node.directory, operations.table()["resolve"], lambda: _friends(node)),
        )
        self._count = node.runtime.drops.count
        self._mailbox: LxmfMailbox | None = None
        self._desk: OperatorDesk | None = None
        self._page: PageHost | None = None
        self._announcer: Announcer | None = None

    def table(self) -> Mapping[str, Callable[[dict[str, Any]], object]]:
        """Operations for the control socket."""
        if self._book is not None:
            return operator_table(self._book)
        # Nobody is answered: what is wrong with the book is told to who asks for it.
        return {op: partial(self._ask_book, op) for op in OPERATOR_OPS}

    def _ask_book(self, op: str, given: dict[str, Any]) -> object:
        return operator_table(OperatorBook(self._home.operators))[op](given)

    def open(self) -> None:
        """Register with Reticulum. LXMF is loaded only when it is asked for: 8 MB."""
        config = self._config
        if not (config.operator.enabled or config.page.enabled):
            return
        from ciris_mesh.notify.lxmf_mailbox import LxmfMailbox, PageHost
        from ciris_mesh.notify.page import status_page

        if config.operator.enabled:
            self._mailbox = LxmfMailbox(
                self._home.identity,
                self._home.storage,
                name=self._watch.name,
                count=self._count,
                propagation_node=config.operator.propagation_node,
            )
        if config.page.enabled:
            self._page = PageHost(
                self._home.identity,
                name=self._watch.name,
                allowed=config.page.allowed,
                render=lambda: status_page(self._watch.view()),
                count=self._count,
            )

    def start(self) -> None:
        """Answer, watch and announce."""
        if self._mailbox is not None and self._book is not None:
            from ciris_mesh.runtime.operatordesk import OperatorDesk

            self._desk = OperatorDesk(
                self._mailbox,
                self._book,
                self._watch.surroundings(),
                announce_s=self._config.node.announce_interval_s(radio=True),
                count=self._count,
                told=self._config.operator.alerts,
            )
            self._desk.start()
        if self._page is not None:
            # To every interface, radios included; who came later hears of it as well.
            interval_s = self._config.node.announce_interval_s(radio=True)
            self._announcer = Announcer(self._page.announce, interval_s=interval_s)
            self._announcer.start()

    def stop(self) -> None:
        """End the desk, then what it speaks through."""
        for part in (self._announcer, self._desk, self._page, self._mailbox):
            if part is not None:
                part.stop()


def _friends(node: Node) -> dict[str, str]:
    """Key id -> what people here call it, of the keys this node relies on."""
    pinned = {key_id: key_id for key_id in node.runtime.config.pinned}
    peers = {
        peer.config.key_id: peer.config.alias or peer.config.key_id
        for peer in node.runtime.peers.all()
    }
    return dict(islice({**pinned, **peers, node.key_id: "this node"}.items(), FRIENDS_MAX))
