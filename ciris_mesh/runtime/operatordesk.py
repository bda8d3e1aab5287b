"""The desk at which a node answers people by message, and from which it tells them of troubles.

One thread takes messages from the mailbox, answers, and looks every half minute at what is wrong.
Who wrote is known by the signature of the message; what they may do is in the book. An acting
message counts once: it must say it was sent later than the one before it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ciris_mesh.errors import ConfigError, MeshError
from ciris_mesh.notify import alerts
from ciris_mesh.notify.alerts import AlertState, Notice, Trouble, span
from ciris_mesh.notify.mailbox import Mailbox, Message
from ciris_mesh.notify.telemetry import Readings, asks_for_telemetry, telemetry_fields
from ciris_mesh.notify.texts import (
    ANSWERS,
    Overview,
    Question,
    fit,
    help_text,
    read_question,
    read_span,
)
from ciris_mesh.runtime.operatorbook import Operator, OperatorBook

logger = logging.getLogger(__name__)

LOOK_S: Final = 30.0
_TAKE_S: Final = 0.5
_HOUR_S: Final = 3600.0
#: Answers an hour to one operator: at SF8 each takes a second of air, each way.
ANSWERS_MAX: Final = 30
#: Strangers who are told how to become known, an hour.
STRANGERS_MAX: Final = 4
#: An acting message from further ahead than this would lock its sender out until then.
AHEAD_S: Final = 300.0
#: Alerts that wait for one operator who is not reached; the oldest go, and are counted.
WAITING_MAX: Final = 8
RETRY_S: Final = 600.0
_RETRY_S_MAX: Final = 7200.0
_KEPT_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the desk asks of the node; each is called on the desk's thread.

    Attributes:
        view: what answers are made of.
        troubles: everything that is wrong now.
        act: does what an acting verb with its argument says; returns what to answer, or raises
            MeshError with a text for people.
        readings: for telemetry.
        clock: monotonic seconds. wall_s: Unix seconds.
        clock_trusted: whether wall_s can be compared with what others say.
    """

    view: Callable[[], Overview]
    troubles: Callable[[], Sequence[Trouble]]
    act: Callable[[str, str], str]
    readings: Callable[[], Readings]
    clock: Callable[[], float]
    wall_s: Callable[[], float]
    clock_trusted: Callable[[], bool]


@dataclass(slots=True)
class _Outbox:
    """Alerts on their way to one operator. Times are monotonic seconds."""

    waiting: deque[tuple[float, str]] = field(default_factory=deque)
    sending: int = 0
    next_s: float = 0.0
    retry_s: float = RETRY_S


