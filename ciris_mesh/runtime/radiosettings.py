"""[radio] of the configuration: how its options are read, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ciris_mesh.protocol.duty import Rule, parse_rule
from ciris_mesh.protocol.radioplan import (
    POLICY,
    KindPolicy,
    QuietHours,
    RadioPlan,
    parse_quiet,
)
from ciris_mesh.records.kinds import EnvelopeKind

Words = tuple[str, ...]

DUTY_ALLOWED: Final = "a percentage above 0 and up to 100, as 1%; dwell; none"
DUTY_OF_ALLOWED: Final = (
    "entries of an interface name, a space and a duty, separated by commas, each name once; empty"
)
QUIET_ALLOWED: Final = "two times of the day, as 22:00-06:00; empty"
POLICY_ALLOWED: Final = (
    "entries of a kind, a space and off, on or peers, separated by commas, each kind once; empty. "
    "Kinds: " + ", ".join(kind.value for kind in EnvelopeKind)
)


@dataclass(frozen=True, slots=True)
class RadioSettings:
    """[radio]

    Attributes:
        duty: of interfaces not named in `duty_of`.
        policy: of every kind.
    """

    duty: Rule
    duty_of: Mapping[str, Rule]
    quiet: QuietHours | None
    policy: Mapping[EnvelopeKind, KindPolicy]
    share: float
    peer_share: float
    removal_share: float

    def rule_for(self, interface: str) -> Rule:
        """The duty of an interface, named as in Reticulum's configuration or as it prints it."""
        short = interface.partition("[")[2].removesuffix("]")
        return self.duty_of.get(interface, self.duty_of.get(short, self.duty))

    def plan(self) -> RadioPlan:
        """What the planner keeps to."""
        return RadioPlan(self.policy, self.quiet, self.peer_share, self.removal_share)


def read_duty(words: Words) -> Rule:
    """Read "1%", "dwell" or "none".

    Raises:
        ValueError: not one of them.
    """
    (word,) = words
    return parse_rule(word)


def read_duty_of(words: Words) -> Mapping[str, Rule]:
    """Read "LoRa 868 1%", "Roof none".

    Raises:
        ValueError: no name, no duty, or two for one name.
    """
    found: dict[str, Rule] = {}
    for word in words:
        name, _, duty = word.rpartition(" ")
        name = name.strip()
        if not name or not name.isprintable() or name in found:
            raise ValueError("no interface, or twice")
        found[name] = parse_rule(duty)
    return MappingProxyType(found)


def read_quiet(words: Words) -> QuietHours | None:
    """Read "22:00-06:00", or nothing.

    Raises:
        ValueError: something else.
    """
    if not words:
        return None
    (word,) = words
    return parse_quiet(word)


def read_policy(words: Words) -> Mapping[EnvelopeKind, KindPolicy]:
    """Read "attestation off", "key peers"; kinds that are not named keep their default.

    Raises:
        ValueError: no kind, no policy, or a kind twice.
    """
    found: dict[EnvelopeKind, KindPolicy] = {}
    for word in words:
        name, _, policy = word.partition(" ")
        kind = EnvelopeKind(name)
        if kind in found:
            raise ValueError("twice")
        found[kind] = KindPolicy(policy.strip())
    return MappingProxyType({**POLICY, **found})
