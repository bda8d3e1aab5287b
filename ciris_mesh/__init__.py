"""ciris-mesh: a Reticulum-native node that keeps signed federation records converged."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
