"""How many symbols to send, and when to send something else: every choice of size, with its reason.

All costs are compared in bits on the wire. A symbol more costs 3 to 4 bytes; a round trip more
costs two packets of 83 bytes on a link and seconds of waiting, so guessing high is cheaper than
asking twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final, TypeAlias

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.wire.bitpack import rice_bits
from ciris_mesh.wire.mesh_reconcile import (
    CELLS_LOG2_MAX,
    HISTOGRAM_CELLS,
    LIST_IDS_MAX,
    PRIMES,
    SYMBOLS_MAX,
)

#: Symbols of a first sketch: up to 23 differences in one round trip, whatever they are.
FIRST_SYMBOLS: Final = 24
#: A difference of counts is that many differences at least; two more may hide in each direction.
COUNT_MARGIN: Final = 4
#: Symbols of a sketch over bucket digests. A differing bucket takes two, one for each side's.
BUCKET_SYMBOLS: Final = 48
#: Above so many records bucket digests come first, so that work follows the difference: to salt
#: and to sum 30,000 ids takes 0.15 s here and ten times that on a small board.
BUCKETS_FROM: Final = 30_000
#: Records looked at in one exchange; of more, some buckets are compared now and the rest next
#: time. 40 MB of ids and numbers.
ITEMS_MAX: Final = 2**17
#: Differences in a cell, on average: small enough to factor fast, large enough that the spread
#: around the average is paid for by few symbols.
CELL_TARGET: Final = 32
#: Fewer are not worth a message.
CELL_SYMBOLS_MIN: Final = 8
#: A cell with more than this is no accident (its average is 32).
CELL_SYMBOLS_MAX: Final = 128
#: Steps of decoding in one exchange; see `field.Effort`. 8,000 differences in 256 cells need 20
#: million, 4 s on a desk machine; half as much again is the most a peer can make us work.
EFFORT_STEPS: Final = 30_000_000
#: Multiplications of power sums that take as long as a step of decoding.
PRODUCTS_PER_STEP: Final = 3
#: Multiplications for the sketches of one exchange, by the side that sends them: 3 s on a desk
#: machine. 30,000 ids times 256 symbols are a quarter of it.
PRODUCTS_MAX: Final = 2**25
#: Extend messages in one exchange. Each adds a fifth at least: eight of them quadruple a sketch.
EXTENDS_MAX: Final = 8

#: (most ids in a set, width of their short ids). A wider id collides less.
_WIDTHS: Final = ((4_000, 24), (32_000, 28))


@dataclass(frozen=True, slots=True)
class Limits:
    """What is configured.

    Attributes:
        symbols_max: of one sketch, 32 .. 256. 256 symbols take 0.3 s to decode on a desk machine;
            128 suit a small board.
        effort_steps: of decoding in one exchange.

    Raises:
        LocalProtocolError: out of range.
    """

    symbols_max: int = 256
    effort_steps: int = EFFORT_STEPS

    def __post_init__(self) -> None:
        if not 32 <= self.symbols_max <= 256:
            raise LocalProtocolError("symbols_max is not 32 .. 256")


@dataclass(frozen=True, slots=True)
class OneSketch:
    """One sketch of this many symbols in all."""

    total: int


@dataclass(frozen=True, slots=True)
class CutIntoCells:
    """2**log2 cells with so many symbols each."""

    log2: int
    each: int


@dataclass(frozen=True, slots=True)
class SendList:
    """All short ids."""


Plan: TypeAlias = OneSketch | CutIntoCells | SendList


def width_for(count: int) -> int:
    """Bits of a short id for sets of up to `count` ids."""
    return next((width for most, width in _WIDTHS if count <= most), 32)


def shares_little(one: int, two: int) -> bool:
    """One set is less than half of the other: more than half of all differs."""
    return 2 * min(one, two) < max(one, two)


def plan(expected: int, count: int, theirs: int, limits: Limits) -> Plan | None:
    """The cheapest way to tell a peer what to compare.

    Args:
        expected: differences, at a guess; 0 when nothing is known but the counts.
        count: ids in the set that would be sketched or listed.
        theirs: ids in the peer's.

    Returns:
        None when nothing here is fit for it: then 0x01 is.
    """
    surplus = abs(count - theirs)
    total = max(FIRST_SYMBOLS, surplus + COUNT_MARGIN, _with_margin(expected))
    if total <= limits.symbols_max and total * count <= PRODUCTS_MAX // 4:
        return OneSketch(total)
    cut = cells_for(max(expected, surplus))
    width = width_for(max(count, theirs))
    list_bits = count * (rice_bits(count, PRIMES[width]) + 2)
    if count <= LIST_IDS_MAX and (cut is None or list_bits < _bits_of(cut, count, theirs)):
        return SendList()
    return cut


def cells_for(expected: int) -> CutIntoCells | None:
    """Cells of about 32 differences each; None when there would be too many.

    With as many symbols as the average cell needs, half of them decode; adding to the others costs
    round trips but less than sending all of them what the fullest needs.
    """
    log2 = 1
    while expected > CELL_TARGET * 3 // 2 << log2:
        log2 += 1
    if log2 > CELLS_LOG2_MAX:
        return None
    mean = -(-expected // (1 << log2))
    return CutIntoCells(log2, min(max(mean, CELL_SYMBOLS_MIN), SYMBOLS_MAX >> log2))


def longer(total: int, most: int) -> int:
    """The next length of a sketch that was too short: a fifth more, and at least six."""
    return min(most, total + max(6, total // 5))


def estimate(ours: bytes, theirs: bytes, surplus: int) -> int:
    """How many differences two histograms suggest, within 18 % (one standard deviation).

    What is common falls into the same cells on both sides. Of d others each cell gets a sum of
    about d / 64 random signs, whose square is d / 64 on average (Alon, Matias and Szegedy).

    Args:
        surplus: how many more ids one side has; their squares are expected and not counted twice.
    """
    cells = HISTOGRAM_CELLS
    deltas = ((a - b + 128) % 256 - 128 for a, b in zip(ours, theirs, strict=True))
    squares = sum(delta * delta for delta in deltas)
    return max(abs(surplus), (cells * squares - surplus * surplus) // (cells - 1))


def spread_over(differing: Sequence[int]) -> int:
    """How many differences make just these buckets differ: balls thrown into bins, backwards.

    Buckets behind the last one named are not counted: the peer may have stopped there.
    """
    bins = differing[-1] + 1
    return round(bins * log(bins / max(0.5, bins - len(differing))))


def _with_margin(expected: int) -> int:
    """Enough symbols in four of five cases, when `expected` is an estimate."""
    return expected + expected // 8 + 6 if expected else 0


def _bits_of(cut: CutIntoCells, count: int, theirs: int) -> int:
    width = width_for(max(count, theirs) >> cut.log2)
    return (cut.each * width + 8) << cut.log2
