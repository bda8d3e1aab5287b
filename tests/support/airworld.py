"""A radio that knows what it really sent: what any account of it is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field

from ciris_mesh.protocol.window import HOUR_S


@dataclass
class Radio:
    """True transmissions of one radio, (begin, end, who), and a counter that can be lost."""

    sent: list[tuple[float, float, str]] = field(default_factory=list)
    _counted_from_s: float = 0.0

    def send(self, who: str, begin_s: float, airtime_s: float) -> None:
        self.sent.append((begin_s, begin_s + airtime_s, who))

    def between(self, begin_s: float, end_s: float, who: str = "") -> float:
        """Seconds on air in that time."""
        return sum(
            max(min(end, end_s) - max(begin, begin_s), 0.0)
            for begin, end, each in self.sent
            if who in ("", each)
        )

    def hour(self, end_s: float, who: str = "") -> float:
        return self.between(end_s - HOUR_S, end_s, who)

    def counter(self, now_s: float) -> float:
        """What the interface says it sent since it was started."""
        return self.between(self._counted_from_s, now_s)

    def restart(self, now_s: float) -> None:
        self._counted_from_s = now_s

    def worst_hour(self, who: str = "") -> float:
        """The most in any hour, however it is laid: one that ends with a transmission is worst."""
        return max((self.hour(end, who) for _, end, _ in self.sent), default=0.0)
