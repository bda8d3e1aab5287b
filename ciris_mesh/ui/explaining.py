"""How a table of explanations is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Names of one part of the program.

    Attributes:
        help: what a person can do, for entries that say nothing else.
        entries: name -> "meaning." or "meaning. | what helps."
    """

    title: str
    help: str
    entries: Mapping[str, str]
