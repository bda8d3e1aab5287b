"""The answering side of remote control: what listed identities may ask over Reticulum.

Requests come on threads of Reticulum's, one each and as many as are sent, so few are worked on at
a time. Acting ones carry a nonce of the asker's; each is obeyed once, since Reticulum may bring a
request twice. Answers are the JSON of the control socket.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from ciris_mesh.errors import ControlError
from ciris_mesh.runtime.asking import parse_request
from ciris_mesh.runtime.control import Handler, answer_to, error_line
from ciris_mesh.runtime.counters import DropCounter

#: Questions of operators; a `status` reads the whole node. More are told to come again.
AT_A_TIME_MAX: Final = 4
#: A question is a few words.
REQUEST_BYTES_MAX: Final = 4096
#: 100 kB is more than anybody waits for over a radio; lists are asked for in parts.
ANSWER_BYTES_MAX: Final = 256 << 10
#: Nonces remembered. A link has keys of its own, so only its own duplicates can come again.
NONCES_MAX: Final = 256
_NONCE_DIGITS: Final = 32

#: What may be asked for over a network, and what acts.
REMOTE_READ_OPS: Final = frozenset(
    {
        *("status", "budget", "peers", "converged"),
        *("records", "record", "waiting", "events", "resolve"),
    }
)
REMOTE_ACTING_OPS: Final = frozenset({"sync"})


class RemoteControl:
    """Answers requests. Thread-safe.

    Args:
        handlers: operations by name, as the control socket has them.
        readers, actors: identity hashes, 16 bytes each; an actor may read as well.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        readers: frozenset[bytes],
        actors: frozenset[bytes],
        drops: DropCounter,
    ) -> None:
        self._handlers = handlers
        self._readers = readers | actors
        self._actors = actors
        self._drops = drops
        self._places = threading.BoundedSemaphore(AT_A_TIME_MAX)
        self._lock = threading.Lock()  # guards the table below
        self._nonces: OrderedDict[tuple[bytes, str], None] = OrderedDict()

    def operators(self) -> dict[bytes, frozenset[str]]:
        """Identity hash -> the requests it may send. Readers may send acting ones and are told."""
        return dict.fromkeys(self._readers, REMOTE_READ_OPS | REMOTE_ACTING_OPS)

    def answer(self, op: str, body: object, who: bytes) -> bytes:
        """The answer to one request, as one line of JSON. Never raises."""
        if not self._places.acquire(blocking=False):
            return self._refuse("busy", "the node answers others just now; try again")
        try:
            request = self._admit(op, body, who)
            answer = answer_to(lambda: self._handlers[op](request), bytes_max=ANSWER_BYTES_MAX)
            return answer.line
        except ControlError as error:
            return self._refuse(error.name, str(error))
        finally:
            self._places.release()

    def _admit(self, op: str, body: object, who: bytes) -> dict[str, object]:
        if op not in self._handlers or op not in REMOTE_READ_OPS | REMOTE_ACTING_OPS:
            raise ControlError(f"this node answers no {op[:40]!r} from afar", "unknown_op")
        if who not in self._readers or (op in REMOTE_ACTING_OPS and who not in self._actors):
            raise ControlError(
                f"this identity may not {op} here: see remote_acting in [control]", "denied"
            )
        if not isinstance(body, bytes) or len(body) > REQUEST_BYTES_MAX:
            raise ControlError("the request cannot be read", "bad_request")
        request = parse_request(body)
        nonce = request.pop("nonce", None)
        if op in REMOTE_ACTING_OPS:
            self._obey_once(who, nonce)
        return request

    def _obey_once(self, who: bytes, nonce: object) -> None:
        if not isinstance(nonce, str) or len(nonce) != _NONCE_DIGITS:
            raise ControlError("a request that acts carries a nonce", "bad_request")
        with self._lock:
            if (who, nonce) in self._nonces:
                raise ControlError("this request was obeyed before", "replayed")
            self._nonces[who, nonce] = None
            while len(self._nonces) > NONCES_MAX:
                self._nonces.popitem(last=False)

    def _refuse(self, name: str, text: str) -> bytes:
        self._drops.count(f"remote_{name}")
        return error_line(text, name)
