"""The process that checks signatures for `verifying`: reads work from a socket, answers, ends.

    python -m ciris_mesh.directory.verifier FD IDLE_S

One message in is a list of (Ed25519 key, ML-DSA-65 key, message, Ed25519 signature, ML-DSA-65
signature); one message out has a byte for each, of `REASONS`. It knows no records, no keys of its
own and no directory, and loads next to nothing.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Final

from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature, verify_hybrid
from ciris_mesh.records.outcome import Reason

#: What a byte of an answer stands for.
REASONS: Final = (
    Reason.NONE,
    Reason.CLASSICAL_SIGNATURE_INVALID,
    Reason.PQC_SIGNATURE_INVALID,
)

#: The first message: loaded, and ready for work.
READY: Final = b"ready"

#: Background work must not make the node itself slow to answer.
NICENESS: Final = 1

#: Shape of one piece of work.
Work = tuple[bytes, bytes, bytes, bytes, bytes]


def answer(work: list[Work]) -> bytes:
    """Check each. A byte that is no place in `REASONS` can't come out."""
    return bytes(
        REASONS.index(
            verify_hybrid(HybridPublicKey(*one[:2]), one[2], HybridSignature(one[3], one[4]))
        )
        for one in work
    )


def main(fd: int, idle_s: float) -> None:
    """Serve until the other end closes, or nothing comes for so long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the node
    os.nice(NICENESS)
    with Connection(fd) as connection:
        try:
            connection.send_bytes(READY)
            while connection.poll(idle_s):
                connection.send_bytes(answer(marshal.loads(connection.recv_bytes())))
        except (EOFError, ConnectionError):
            pass  # the node ended, and so do we


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
