"""Polynomials over a prime field, in integers alone: as much as decoding a sketch needs.

A polynomial is a list of coefficients in 0 .. p - 1, lowest power first, without zeros at its end;
the empty list is zero. Long products go through one multiplication of big integers (Kronecker
substitution), which is where Python is fast: 128 coefficients take 0.1 ms instead of 1.7.

All work is counted in `Effort`, so that what a hostile peer sends costs a known number of steps.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

Poly = list[int]

#: From here on one big product is faster than a loop over the coefficients.
_KRONECKER_FROM: Final = 6
#: Shifts tried for each root. One parts n roots with probability 1 - 2**(1 - n), a half at worst;
#: some 2 for each root are needed.
_SHIFTS_MAX: Final = 64
#: What a call costs beside its coefficients, in steps.
_CALL_STEPS: Final = 8


class EffortExceeded(Exception):
    """More steps than allowed. Never leaves the package."""


class Effort:
    """Steps left. A step is one coefficient handled, about 0.3 us on a desk machine."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def spend(self, steps: int) -> None:
        """Count steps, before they are done.

        Raises:
            EffortExceeded: fewer are left.
        """
        self.left -= steps + _CALL_STEPS
        if self.left < 0:
            raise EffortExceeded


class Field:
    """Integers modulo the prime `p`, 2 < p < 2**32, and the effort spent on them."""

    def __init__(self, p: int, effort: Effort) -> None:
        self.p = p
        self.effort = effort

    def inverse(self, value: int) -> int:
        """1 / value; `value` is not zero."""
        return pow(value, -1, self.p)

    def product(self, one: Sequence[int], two: Sequence[int]) -> Poly:
        """one * two."""
        if not one or not two:
            return []
        p, short, count = self.p, min(len(one), len(two)), len(one) + len(two) - 1
        if short < _KRONECKER_FROM:
            self.effort.spend(len(one) * len(two))
            out = [0] * count
            for at, value in enumerate(one):
                for index, other in enumerate(two, at):
                    out[index] += value * other
            return trim([value % p for value in out])
        self.effort.spend(2 * count)
        if short * (p - 1) ** 2 < 2**64:  # sums of products stay apart, one to a 64-bit word
            big = _big(one) * _big(two)
            words = struct.unpack(f"<{count}Q", big.to_bytes(8 * count, "little"))
            return trim([value % p for value in words])
        big = _big(_spaced(one)) * _big(_spaced(two))
        words = struct.unpack(f"<{2 * count}Q", big.to_bytes(16 * count, "little"))
        pairs = zip(words[::2], words[1::2], strict=True)
        return trim([(low + (high << 64)) % p for low, high in pairs])

    def difference(self, one: Sequence[int], two: Sequence[int]) -> Poly:
        """one - two."""
        p = self.p
        return trim([(a - b) % p for a, b in zip_longest(one, two, fillvalue=0)])

    def divided(self, one: Sequence[int], two: Sequence[int]) -> tuple[Poly, Poly]:
        """Quotient and remainder; `two` is not zero. One coefficient at a time."""
        p, rest, quotient = self.p, list(one), []
        lead = self.inverse(two[-1])
        steps = len(one) - len(two) + 1
        self.effort.spend(max(0, steps) * len(two))
        for at in range(steps - 1, -1, -1):
            factor = rest[at + len(two) - 1] * lead % p
            quotient.append(factor)
            if factor:
                middle = zip(rest[at : at + len(two)], two, strict=True)
                rest[at : at + len(two)] = [(a - factor * b) % p for a, b in middle]
        quotient.reverse()
        return quotient, trim(rest[: len(two) - 1])

    def monic(self, one: Sequence[int]) -> Poly:
        """`one`, not zero, with 1 as its highest coefficient."""
        p, lead = self.p, self.inverse(one[-1])
        return [value * lead % p for value in one]

    def common(self, one: Sequence[int], two: Sequence[int]) -> Poly:
        """The monic greatest common divisor; not both are zero."""
        a, b = list(one), list(two)
        while b:
            a, b = b, self.divided(a, b)[1]
        return self.monic(a)

    def derivative(self, one: Sequence[int]) -> Poly:
        """The formal derivative."""
        return trim([index * value % self.p for index, value in enumerate(one)][1:])

    def series_inverse(self, one: Sequence[int], length: int) -> Poly:
        """The first `length` coefficients of 1 / one; `one` starts with 1."""
        out, known = [1], 1
        while known < length:
            known = min(2 * known, length)
            twice = self.difference([2], self.product(one[:known], out)[:known])
            out = self.product(out, twice)[:known]
        return out

    def roots(self, one: Sequence[int]) -> dict[int, int] | None:
        """All roots of a monic polynomial and how often each occurs.

        Returns:
            None unless it is a product of linear factors, none of them x itself.
        """
        if len(one) < 2:
            return {}
        slope = self.derivative(one)
        twin = self.common(one, slope)
        single = self.divided(one, twin)[0] if len(twin) > 1 else list(one)
        found = self._distinct_roots(single)
        if found is None:
            return None
        rest, times = list(one), dict.fromkeys(found, 1)
        if len(twin) > 1:
            for root in found:
                times[root] = 0
                while (smaller := self._without(rest, root)) is not None:
                    rest, times[root] = smaller, times[root] + 1
            if len(rest) > 1:
                return None
        return times

    def _without(self, one: Poly, root: int) -> Poly | None:
        """one / (x - root), or None when that is no root."""
        if len(one) < 2:
            return None
        self.effort.spend(len(one))
        carry, out = 0, []
        for value in reversed(one):
            carry = (carry * root + value) % self.p
            out.append(carry)
        return None if out.pop() else out[::-1]

    def _distinct_roots(self, one: Poly) -> list[int] | None:
        """The roots of a monic polynomial that has as many as its degree, or None.

        x**(p-1) is 1 at every root and at nothing else but them, so its remainder tells at once
        whether all roots are here; its square root parts them into two halves (Cantor and
        Zassenhaus). Shifts come from a hash: they need not be secret, only differ.
        """
        if not one[0]:
            return None
        modulus = _Modulus(self, one)
        half = modulus.half_power(0)
        if modulus.times(half, half) != [1]:
            return None
        found: list[int] = []
        waiting = [(one, half)]
        for attempt in range(_SHIFTS_MAX * len(one)):
            while waiting and len(waiting[-1][0]) == 2:
                found.append(-waiting.pop()[0][0] % self.p)
            if not waiting:
                return found
            factor, power = waiting.pop()
            part = self.common(factor, self.difference(power, [1]))
            split = 1 < len(part) < len(factor)
            pieces = (part, self.divided(factor, part)[0]) if split else (factor,)
            waiting += [(piece, self._shifted_power(piece, attempt)) for piece in pieces]
        return None

    def _shifted_power(self, one: Poly, attempt: int) -> Poly:
        """(x + some shift) ** ((p - 1) / 2), or anything when there is nothing to part."""
        if len(one) == 2:
            return []
        seed = struct.pack(f"<Q{len(one)}I", attempt, *one)
        shift = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest()) % self.p
        return _Modulus(self, one).half_power(shift)


