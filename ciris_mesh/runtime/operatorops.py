"""Operations on the operator book for the control socket, one row each; and the address to give."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from ciris_mesh.errors import OperatorError
from ciris_mesh.runtime.operatorbook import ADDRESS_BYTES, Operator, OperatorBook

OPERATOR_OPS: Final = ("operators", "operator_accept", "operator_remove")

#: Reticulum names a destination by the first ten bytes of a hash over its name.
_NAME_HASH: Final = hashlib.sha256(b"lxmf.delivery").digest()[:10]


def message_address(rns_public_key: bytes) -> bytes:
    """Where an identity takes messages: the hash of its destination `lxmf.delivery`, 16 bytes."""
    identity = hashlib.sha256(rns_public_key).digest()[:ADDRESS_BYTES]
    return hashlib.sha256(_NAME_HASH + identity).digest()[:ADDRESS_BYTES]


def address_of(text: str) -> str:
    """32 hex digits in what a person typed or pasted.

    Raises:
        OperatorError: it is no address.
    """
    digits = text.replace(" ", "").strip("<>").lower()
    digits = digits.removeprefix("lxma://").partition(":")[0]
    try:
        if len(address := bytes.fromhex(digits)) == ADDRESS_BYTES:
            return address.hex()  # without the line ends and tabs that were pasted along
    except ValueError:
        pass
    raise OperatorError(f"{text[:40]!r} is no address: 32 hex digits, as the app shows them")


def operator_table(book: OperatorBook) -> Mapping[str, Callable[[dict[str, Any]], object]]:
    """Operation -> handler."""
    return {
        "operators": lambda _: [operator_row(one) for one in book.people()],
        "operator_accept": lambda given: operator_row(accept(book, given)),
        "operator_remove": lambda given: remove(book, given),
    }


def accept(book: OperatorBook, given: Mapping[str, Any]) -> Operator:
    """Let somebody ask, or act; who is meant may be a beginning of somebody who wrote."""
    text = str(given.get("address") or "")
    try:
        address = address_of(text)
    except OperatorError:
        address = book.find(text).address
    return book.accept(
        address, name=str(given.get("name") or ""), may_act=given.get("may_act") is True
    )


def remove(book: OperatorBook, given: Mapping[str, Any]) -> dict[str, str]:
    """Forget somebody."""
    known = book.find(str(given.get("address") or ""))
    book.remove(known.address)
    return {"removed": known.address}


def operator_row(one: Operator) -> dict[str, Any]:
    """What `operator list --json` shows of somebody."""
    row = asdict(one)
    del row["public_key"], row["last_act_s"]
    return row
