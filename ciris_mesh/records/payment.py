"""Payment processor ids must not federate: they lead from a record to a person's purchases.

Every string and every member name at any depth is looked at. A text that begins with a known
prefix and goes on is such an id; the bare prefix is a word. Source: records-and-protocol.md,
section 4.1a.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ciris_mesh.records.jsontext import JsonValue

PAYMENT_PREFIXES: Final[tuple[str, ...]] = (
    "cus_",
    "sub_",
    "ch_",
    "pi_",
    "card_",
    "in_",
    "pm_",
    "seti_",
    "price_",
    "prod_",
    "ba_",
    "src_",
    "tok_",
    "re_",
    "py_",
    "txn_",
    "ii_",
)


def is_payment_id(text: str) -> bool:
    """True when `text` begins with a payment processor's prefix and goes on after it."""
    return text.startswith(PAYMENT_PREFIXES) and text not in PAYMENT_PREFIXES


def find_payment_id(value: JsonValue, *, where: str = "") -> str | None:
    """Where a payment processor id sits, as `member.member[2]`; None when there is none.

    The id itself is never part of the answer, so that it may be logged: a member name that is
    one is shown as `(a member name)`. The first in document order is told.
    """
    return next(_found(value, where), None)


def _found(value: JsonValue, where: str) -> Iterator[str]:
    match value:
        case str():
            if is_payment_id(value):
                yield where or "(the whole value)"
        case dict():
            for name, item in value.items():
                if is_payment_id(name):
                    yield f"{where}.(a member name)" if where else "(a member name)"
                else:
                    yield from _found(item, f"{where}.{name}" if where else name)
        case list():
            for position, item in enumerate(value):
                yield from _found(item, f"{where}[{position}]")
        case _:
            pass