class _Modulus:
    """Arithmetic modulo one monic polynomial of degree 1 or more."""

    def __init__(self, field: Field, one: Poly) -> None:
        self._field = field
        self._one = one
        self._degree = len(one) - 1
        self._inverse = field.series_inverse(one[::-1], self._degree)

    def rest(self, value: Poly) -> Poly:
        """What is left of a product of two remainders: two products instead of a division."""
        extra = len(value) - self._degree
        if extra <= 0:
            return value
        top = value[: -extra - 1 : -1]
        quotient = self._field.product(top, self._inverse[:extra])[:extra]
        quotient += [0] * (extra - len(quotient))
        low = self._field.product(quotient[::-1], self._one)[: self._degree]
        return self._field.difference(value[: self._degree], low)

    def times(self, one: Poly, two: Poly) -> Poly:
        """one * two."""
        return self.rest(self._field.product(one, two))

    def half_power(self, shift: int) -> Poly:
        """(x + shift) ** ((p - 1) / 2)."""
        p = self._field.p
        power: Poly = [1]
        for bit in format((p - 1) // 2, "b"):
            power = self.times(power, power)
            if bit == "1":
                self._field.effort.spend(len(power))
                moved = zip_longest([0, *power], power, fillvalue=0)
                power = self._reduced_once(trim([(a + shift * b) % p for a, b in moved]))
        return power

    def _reduced_once(self, value: Poly) -> Poly:
        """The remainder of a polynomial of at most this degree."""
        if len(value) <= self._degree:
            return value
        p, lead = self._field.p, value[-1]
        pairs = zip(value, self._one, strict=True)
        return trim([(a - lead * b) % p for a, b in pairs])


def trim(values: Poly) -> Poly:
    """Cut zeros off the end, in place."""
    while values and not values[-1]:
        values.pop()
    return values


def _big(values: Sequence[int]) -> int:
    """Coefficients as the 64-bit digits of one integer."""
    return int.from_bytes(struct.pack(f"<{len(values)}Q", *values), "little")


def _spaced(values: Sequence[int]) -> Sequence[int]:
    """The same with a zero word behind each: room for 128 bits."""
    out = [0] * (2 * len(values))
    out[::2] = values
    return out
