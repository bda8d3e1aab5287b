"""A site for each test of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.website import Site, site_in


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        yield made
