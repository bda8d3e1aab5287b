"""The power-sum sketch: from S_k = the sum of x**k over a set, find what two sets do not share.

Subtract one side's sums from the other's and everything common is gone. What is left belongs to
the rational function

    exp(sum of S_k z**k / k) = product of (1 - b z) / product of (1 - a z)

with a over what only the sketch's sender has and b over what only the reader has. m sums give its
first m coefficients, enough to find it while there are fewer than m differences; factoring gives
the short ids, their multiplicities, and by the side of the fraction whose they are. (Minsky,
Trachtenberg and Zippel's characteristic polynomials, in the sums' dual form. Unlike an XOR sketch,
equal short ids add up and do not cancel.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ciris_mesh.protocol.field import Effort, Field, Poly, trim

#: Sums beyond those that are needed: a wrong answer satisfies each with probability 1 / p.
SPARE_SYMBOLS: Final = 1


class PowerSums:
    """S_1, S_2, ... of one list of short ids; extended when asked, never computed twice."""

    def __init__(self, values: Sequence[int], p: int) -> None:
        self._values = values
        self._powers = list(values)
        self._p = p
        self._sums: list[int] = []

    def products_to(self, count: int) -> int:
        """Multiplications `first(count)` would take."""
        return max(0, count - len(self._sums)) * len(self._values)

    def first(self, count: int) -> list[int]:
        """S_1 .. S_count. Costs the number of values for each sum not known yet."""
        p, values = self._p, self._values
        while len(self._sums) < count:
            if self._sums:
                self._powers = [
                    power * value % p for power, value in zip(self._powers, values, strict=True)
                ]
            self._sums.append(sum(self._powers) % p)
        return self._sums[:count]


@dataclass(frozen=True, slots=True)
class Difference:
    """What two multisets of short ids do not share: short id -> how often, always above zero.

    A short id is in one of the two at most: what both have is gone.
    """

    theirs: dict[int, int]
    ours: dict[int, int]


def decode(
    p: int, theirs: Sequence[int], ours: Sequence[int], surplus: int, effort: Effort
) -> Difference | None:
    """Find the difference behind two sketches of equal length.

    Args:
        surplus: how many more elements their set has than ours; may be negative.
        effort: spent; see `Effort`.

    Returns:
        None when there are too many differences for this many symbols, or the symbols are no
        sketch of any two sets. A wrong answer is possible, with a probability of about 1 / p for
        each spare symbol; `check_of` finds it.

    Raises:
        EffortExceeded: it would take more steps than allowed.
    """
    field = Field(p, effort)
    sums = [(a - b) % p for a, b in zip(theirs, ours, strict=True)]
    found = _fraction(field, sums, surplus)
    if found is None:
        return None
    upper, lower = found
    if len(lower) - len(upper) != surplus:
        return None
    if len(lower) + len(upper) - 2 + SPARE_SYMBOLS > len(sums):
        return None
    their_roots = field.roots(field.monic(lower[::-1]))
    if their_roots is None:
        return None
    our_roots = field.roots(field.monic(upper[::-1]))
    if our_roots is None:
        return None
    return Difference(their_roots, our_roots)


def _fraction(field: Field, sums: Sequence[int], surplus: int) -> tuple[Poly, Poly] | None:
    """Numerator and denominator, both with constant term 1, or None.

    Euclid's algorithm on z**(m+1) and the series, stopped when the remainder is short enough to
    be the numerator; the cofactor is then the denominator (Pade approximation).
    """
    count, p = len(sums), field.p
    upper_degree = (count - surplus) // 2
    if not 0 <= upper_degree <= count:
        return None
    before: Poly = [0] * (count + 1) + [1]
    here = trim(_exponential(field, sums))
    lower_before: Poly = []
    lower: Poly = [1]
    while len(here) - 1 > upper_degree:
        quotient, rest = field.divided(before, here)
        before, here = here, rest
        product = field.product(quotient, lower)
        lower_before, lower = lower, field.difference(lower_before, product)
    if not here or not here[0] or not lower or not lower[0]:
        return None
    scale = field.inverse(lower[0])
    lower = [value * scale % p for value in lower]
    upper = [value * scale % p for value in here]
    return (upper, lower) if upper[0] == 1 else None


def _exponential(field: Field, sums: Sequence[int]) -> Poly:
    """The series exp(sum of S_k z**k / k), by Newton's identities k f_k = sum of S_i f_(k-i)."""
    p = field.p
    inverses = [0, 1]
    for number in range(2, len(sums) + 1):
        inverses.append(-(p // number) * inverses[p % number] % p)
    field.effort.spend(len(sums) ** 2 // 2)
    out = [1]
    for number in range(1, len(sums) + 1):
        total = sum(map(int.__mul__, sums[:number], reversed(out)))
        out.append(total * inverses[number] % p)
    return out
