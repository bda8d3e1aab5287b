"""ciris-mesh: a Reticulum-native node that keeps signed federation records converged."""

from __future__ import annotations

__version__ = "0.1.0"
