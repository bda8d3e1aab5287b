"""Asking the node that runs here: one line of JSON each way over its socket; `control` answers.

A monitor pays for what this module loads every few seconds, so it loads little.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ciris_mesh.errors import ControlError, NodeNotRunning

#: A request carries at most one record (64 KiB of envelope, hex-coded) and a few words.
REQUEST_BYTES_MAX: Final = 1 << 20
#: As much as one frame; longer lists are asked for in pages.
RESPONSE_BYTES_MAX: Final = 8 << 20
#: The error of a question that another version of this program knows.
UNKNOWN_OP: Final = "unknown_op"
_OTHER_VERSION: Final = (
    "the node that runs here does not know this question: it was started by another version of "
    "ciris-mesh; restart it (systemctl restart ciris-mesh, or end `ciris-mesh run` and start it)"
)
_RECEIVE_BYTES: Final = 1 << 16


def call(path: Path, op: str, *, timeout_s: float = 10.0, **arguments: Any) -> Any:
    """Ask the node that listens on `path` and return the answer's "result".

    Raises:
        NodeNotRunning: nobody answers there, or not within `timeout_s` seconds.
        ControlError: the node answered with an error; `name` says which.
    """
    deadline_s = time.monotonic() + timeout_s
    request = encode({"op": op, **plain(arguments)})
    if len(request) > REQUEST_BYTES_MAX:
        raise ControlError(f"a request is at most {REQUEST_BYTES_MAX} bytes", "too_long")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            client.sendall(request)
            line, _ = read_line(client, b"", bytes_max=RESPONSE_BYTES_MAX, deadline_s=deadline_s)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NodeNotRunning("no node is running here; start it with: ciris-mesh run") from None
    except PermissionError:
        raise NodeNotRunning(
            f"the node's socket {path} is not open to you; ask as the user the node runs as"
        ) from None
    except BlockingIOError:
        raise NodeNotRunning("the node has too many callers just now; try again") from None
    except TimeoutError:
        raise NodeNotRunning(
            f"the node did not answer {op!r} within {timeout_s:g} s; its log may say why"
        ) from None
    except OSError as error:
        raise NodeNotRunning(f"cannot reach the node at {path}: {error.strerror}") from None
    if line is None:
        raise NodeNotRunning(f"the node ended before it answered {op!r}; look at its log")
    try:
        return result_of(line)
    except ControlError as error:
        if error.name != UNKNOWN_OP:
            raise
        raise ControlError(f"{_OTHER_VERSION} (it knows no {op!r})", UNKNOWN_OP) from None


def result_of(line: bytes) -> Any:
    """What an answer brings.

    Raises:
        ControlError: an error; `name` says which.
    """
    answer = parse_request(line)
    if answer.get("ok") is True:
        return answer.get("result")
    raise ControlError(
        str(answer.get("error", "the node gave no reason")), str(answer.get("name", "failed"))
    )


def read_line(
    sock: socket.socket, buffer: bytes, *, bytes_max: int, deadline_s: float
) -> tuple[bytes | None, bytes]:
    """The next line without its end, and the bytes after it; (None, b"") when the sender is done.

    Args:
        deadline_s: monotonic time by which the whole line must be there: a sender of one byte a
            second gains nothing.

    Raises:
        TimeoutError: it was not.
        ControlError: the line is longer than `bytes_max`, or the sender ended in its middle.
    """
    chunks = [buffer]
    size = len(buffer)
    while b"\n" not in chunks[-1]:
        if size > bytes_max:
            raise ControlError(f"a line is longer than {bytes_max} bytes", "too_long")
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
        chunk = sock.recv(_RECEIVE_BYTES)
        if not chunk:
            if size:
                raise ControlError("the line ends without a line feed", "bad_request")
            return None, b""
        chunks.append(chunk)
        size += len(chunk)
    line, _, rest = b"".join(chunks).partition(b"\n")
    if len(line) > bytes_max:
        raise ControlError(f"a line is longer than {bytes_max} bytes", "too_long")
    return line, rest


def parse_request(line: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ControlError: "bad_request".
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the line is not JSON", "bad_request") from None
    if not isinstance(value, dict):
        raise ControlError("the line is not a JSON object", "bad_request")
    return value


def encode(value: object) -> bytes:
    """One line of JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def plain(value: Any) -> Any:
    """What `json` can write: dataclasses become objects, bytes hex, sets sorted lists."""
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        from dataclasses import fields  # an answer has them, a question seldom

        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, Path) else value
