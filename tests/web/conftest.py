"""A site for each test of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ciris_mesh.web.service import WebService
from support.website import Site, site_in


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no server that hangs."""
    monkeypatch.setattr(WebService.stop, "__defaults__", (240.0,))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        yield made
