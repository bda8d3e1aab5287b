"""From the section [trust] of the configuration to what admission is told.

Apart from `config`, which commands that only read load without the cryptography.
"""

from __future__ import annotations

from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.config import TrustSettings


def trust_of(settings: TrustSettings) -> Trust:
    """The same, as the rules of the kinds take it."""
    return Trust(
        pinned=settings.pinned,
        roots=settings.roots,
        root_stewards=settings.root_stewards,
        partner_stewards=settings.partner_stewards,
        partner_threshold=settings.partner_threshold,
        hardware_types=frozenset(settings.hardware_types),
        vouchers=settings.vouchers,
    )
