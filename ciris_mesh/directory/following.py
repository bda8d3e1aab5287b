"""What other nodes wrote into a shared database: judged here before it counts.

This node does not see others' rows (`pg_schema.set_up_session`) until it has judged them by its own
rules and configuration, each as of the moment it was written. What would come in here is
followed in memory as if this node had placed it; what would not is hidden from this node alone,
told, and looked at again when more has come. Until then the others' copy keeps nobody out: whoever
delivers the true record here has it admitted in the place of the hidden one.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from enum import StrEnum
from typing import Final, TypeVar

from ciris_mesh.directory.admission import Admission
from ciris_mesh.directory.base import StoredRow
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import Judgement
from ciris_mesh.directory.pg_connect import shown
from ciris_mesh.directory.placing import Placed
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.postgres import Looking, PostgresStore
from ciris_mesh.directory.rejudging import judge_again
from ciris_mesh.directory.store import Name
from ciris_mesh.errors import DirectoryError, LifecycleError, StoreUnreachable
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.records.rules.base import Trust

logger = logging.getLogger(__name__)

#: How often the newest change is asked for: one row of one page, and peers wait 30 s anyway.
FOLLOW_INTERVAL_S: Final = 1.0

#: Rows judged before what was found is written down: a quarter of a second.
STEP_ROWS: Final = 256

#: Steps that one who admits waits for.
STEPS_AT_ONCE: Final = 4

#: Hidden rows looked at again in one step.
HIDDEN_AGAIN: Final = 32

#: A thread that judges a full step on a slow board is done by then.
STOP_TIMEOUT_S: Final = 30.0

_View = TypeVar("_View")


class StoreTrouble(StrEnum):
    """What may be wrong with a database, as `troubles` names it."""

    UNREACHABLE = "database_unreachable"
    ROWS_HIDDEN = "database_rows_hidden"
    NOT_FOLLOWED = "database_not_followed"


class PostgresDirectory(DirectoryCore):
    """A directory in a PostgreSQL database. Open it once; `close` it.

    Args:
        url: `postgresql://...`
        node: the name of this node there.
        shared: other nodes may use the database too.
        pinned: key id -> SHA-256 fingerprint; added to those of `trust`.
        trust: what this node's configuration says of others; without it everything is denied.
        limits: how much may wait.
        follow_interval_s: how often to look for what others wrote; 0: only when `follow` is called.
        wall_ms: Unix ms.

    Raises:
        DirectoryError: as `PostgresStore`.
    """

    def __init__(
        self,
        url: str,
        *,
        node: str,
        shared: bool = False,
        pinned: Mapping[str, bytes] | None = None,
        trust: Trust | None = None,
        limits: PoolLimits | None = None,
        follow_interval_s: float = FOLLOW_INTERVAL_S,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        store = PostgresStore(url, node=node, shared=shared)
        self._server = store
        self._followed = 0 if shared else None
        try:
            self._looked = store.seen()
            super().__init__(store, pinned=pinned, trust=trust, limits=limits)
            self._hidden = store.hidden_count()
        except BaseException:
            with suppress(DirectoryError):  # what went wrong first is what people need to know
                store.close()
            raise
        self._wall_ms = wall_ms
        self._judge = Admission(_Afresh(self), self._trust)
        self._following = threading.Lock()  # one look at a time; guards the three below
        self._hidden_from = 0
        self._looked_hidden = False
        self._problem = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if follow_interval_s:
            self._thread = threading.Thread(
                target=self._keep_following,
                args=(follow_interval_s,),
                name="ciris-follow",
                daemon=True,
            )
            self._thread.start()

    @property
    def followed(self) -> int | None:
        """See ReplicationDirectory."""
        return self._followed

    def follow(self) -> int:
        """Look at all that others wrote up to now. Returns how many of their rows were looked at.

        Raises:
            StoreUnreachable: the server is away.
        """
        looked = 0
        while not self._ended.is_set():
            with self._following:
                found = self._step()
            looked += found
            if not found:
                break
        return looked

    def _catch_up(self) -> None:
        """Look before judging again, though not through a whole database."""
        for _ in range(STEPS_AT_ONCE):
            with self._following:
                if not self._step():
                    return

    def troubles(self) -> tuple[str, ...]:
        """See ReplicationDirectory."""
        lines: list[str] = []
        if trouble := self._server.reach.trouble:
            why, for_s = trouble
            lines.append(f"{StoreTrouble.UNREACHABLE}: {why} For {for_s:.0f} s; nothing was lost")
        if self._hidden:
            lines.append(
                f"{StoreTrouble.ROWS_HIDDEN}: {self._hidden} rows that others wrote into "
                f"{shown(self._server.url)} would not come in here, so they do not count here; "
                "see: ciris-mesh db check"
            )
        if self._problem:
            lines.append(f"{StoreTrouble.NOT_FOLLOWED}: {self._problem}")
        return tuple(lines)

    def close(self) -> None:
        """Release the store. Idempotent."""
        self._ended.set()
        self._server.reach.is_closing = True
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
        super().close()

    def _take_over(self, judged: Sequence[Judgement], note: Callable[[], None]) -> None:
        """Follow rows that another node wrote into the same store, and this one judged.

        What waited here for them is judged with what is admitted next.

        Args:
            note: writes down how far was looked, in the same transaction.
        """

        def job() -> Placed:
            note()
            with self._state:
                placed = self._placing.follow(judged)
                self._save_digests()
            return placed

        placed = self._commit.run(job, durable=False)
        with self._state:
            named = (*placed.siblings, *placed.vouched)
            siblings = [entry for entry in map(self._deferred.get, named) if entry]
            self._deferred.postpone(siblings)
            self._deferred.postpone(self._deferred.release(dict.fromkeys(placed.published)))

    # -- looking -------------------------------------------------------------------------------

    def _keep_following(self, interval_s: float) -> None:
        while not self._ended.wait(interval_s):
            try:
                self.follow()
                self._problem = ""
            except LifecycleError:
                return
            except DirectoryError as error:  # told by `troubles`; the next time may work
                logger.debug("follow.failed %s", error)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}; see the log"
                if problem != self._problem:  # what fails every second is told once
                    logger.exception("follow.failed")
                self._problem = problem

    def _step(self) -> int:
        head = self._server.head()
        if head == self._looked and (self._looked_hidden or not self._hidden):
            return 0
        with self._server.looking() as look:
            others = look.others(self._looked, head, STEP_ROWS)
            upto = others[-1][0] if others else head
            is_news = bool(others) or not self._looked_hidden
            taken, hide = self._judge_in_order(look, others)
            again = self._judge_hidden(look, upto, set(hide)) if self._hidden and is_news else {}
        self._looked_hidden = True
        if others or again:
            self._take_over(
                [*taken, *again.values()],
                lambda: self._server.saw(upto if others else 0, hide, again),
            )
            self._hidden = self._server.hidden_count()
            if self._followed is not None:
                self._followed += len(taken) + len(again)
            for position, why in hide.items():
                logger.warning("follow.hidden position=%d reason=%s", position, why)
        self._looked = upto
        return len(others)

    def _judge_in_order(
        self, look: Looking, others: Sequence[tuple[int, int, StoredRow]]
    ) -> tuple[list[Judgement], dict[int, str]]:
        """Each row as of its change. Rows of one change may lean on each other, on no bad one."""
        taken: list[Judgement] = []
        hide: dict[int, str] = {}
        for change, group in itertools.groupby(others, key=lambda it: it[0]):
            look.stand_at(change)
            rows = {position: row for _, position, row in group}
            while True:
                judged = {
                    at: judge_again(self._judge, row, self._wall_ms()) for at, row in rows.items()
                }
                bad = {at: _why(it) for at, it in judged.items() if it.row is None}
                if not bad:
                    break
                for position, why in bad.items():
                    look.hide(position, why)
                    del rows[position]
                hide |= bad
            taken += judged.values()
        return taken, hide

    def _judge_hidden(self, look: Looking, upto: int, new: set[int]) -> dict[int, Judgement]:
        """Some of the hidden rows once more, by turns. Returns those taken after all."""
        look.stand_at(upto)
        found = look.hidden(self._hidden_from, HIDDEN_AGAIN)
        self._hidden_from = found[-1][0] if len(found) == HIDDEN_AGAIN else 0
        again: dict[int, Judgement] = {}
        for position, row in found:
            judgement = judge_again(self._judge, row, self._wall_ms())
            if position not in new and judgement.row is not None:
                look.show(position)
                again[position] = judgement
        return again

    def _finish(self) -> None:
        """See DirectoryCore. Digests are only a cache: a server that is away is not waited for."""
        try:
            if not self._commit.is_stale and self._server.reach.trouble is None:
                with self._state, self._store.transaction(durable=True):
                    self._server.saw(self._looked, {}, ())
                    self._save_digests()
        except StoreUnreachable as error:
            logger.debug("digests.unsaved %s", error)
        finally:
            self._store.close()


def _why(judgement: Judgement) -> str:
    verdict = judgement.verdict
    return verdict.reason.value or verdict.outcome.value


class _Afresh:
    """What judging another node's row may know: the store as of its change, and nothing kept."""

    def __init__(self, directory: PostgresDirectory) -> None:
        self._directory = directory

    def on_federation_shelf(self, names: Sequence[Name]) -> Set[Name]:
        """See judgement.Known."""
        return self._directory.on_federation_shelf(names)

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """See judgement.Known."""
        return self._directory.get(kind, envelope_id)

    def is_trusted(self, key_id: str) -> bool:
        """See judgement.Known."""
        return self._directory.is_trusted(key_id)

    def federation_key(self, key_id: str) -> HybridPublicKey | None:
        """See judgement.Known. Never one kept: it may be about to be hidden."""
        return self._directory.stored_key(key_id)

    def named(self, token: str) -> Iterator[Envelope]:
        """See judgement.Known."""
        return self._directory.named(token)

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[tuple[Name, _View]]:
        """See judgement.Known."""
        for envelope in self._directory.named(token):
            yield (envelope.kind, envelope.envelope_id), read(envelope)

    def stewards(self) -> frozenset[str]:
        """See judgement.Known."""
        return self._directory.stewards()

    def first_contact_key(self, key_id: str) -> HybridPublicKey | None:
        """See judgement.Known."""
        return None

    def remembered_refusal(self, digest: bytes, now_ms: int) -> Verdict | None:
        """See judgement.Known."""
        return None

    def remember_refusal(self, digest: bytes, verdict: Verdict, now_ms: int) -> None:
        """See judgement.Known."""
