"""Every exception ciris_mesh raises, on one page.

    MeshError
    ├── ProtocolError              abstract: somebody broke the wire contract
    │   ├── LocalProtocolError     we did: a bug in this process, fix the caller
    │   └── RemoteProtocolError    the peer did: drop the frame, keep the node up
    │       ├── DecodeError
    │       │   └── BatchRefused   a batch of transcoded records; carries a reason
    │       ├── UnknownVersion
    │       ├── UnexpectedMessage
    │       └── ReconcileRefused       carries a reason
    ├── MalformedRecord            bytes that are no record of their kind; carries a reason
    ├── KeyExchangeRefused         no key could be agreed on; carries a reason
    ├── TransportError             the link failed: retry on the next cadence
    │   ├── PeerUnreachable
    │   ├── LinkGone
    │   └── PayloadTooLarge
    ├── LifecycleError             used before start, after stop, or faster than it can work
    │   ├── BackPressure
    │   └── ShutdownTimeout
    └── OperatorError              a person must act; the text says what to do
        ├── ConfigError
        ├── KeyFileError
        ├── DirectoryError
        │   └── StoreUnreachable   the database's server is away; goes on when it is back
        ├── ClockUntrusted
        ├── AlreadyRunning
        ├── NodeNotRunning
        ├── ControlError
        ├── InviteError
        └── BackupError

The branch says who must act, the leaf says what happened, the attributes carry the numbers.
"""

from __future__ import annotations


class MeshError(Exception):
    """Base class: `except MeshError` catches all that this package raises on purpose."""


class ProtocolError(MeshError):
    """Somebody broke the wire contract. Abstract: raise one of the two branches."""


class LocalProtocolError(ProtocolError):
    """This process broke it: a bug in the caller, never caused by what a peer sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something the protocol forbids. Never a reason to stop the node."""


class DecodeError(RemoteProtocolError):
    """The frame carries our magic and a known version, but its body is no message."""


class BatchRefused(DecodeError):
    """The bytes are no batch of transcoded records.

    Attributes:
        reason: a value of `wire.transcode.BatchReason`, stable, counted.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class UnknownVersion(RemoteProtocolError):
    """The frame carries a wire version this build cannot speak."""

    def __init__(self, version: int) -> None:
        super().__init__(f"unknown wire version {version:#04x}")
        self.version = version


class UnexpectedMessage(RemoteProtocolError):
    """A well-formed message that this phase, role or kind does not allow."""

    def __init__(self, *, got: str, phase: str) -> None:
        super().__init__(f"got {got} in phase {phase}")
        self.got = got
        self.phase = phase


class ReconcileRefused(RemoteProtocolError):
    """A message of a reconciliation asks or claims what the exchange so far does not allow.

    Attributes:
        reason: a name of `protocol.reconcile_events.Refused`, stable, counted against the peer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedRecord(MeshError):
    """The bytes are not one record of the kind they claim.

    Attributes:
        reason: a value of `records.outcome.Reason`, stable, shown to people and counted.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TooManyRows(MeshError):
    """A question would have to read more than its limit; part of it would be no answer.

    Attributes:
        what: what there is too much of.
    """

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"more than {limit} of {what}")
        self.what = what
        self.limit = limit


class KeyExchangeRefused(MeshError):
    """No key came out of a key exchange, and none may be made up.

    Attributes:
        reason: a value of `records.kex.KexReason`, stable.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TransportError(MeshError):
    """A link failed. The next cadence tries again."""


class PeerUnreachable(TransportError):
    """No path, or no answer in time."""


class LinkGone(TransportError):
    """The link was closed before the frame could be handed over."""


class PayloadTooLarge(TransportError):
    """The frame is larger than this link or peer may carry."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes exceed the limit of {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class NoAir(TransportError):
    """The airtime this node may use is used up.

    Attributes:
        wait_s: when to try again, at the earliest; infinity when no hour has so much.
        needed_s: seconds on air that were asked for.
    """

    def __init__(self, wait_s: float, needed_s: float) -> None:
        super().__init__(f"no air for {needed_s:.1f} s; wait {wait_s:.0f} s")
        self.wait_s = wait_s
        self.needed_s = needed_s


class LifecycleError(MeshError):
    """An object was used before start, after stop, or faster than it can work."""


class BackPressure(LifecycleError):
    """A bounded queue is full. What was handed over is dropped; the next round repairs it."""


class ShutdownTimeout(LifecycleError):
    """A thread did not end in time."""

    def __init__(self, thread_name: str, timeout_s: float) -> None:
        super().__init__(f"thread {thread_name} did not end within {timeout_s} s")
        self.thread_name = thread_name
        self.timeout_s = timeout_s


class OperatorError(MeshError):
    """Something only a person can put right. The text is one line and says what to do."""


class ConfigError(OperatorError):
    """The configuration cannot be used as it is."""


class KeyFileError(OperatorError):
    """An identity or key file is missing, damaged, or readable by others."""


class DirectoryError(OperatorError):
    """The record store cannot be opened or is not ours."""


class StoreUnreachable(DirectoryError):
    """The server that keeps the records does not answer. Nothing was lost; try again."""


class ClockUntrusted(OperatorError):
    """Nobody vouches for the clock, or it is plainly wrong; signing waits, receiving goes on."""


class NodeNotRunning(OperatorError):
    """The command needs a running node and none answers."""


class AlreadyRunning(OperatorError):
    """Another process holds this home; one node per home.

    Attributes:
        pid: the process that holds it, None when it did not say.
    """

    def __init__(self, text: str, pid: int | None = None) -> None:
        super().__init__(text)
        self.pid = pid


class ControlError(OperatorError):
    """A running node answered a control request with an error, or is about to.

    Attributes:
        name: stable, lowercase with underscores, e.g. "denied"; scripts read it, not the text.
    """

    def __init__(self, text: str, name: str = "failed") -> None:
        super().__init__(text)
        self.name = name


class InviteError(OperatorError):
    """The text is no invite that can be used.

    Attributes:
        reason: "not_an_invite", "truncated", "mistyped", "newer_version" or "too_long".
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class BackupError(OperatorError):
    """A backup, or what was written on paper, cannot be made or cannot be used."""
