"""The asking side of remote control: one link to another node, and questions over it.

For a command, which has nothing else to do: every call blocks until its deadline. Reticulum is
started (or an rnsd joined) on the main thread. Whoever asks shows an identity of its own; the
node answers those its configuration lists and is silent to all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from ciris_mesh.errors import ConfigError, KeyFileError, TransportError
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import ADDRESS_BYTES, Address
from ciris_mesh.transport.identity import load_identity
from ciris_mesh.transport.rns_node import start_reticulum
from ciris_mesh.transport.rns_seam_control import open_request_link, send_question

#: A path request is answered by the next transport node or goes through the network; asking again
#: sooner only adds to the traffic.
_ASK_PATH_AGAIN_S: Final = 5.0
_POLL_S: Final = 0.05


class RemoteCode(IntEnum):
    """Exit codes, as `lxmd` has them."""

    TIMEOUT = 200
    CONFIG = 201  # Reticulum cannot be started
    IDENTITY_FILE = 202
    BAD_ADDRESS = 203
    NO_ACCESS = 204
    INVALID = 205  # the node could not read the question
    NOT_FOUND = 206
    EMPTY = 207


class RemoteFailed(TransportError):
    """No answer, or none that can be used. The text is one line."""

    def __init__(self, text: str, code: RemoteCode) -> None:
        super().__init__(text)
        self.code = code


def parse_address(text: str) -> Address:
    """Read a node's address, 32 hex digits, spaces and colons allowed.

    Raises:
        RemoteFailed: it is none.
    """
    digits = text.replace(" ", "").replace(":", "").strip("<>")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != ADDRESS_BYTES:
        raise RemoteFailed(
            f"{text[:40]!r} is no address: give the 32 hex digits `ciris-mesh id` shows there",
            RemoteCode.BAD_ADDRESS,
        )
    return Address(raw)


class RemoteNode:
    """A link to one node. Use as a context manager, on the main thread.

    Args:
        timeout_s: for all it takes to reach the node, and again for each question.
    """

    def __init__(
        self, config_dir: Path | None, identity_path: Path, address: Address, timeout_s: float
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        try:
            identity = load_identity(identity_path)
        except KeyFileError as error:
            raise RemoteFailed(str(error), RemoteCode.IDENTITY_FILE) from None
        try:
            start_reticulum(config_dir, loglevel=1)
        except ConfigError as error:
            raise RemoteFailed(str(error), RemoteCode.CONFIG) from None
        self._is_down = threading.Event()
        self._link = self._dial(identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._link.teardown()

    def ask(self, name: str, body: bytes) -> bytes:
        """Return the answer's bytes.

        Raises:
            RemoteFailed: the node did not answer, or with nothing.
        """
        done, said = threading.Event(), list[object]()

        def answered(response: object) -> None:
            said.append(response)
            done.set()

        sent = send_question(
            self._link, name, body, timeout_s=self._timeout_s, answered=answered, failed=done.set
        )
        if sent:
            self._wait(lambda: done.is_set() or self._is_down.is_set(), self._deadline())
        if not said:
            raise RemoteFailed(
                "the node did not answer: does its [control] remote_allowed list this identity?",
                RemoteCode.TIMEOUT,
            )
        if not isinstance(said[0], bytes) or not said[0]:
            raise RemoteFailed("the node's answer is empty", RemoteCode.EMPTY)
        return said[0]

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    def _dial(self, identity: seam.Identity) -> seam.Link:
        deadline_s = self._deadline()
        destination = seam.destination_hash(self._address, seam.MESH_ASPECTS)
        self._find_path(destination, deadline_s)
        theirs = seam.recall(destination)
        if theirs is None:
            raise RemoteFailed(
                "the node's announce was never heard here: wait for the next one",
                RemoteCode.TIMEOUT,
            )
        up = threading.Event()
        link = open_request_link(
            theirs, established=lambda _: up.set(), closed=lambda _: self._is_down.set()
        )
        if not self._wait(lambda: up.is_set() or self._is_down.is_set(), deadline_s) or (
            self._is_down.is_set()
        ):
            raise RemoteFailed("there is a path, and nobody answers on it", RemoteCode.TIMEOUT)
        link.identify(identity)
        return link

    def _find_path(self, destination: bytes, deadline_s: float) -> None:
        while not seam.has_path(destination):
            seam.request_path(destination)
            again_s = min(deadline_s, time.monotonic() + _ASK_PATH_AGAIN_S)
            self._wait(lambda: seam.has_path(destination), again_s)
            if time.monotonic() >= deadline_s and not seam.has_path(destination):
                raise RemoteFailed(
                    f"no path to {self._address.hex()} within {self._timeout_s:g} s: is it "
                    "running, and is there a common network? -w waits longer",
                    RemoteCode.TIMEOUT,
                )

    def _wait(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        while not condition():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_POLL_S)
        return True