class OperatorDesk:
    """Owns the thread "ciris-operator" from start() to stop(); the mailbox is somebody else's.

    Args:
        announce_s: seconds between announces of the address.
        count: counts what was turned away or lost, by a stable name.
        told: names of alerts that are told; see `notify.alerts.LASTS_S`.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        book: OperatorBook,
        around: Surroundings,
        *,
        announce_s: float,
        count: Callable[[str], None],
        told: frozenset[str] = frozenset(alerts.LASTS_S),
    ) -> None:
        self._mailbox = mailbox
        self._book = book
        self._around = around
        self._announce_s = announce_s
        self._told = told
        self._alerts = AlertState()
        self._outboxes: dict[str, _Outbox] = {}
        self._results: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self._answered: dict[str, deque[float]] = {}
        self._strangers: deque[float] = deque()
        self._drop = count
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ciris-operator", daemon=True)

    def start(self) -> None:
        """Begin; the address is announced at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread. Idempotent."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        announce_at_s = look_at_s = self._around.clock()
        while not self._stopping.is_set():
            try:
                if self._around.clock() >= announce_at_s:
                    announce_at_s = self._around.clock() + self._announce_s
                    self._mailbox.announce()
                if self._around.clock() >= look_at_s:
                    look_at_s = self._around.clock() + LOOK_S
                    self.look()
                message = self._mailbox.take(_TAKE_S)
                if message is not None:
                    self.answer(message)
                self.deliver()
            except Exception:
                logger.exception("operator.failed")
                self._stopping.wait(1.0)  # what fails at once would fail a thousand times

    # -- questions -----------------------------------------------------------------------------

    def answer(self, message: Message) -> None:
        """Answer one message, or turn its sender away. On the desk's thread."""
        address, now_s = message.sender.hex(), self._around.wall_s()
        known = self._book.get(address)
        if known is None or not known.accepted:
            self._turn_away(message, known)
            return
        if known.public_key != message.public_key.hex() or now_s - known.seen_s > _HOUR_S:
            known = self._note(known, message, now_s)
        if not self._may_answer(address):
            self._drop("operator_asks_too_often")
            return
        if asks_for_telemetry(message.fields):
            fields = telemetry_fields(self._around.readings())
            self._mailbox.send(message.sender, message.public_key, "", fields=fields)
            return
        reply = self._reply(known, read_question(message.text), message.sent_s)
        self._mailbox.send(message.sender, message.public_key, reply)

    def _note(self, known: Operator, message: Message, now_s: float) -> Operator:
        """Remember that somebody wrote; on a full disk people ask, and must be answered."""
        public_key = message.public_key.hex()
        try:
            return self._book.knock(known.address, public_key, now_s=now_s)
        except ConfigError as error:
            logger.warning("operator.not_noted error=%s", error)
            return replace(known, public_key=public_key, seen_s=now_s)

    def _reply(self, known: Operator, question: Question, sent_s: float) -> str:
        try:
            return self._reply_to(known, question, sent_s)
        except MeshError as error:
            return fit([f"not done: {error}"])

    def _reply_to(self, known: Operator, question: Question, sent_s: float) -> str:
        verb = question.verb
        if verb is None or verb.name == "help":
            return help_text(may_act=known.may_act)
        if verb.name in ANSWERS:
            return ANSWERS[verb.name](self._around.view())
        if verb.name == "mute":
            return self._mute(known, question.argument)
        refusal = self._refusal(known, sent_s)
        if refusal:
            return refusal
        # First: should doing it end the process, the same message must not do it again.
        self._book.change(known.address, last_act_s=sent_s)
        logger.info("operator.acts verb=%s operator=%s", verb.name, known.address)
        return fit([self._around.act(verb.name, question.argument)])

    def _mute(self, known: Operator, argument: str) -> str:
        seconds = read_span(argument or "8h")
        if seconds is None:
            return "mute for how long? such as: mute 8h, mute 2d, mute 0"
        self._book.change(known.address, muted_until_s=self._around.wall_s() + seconds)
        return f"no alerts for {span(seconds)}" if seconds else "alerts again"

    def _refusal(self, known: Operator, sent_s: float) -> str:
        """Why an acting message does not count; "" when it does."""
        if not known.may_act:
            self._drop("operator_may_not_act")
            return "you may ask, not act; on the node: ciris-mesh operator allow ADDRESS act"
        if sent_s <= known.last_act_s:
            self._drop("operator_replay")
            return "not done: sent before your last command; send it again"
        if self._around.clock_trusted() and sent_s > self._around.wall_s() + AHEAD_S:
            self._drop("operator_clock_ahead")
            return "not done: your clock is ahead of this node's; set it and send again"
        return ""

    def _turn_away(self, message: Message, known: Operator | None) -> None:
        self._drop("operator_stranger")
        now_s = self._around.clock()
        _forget(self._strangers, now_s)
        if known is not None or len(self._strangers) >= STRANGERS_MAX:
            return  # told once, and what is written of strangers has a limit
        self._strangers.append(now_s)
        address = message.sender.hex()
        self._book.knock(address, message.public_key.hex(), now_s=self._around.wall_s())
        text = f"{self._around.view().name} does not know you. Its owner runs:\n"
        text += f"ciris-mesh operator accept {address}"
        self._mailbox.send(message.sender, message.public_key, text)

    def _may_answer(self, address: str) -> bool:
        now_s = self._around.clock()
        times = self._answered.setdefault(address, deque())
        _forget(times, now_s)
        if len(times) >= ANSWERS_MAX:
            return False
        times.append(now_s)
        return True

    # -- alerts --------------------------------------------------------------------------------

    def look(self) -> None:
        """See what is wrong, and put what is to be told into the outboxes."""
        wrong = [one for one in self._around.troubles() if one.name in self._told]
        self._alerts, notices = alerts.step(self._alerts, wrong, self._around.clock())
        for notice in notices:
            logger.warning("alert name=%s text=%s", notice.name, notice.text)
            self._put(notice)

    @property
    def open_troubles(self) -> tuple[Trouble, ...]:
        """What was told and is not over."""
        return self._alerts.troubles

    def _put(self, notice: Notice) -> None:
        now_s, wall_s = self._around.clock(), self._around.wall_s()
        for one in self._book.people():
            if not one.accepted or not one.public_key:
                continue
            if one.muted_until_s > wall_s:
                self._drop("alert_muted")
                continue
            outbox = self._outboxes.setdefault(one.address, _Outbox())
            outbox.waiting.append((now_s, notice.text))
            while len(outbox.waiting) > WAITING_MAX + outbox.sending:
                del outbox.waiting[outbox.sending]
                self._drop("alert_lost")

    def deliver(self) -> None:
        """Send what waits, one message an operator at a time, and look what became of the last."""
        while not self._results.empty():
            self._settle(*self._results.get())
        now_s = self._around.clock()
        for address, outbox in list(self._outboxes.items()):
            while outbox.waiting and not outbox.sending and now_s - outbox.waiting[0][0] > _KEPT_S:
                outbox.waiting.popleft()
                self._drop("alert_lost")
            known = self._book.get(address)
            if known is None or not known.accepted or not outbox.waiting:
                del self._outboxes[address]
            elif not outbox.sending and now_s >= outbox.next_s:
                self._send(known, outbox)

    def _send(self, known: Operator, outbox: _Outbox) -> None:
        text = fit(line for _, line in outbox.waiting)
        outbox.sending = len(outbox.waiting)
        results, address = self._results, known.address
        try:
            self._mailbox.send(
                bytes.fromhex(address),
                bytes.fromhex(known.public_key),
                text,
                done=lambda arrived: results.put((address, arrived)),
            )
        except Exception:
            results.put((address, False))  # else nothing more would ever be sent there
            raise

    def _settle(self, address: str, arrived: bool) -> None:  # noqa: FBT001 (as it was queued)
        outbox = self._outboxes.get(address)
        if outbox is None:
            return
        if arrived:
            for _ in range(outbox.sending):
                outbox.waiting.popleft()
            outbox.retry_s, outbox.next_s = RETRY_S, 0.0
        else:
            outbox.next_s = self._around.clock() + outbox.retry_s
            outbox.retry_s = min(_RETRY_S_MAX, 2 * outbox.retry_s)
        outbox.sending = 0


def _forget(times: deque[float], now_s: float) -> None:
    while times and now_s - times[0] >= _HOUR_S:
        times.popleft()
