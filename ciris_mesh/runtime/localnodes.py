"""Nodes on this machine, each a process of its own: started, asked and ended. Never anything else.

What demonstrates and measures uses this. Node processes are what `ciris-mesh run` starts, over
Reticulum on loopback TCP: one listens and routes, the others connect to it. Nothing is shared with
a Reticulum the user may be running: no shared instance, own directories, own port.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ciris_mesh.errors import NodeNotRunning, OperatorError
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.peerbook import Peer
from ciris_mesh.runtime.setup import NodeIdentity

#: A node is ready within 2 s on an idle machine; many starting at once share its cores.
START_TIMEOUT_S: Final = 240.0
#: A node closes its links and its store within 5 s; after this it is killed.
STOP_TIMEOUT_S: Final = 8.0
#: A node that verifies a batch of signatures may answer late.
CALL_TIMEOUT_S: Final = 30.0
#: Below those given to outgoing connections: from 32,768 by Linux, from 49,152 by others.
_PORTS: Final = range(20_000, 32_000)
_PORTS_TRIED: Final = 64
_POLL_S: Final = 0.05
_OUTPUT_LINES: Final = 3


@dataclass(slots=True)
class LocalNode:
    """One node: its home, its own Reticulum directory, and its process while it runs."""

    name: str
    home: Home
    rns_config_dir: Path
    identity: NodeIdentity
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _is_wanted: bool = field(default=False, repr=False)

    def call(self, op: str, **arguments: Any) -> Any:
        """Ask the node.

        Raises:
            OperatorError: it does not answer, or answers with an error.
        """
        return call(self.home.find_socket(), op, timeout_s=CALL_TIMEOUT_S, **arguments)

    @property
    def output(self) -> Path:
        """Where the process writes what it says."""
        return self.home.path / "output"

    def as_peer(self) -> Peer:
        """What another node writes into its peer book."""
        return Peer(
            key_id=self.identity.key_id,
            fingerprint=self.identity.fingerprint,
            address=self.identity.address,
            alias=self.name,
        )

    def start(self) -> None:
        """Start the process. It ignores the terminal's Ctrl-C: whoever started it ends it.

        A signal's exception can be raised within `Popen`, behind the fork: then there is a process
        and nobody who knows it. It is raised on the main thread only, so another one starts it; and
        when it is raised before that one has begun, `unwanted` keeps it from beginning.
        """
        self._is_wanted = True
        starting = threading.Thread(target=self._spawn, name="ciris-start")
        starting.start()
        starting.join()
        if self.process is None:
            raise OperatorError(f"node {self.name} could not be started; see the traceback above")

    def unwanted(self) -> subprocess.Popen[bytes] | None:
        """Start no process from now on; return the one there is, if any."""
        with self._starting:
            self._is_wanted = False
        return self.process

    def _spawn(self) -> None:
        with self._starting, self.output.open("ab") as output:
            if not self._is_wanted:
                return
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ciris_mesh", "--config", str(self.home.path)),
                    *("run", "--rnsconfig", str(self.rns_config_dir)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """True when the node answers.

        Raises:
            OperatorError: the process ended; the text has the last it said.
        """
        assert self.process is not None, "start first"
        code = self.process.poll()
        if code is not None:
            raise OperatorError(f"node {self.name} ended with code {code}: {self._last_words()}")
        try:
            self.call("status")
        except NodeNotRunning:
            return False
        return True

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.output.read_text(errors="replace").strip().splitlines()
            return " / ".join(lines[-_OUTPUT_LINES:]) or "it said nothing"
        return "it said nothing"


def _environment() -> dict[str, str]:
    # Sockets go into the nodes' own directories, so nothing of them is left in the user's.
    return {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}


def start_nodes(nodes: Sequence[LocalNode]) -> None:
    """Start the first node, which listens, then all others at once; return when all answer.

    Raises:
        OperatorError: a node ended or did not answer in time.
    """
    for group in (nodes[:1], nodes[1:]):
        for node in group:
            node.start()
        _wait_ready(group)


def stop_nodes(nodes: Iterable[LocalNode]) -> None:
    """End every process: asked first, killed when it does not. Idempotent."""
    running = [process for node in nodes if (process := node.unwanted()) is not None]
    for process in running:
        if process.poll() is None:
            process.terminate()
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    for process in running:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(nodes: Sequence[LocalNode]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    waiting = list(nodes)
    while waiting := [node for node in waiting if not node.is_ready()]:
        if time.monotonic() > deadline_s:
            names = ", ".join(node.name for node in waiting)
            raise OperatorError(f"not ready after {START_TIMEOUT_S:g} s: {names}")
        time.sleep(_POLL_S)


def reticulum_config(*, port: int, listens: bool) -> str:
    """Return the text of a Reticulum configuration file for one node.

    Nothing is said of how fast loopback is: told so, Reticulum makes packets of up to 512 kB, which
    cost it less; but links to an end that was not told so stall (rns 1.5.7).

    Plain TCP. Backbone is a little faster, and forgets to wait for its socket now and then: then
    nothing moves for seconds (rns 1.5.7). It also refuses addresses that come and go.
    """
    interface = (
        f"    type = TCPServerInterface\n    listen_ip = 127.0.0.1\n    listen_port = {port}\n"
        if listens
        else "    type = TCPClientInterface\n    target_host = 127.0.0.1\n"
        f"    target_port = {port}\n"
    )
    block = f"  [[Demo]]\n    enabled = yes\n{interface}"
    return reticulum_config_around(block, routes=listens)


def reticulum_config_around(block: str, *, routes: bool = False) -> str:
    """Return a whole configuration file around one interface, for a Reticulum nobody shares.

    Args:
        routes: it passes on what is for others.
    """
    return (
        "[reticulum]\n"
        f"  enable_transport = {'Yes' if routes else 'No'}\n"
        "  share_instance = No\n"
        "  panic_on_interface_error = No\n"
        "[logging]\n"
        "  loglevel = 3\n"
        f"[interfaces]\n{block}"
    )


def free_port() -> int:
    """Return a loopback TCP port nobody listens on right now.

    One that the system gives to nobody who asks for any: such a port might be taken again before
    it is listened on, by a connection from here to somewhere.

    Raises:
        OperatorError: none is free.
    """
    for port in secrets.SystemRandom().sample(_PORTS, _PORTS_TRIED):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OperatorError(f"no TCP port from {_PORTS[0]} to {_PORTS[-1]} is free on 127.0.0.1")
